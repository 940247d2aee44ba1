"""A search over a space of the user's, whose children a function of the user's trains."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from child.custom.code import CodeError, named
from child.custom.failure import Failure
from child.custom.space import CustomSpace, SpaceError
from child.custom.trainer import CustomTrainer
from child.custom.training_settings import CustomTrainingSettings
from child.metric import Metric

# What a trainer is given by name, beside its options.
_GIVEN = {"device", "seed", "report"}


@dataclass(frozen=True, eq=False)
class CustomTask:
    """A space and a trainer that are found by their names; see `child.task.Task`.

    space_name, trainer_name: such as my_space:Space. space_options, trainer_options: what both are
    given by name. folders: where their modules are looked for.
    """

    space_name: str
    space_options: Mapping[str, Any]
    trainer_name: str
    trainer_options: Mapping[str, Any]
    training: CustomTrainingSettings
    folders: tuple[str, ...]

    @property
    def metric(self) -> Metric:
        return self.training.metric

    @property
    def is_deterministic(self) -> bool:
        return self.training.is_deterministic

    @property
    def time_limit_s(self) -> float | None:
        return self.training.time_limit_s

    @cached_property
    def space(self) -> CustomSpace:
        """The space.

        Raises:
            CodeError, SpaceError: there is none, or it cannot be made of the options.
        """
        name = f"space={self.space_name}"
        try:
            make = named(self.space_name, self.folders)
        except CodeError as error:
            raise CodeError(f"{name}: {error}") from error
        try:
            space = make(**with_paths(make, self.space_options))
        except Exception as error:
            raise SpaceError(f"{name}: cannot be made: {Failure.of(error).reason}") from error
        return CustomSpace(space, name)

    def trainer(self, data: None, device: torch.device) -> CustomTrainer:
        """Give what trains children; of a class, an object is made of the options first."""
        function = named(self.trainer_name, self.folders)
        options = with_paths(function, self.trainer_options)
        if isinstance(function, type):
            function, options = function(**options), {}
        return CustomTrainer(function, options, self.training, device)

    def check_trainer(self) -> None:
        """Make sure that there is a trainer, and that it takes what it will be given.

        Raises:
            CodeError: there is none, or it does not.
        """
        try:
            _check_trainer(named(self.trainer_name, self.folders), self.trainer_options)
        except CodeError as error:
            raise CodeError(f"trainer={self.trainer_name}: {error}") from error

    def architecture(self, described: Mapping[str, Any]) -> Mapping[str, Any]:
        """Give the description: only the space can make more of it, from the decisions."""
        return described

    def details(self, architecture: Mapping[str, Any]) -> str:
        return ""

    def legend(self, printed: str) -> str:
        return ""

    def __getstate__(self) -> dict[str, Any]:
        # Not the space: its module may be unknown where this is unpickled.
        return {field.name: getattr(self, field.name) for field in fields(self)}


def with_paths(function: Callable[..., Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Give options with a Path for each that the function wants as one, absolute.

    >>> def train(table: Path): ...
    >>> with_paths(train, {"table": "/data/table.csv"})
    {'table': PosixPath('/data/table.csv')}
    """
    called = _of_objects(function, "__init__") if isinstance(function, type) else function
    try:
        wanted = typing.get_type_hints(called)
    except Exception:  # noqa: BLE001 (annotations may be of any kind, and are for others)
        wanted = {}
    return {
        name: Path(value).expanduser().absolute()
        if isinstance(value, str) and Path in (wanted.get(name), *typing.get_args(wanted.get(name)))
        else value
        for name, value in options.items()
    }


def _of_objects(kind: type, method: str) -> Any:
    """Give a method of a class's objects as it is written down; None where there is none."""
    return next((vars(each)[method] for each in kind.__mro__ if method in vars(each)), None)


def _check_trainer(function: Callable[..., Any], options: Mapping[str, Any]) -> None:
    if not isinstance(function, type):
        if taken := sorted(_GIVEN & set(options)):
            raise CodeError(
                f"trainer_options have {', '.join(taken)}, which nasrl gives itself: give them "
                "other names"
            )
        _check_call(function, ["architecture"], {**dict.fromkeys(_GIVEN), **options})
        return
    _check_call(function, [], options)
    trains = _of_objects(function, "__call__")
    if not callable(trains):
        raise CodeError("is a class without __call__, which trains a child: must have it")
    _check_call(trains, ["self", "architecture"], dict.fromkeys(_GIVEN))


def _check_call(
    function: Callable[..., Any], positional: list[str], options: Mapping[str, Any]
) -> None:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return  # one that does not say what it takes
    try:
        signature.bind(*positional, **options)
    except TypeError as error:
        given = ", ".join([*positional, *(f"{name}=" for name in sorted(options))])
        raise CodeError(f"must take ({given}): {error}") from error
