"""The settings that come with nasrl, by name."""

from __future__ import annotations

from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

DEFAULT = "digits"


class ReadySettings:
    """The settings of one kind that come with nasrl: the YAML files of a folder.

    >>> SEARCHES.names[:3]
    ['cells', 'cifar10', 'cifar10-paper-v1']
    """

    def __init__(self, folder: str) -> None:
        self._folder = files("deploy").joinpath(folder)

    @property
    def names(self) -> list[str]:
        """Their names, sorted."""
        found = (file.name for file in self._folder.iterdir())
        return sorted(name.removesuffix(".yaml") for name in found if name.endswith(".yaml"))

    def find(self, path: Path | str) -> Path | Traversable:
        """Give the settings file at a path, or else the one of that name; it may be missing."""
        given = Path(path)
        if given.is_file() or str(path) not in self.names:
            return given
        return self._folder.joinpath(f"{path}.yaml")


SEARCHES = ReadySettings("searches")
TRAININGS = ReadySettings("trainings")
