"""The settings that come with nasrl, by name."""

from __future__ import annotations

from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

DEFAULT = "digits"


def ready_settings() -> dict[str, Traversable]:
    """Give the file of each settings that come with nasrl.

    >>> sorted(ready_settings())[:3]
    ['cifar10', 'cifar10-paper-v1', 'cifar10-paper-v2']
    """
    found = files("deploy").joinpath("searches").iterdir()
    return {file.name.removesuffix(".yaml"): file for file in found if file.name.endswith(".yaml")}


def find_settings(path: Path | str | None) -> Path | Traversable:
    """Give the settings file at a path, of a name, or the default's for None; it may be missing."""
    ready = ready_settings()
    if path is None:
        return ready[DEFAULT]
    given = Path(path)
    return given if given.is_file() else ready.get(str(path), given)
