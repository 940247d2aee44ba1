"""Settings of a search, changed: the points of a grid, and variants of the best one."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deploy.settings import ImageSearchSettings, LanguageSearchSettings, NetworkSearchSettings
from deploy.settings_file import SettingsError, checked

# What a training depends on, of the settings of a search.
PARTS: dict[type[NetworkSearchSettings], tuple[str, str]] = {
    ImageSearchSettings: ("training", "network"),
    LanguageSearchSettings: ("training", "model"),
}
_MORE_FILTERS = "space.extra_filters"
# Of `training`: what has no say, or changes what networks are compared by.
_FIXED = {
    "time_limit_s": "limits of a child do not count after the search",
    "max_parameters": "limits of a child do not count after the search",
    "reward_epochs": "networks are compared as in the search",
    "reward_exponent": "networks are compared by their validation figures",
    "reward_scale": "networks are compared by their validation figures",
}


@dataclass(frozen=True)
class Point:
    """Settings that differ from those of a search.

    changes: what is told apart by, by its names in dots. base: the settings of the search.
    """

    changes: dict[str, Any]
    settings: NetworkSearchSettings
    base: NetworkSearchSettings

    @classmethod
    def of(cls, search: NetworkSearchSettings) -> Point:
        """Give the settings of a search, without the limits of a child's time and size."""
        unlimited = {"training.time_limit_s": None, "training.max_parameters": None}
        return Point({}, _changed(search, unlimited, "the search"), search)

    def with_values(self, values: Mapping[str, Any]) -> Point:
        """Give other values to settings, by their names in dots.

        Raises:
            SettingsError: one may not be changed, or not to this.
        """
        for name in values:
            self._check(name, "grid", PARTS[type(self.base)])
        return Point(dict(values), _changed(self.settings, values, "grid"), self.base)

    def variant(self, changes: Mapping[str, Any], num_epochs: int) -> Point:
        """Give settings with nested changes, by which it is trained for so many epochs.

        Raises:
            SettingsError: one may not be changed, or not to this.
        """
        values = dict(_leaves(changes))
        parts = PARTS[type(self.base)]
        is_of_images = isinstance(self.base, ImageSearchSettings)
        for name in values:
            if name == "training.num_epochs":
                raise SettingsError(
                    f"final.variants.{name}: must be left out; see final.num_epochs"
                )
            if not (is_of_images and name == _MORE_FILTERS):
                self._check(name, "final.variants", parts)
        every = values | {"training.num_epochs": num_epochs}
        return Point(values, _changed(self.settings, every, "final.variants"), self.base)

    def learning_rate(self, architecture: Any) -> float | None:
        """Give the learning rate of the first epoch, where it is not that of the settings.

        One that was decided with the architecture changes by as much as that of the settings does.
        """
        decided = self.settings.task.learning_rate(architecture)
        if decided is None:
            return None
        factor = self.settings.training.learning_rate / self.base.training.learning_rate
        return decided * factor

    def __str__(self) -> str:
        return ", ".join(
            f"{name.rpartition('.')[2]} {_text(value)}" for name, value in self.changes.items()
        )

    @staticmethod
    def _check(name: str, origin: str, parts: tuple[str, str]) -> None:
        section, dot, last = name.partition(".")
        if section == "training" and (why := _FIXED.get(last)):
            raise SettingsError(f"{origin}.{name}: must be left out; {why}")
        if section not in parts or not dot:
            raise SettingsError(
                f"{origin}.{name}: must be a setting of {' or '.join(parts)}, such as "
                f"{origin}.training.learning_rate; others make another search"
            )


def points(search: NetworkSearchSettings, grid: Mapping[str, Any]) -> list[Point]:
    """Give every combination of the values in a grid; they are told apart by what has several.

    Raises:
        SettingsError: the grid names no setting that may be changed, or a value cannot be.
    """
    axes = dict(_leaves(grid))
    for name, values in axes.items():
        if not isinstance(values, list | tuple) or not values:
            raise SettingsError(
                f"grid.{name}={values!r}: must be a list of values to try, such as [0.1, 0.2]"
            )
        if repeated := _repeated(values):
            raise SettingsError(f"grid.{name}={values!r}: {repeated} must be there once")
    start = Point.of(search)
    found = [
        start.with_values(dict(zip(axes, values, strict=True)))
        for values in itertools.product(*axes.values())
    ]
    varied = {name for name, values in axes.items() if len(values) > 1}
    return [
        Point({k: v for k, v in point.changes.items() if k in varied}, point.settings, search)
        for point in found
    ]


def _repeated(values: Sequence[Any]) -> str:
    """Name a value that is there twice; empty where there is none."""
    return next((_text(each) for n, each in enumerate(values) if each in values[:n]), "")


def _changed(
    settings: NetworkSearchSettings, values: Mapping[str, Any], origin: str
) -> NetworkSearchSettings:
    data = settings.model_dump(mode="json")
    for name, value in values.items():
        *sections, last = name.split(".")
        part = data
        for section in sections:
            part = part.setdefault(section, {})
            if not isinstance(part, dict):
                raise SettingsError(f"{origin}.{name}: {section!r} is a value and has no settings")
        before = part.get(last)
        is_part = isinstance(before, dict) and isinstance(value, dict)
        part[last] = before | value if is_part else value
    return checked(data, type(settings), origin)


def _leaves(tree: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Give (name in dots, value) of everything in nested mappings."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return " ".join(map(_text, value))
    if isinstance(value, Mapping):
        return " ".join(f"{key} {_text(each)}" for key, each in value.items())
    return str(value)
