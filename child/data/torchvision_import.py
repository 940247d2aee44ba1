"""The import of torchvision, where it stands beside a torch that its compiled part does not fit."""

from __future__ import annotations

import functools
import importlib
import sys
from types import ModuleType

import torch


def import_datasets() -> ModuleType:
    """Import torchvision.datasets; slow, so only who loads such data calls this.

    torchvision on PyPI is built for CUDA. Beside a torch that was built for the CPU alone its
    compiled operators do not load, and its import ends where it describes the two operators nms and
    qnms to torch, which does not know them. No data set needs any of the operators: once torch
    knows the two by name, the import succeeds.
    """
    try:
        return importlib.import_module("torchvision.datasets")
    except RuntimeError as error:
        if "torchvision::nms does not exist" not in str(error):
            raise
    # The next import makes the package anew, which would lack the modules left over as attributes.
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    _declare_operators()
    return importlib.import_module("torchvision.datasets")


@functools.cache  # torch forgets what a library declares once nobody holds the library
def _declare_operators() -> torch.library.Library:
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library
