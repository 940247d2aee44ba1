from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from child.data.torchvision_import import import_datasets

# What torchvision 0.28 does as it is imported. Where its compiled operators have not been loaded
# torch knows no such operators, and `register_fake` raises.
DESCRIBES_OPERATORS = """
import torch
import torchvision.operators

for name in torchvision.operators.NAMES:
    torch.library.register_fake(f"torchvision::{name}")(lambda dets, scores, threshold: dets)
"""
NAMES_OPERATORS = """
NAMES = ("nms", "qnms")
"""
LOADS_OPERATORS = """
import torch

NAMES = ("nms", "qnms")
library = torch.library.Library("torchvision", "DEF")
for name in NAMES:
    library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
"""
PROGRAM = """
from child.data import torchvision_import

datasets = torchvision_import.import_datasets()
print(datasets.NAME, torchvision_import._declare_operators.cache_info().currsize)
"""


@pytest.mark.parametrize(
    ("operators", "declarations"),
    [(NAMES_OPERATORS, 1), (LOADS_OPERATORS, 0)],
    ids=["not loaded", "loaded"],
)
def test_torchvision_is_imported_whether_its_operators_load_or_not(
    tmp_path, monkeypatch, operators, declarations
):
    package = tmp_path / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text(DESCRIBES_OPERATORS)
    (package / "operators.py").write_text(operators)
    (package / "datasets.py").write_text("NAME = 'imported'")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)

    assert done.stdout == f"imported {declarations}\n", done.stderr


def test_torchvision_that_is_installed_is_imported():
    assert import_datasets().CIFAR10.__module__ == "torchvision.datasets.cifar"


def test_other_failures_of_the_import_are_passed_on(monkeypatch):
    failures = []

    def fail(_name):
        failures.append(RuntimeError(f"built for another CUDA, attempt {len(failures) + 1}"))
        raise failures[-1]

    monkeypatch.setattr(importlib, "import_module", fail)

    with pytest.raises(RuntimeError, match="built for another CUDA, attempt 1"):
        import_datasets()
