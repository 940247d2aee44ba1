from __future__ import annotations

import sys

import pytest


@pytest.fixture
def own_modules(tmp_path, monkeypatch):
    """Forget, afterwards, what was imported from the test's own folder, and the way there."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]
