"""The examples are what the pages show."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "your-own-space.md").read_text(encoding="utf-8")
SHOWN = [
    "breast_cancer/mlp_space.py",
    "breast_cancer/mlp_training.py",
    "breast_cancer/search.yaml",
    "nasbench_macro/macro_table.py",
]


@pytest.mark.parametrize("name", SHOWN)
def test_the_page_has_the_file_as_it_is(name):
    text = (ROOT / "examples" / name).read_text(encoding="utf-8").rstrip()
    language = "yaml" if name.endswith(".yaml") else "python"

    assert f"```{language}\n{text}\n```" in PAGE
