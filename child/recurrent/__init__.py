"""Recurrent cells: the space, the architecture, the torch modules."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from child.recurrent.nas import NAS
    from child.recurrent.nas_cell import NASCell

__all__ = ["NAS", "NASCell"]

_HOMES = {"NAS": "child.recurrent.nas", "NASCell": "child.recurrent.nas_cell"}


def __getattr__(name: str) -> Any:
    """Import a name when it is first asked for: both need `child.zoo`, which needs this package."""
    if name not in _HOMES:
        raise AttributeError(f"module 'child.recurrent' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
