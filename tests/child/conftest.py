from __future__ import annotations

import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    # On tensors as small as these several threads only wait for each other.
    torch.set_num_threads(1)
