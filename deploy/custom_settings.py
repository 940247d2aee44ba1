"""The settings of a search over a space of the user's."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from pydantic import Field, PrivateAttr, model_validator

from child.custom.code import files_of, named
from child.custom.space import Undecodable
from child.custom.task import CustomTask, with_paths
from child.custom.training_settings import CustomTrainingSettings
from controller.random_search import RandomSearch
from controller.schedule import ScheduleSettings
from deploy.settings import SearchSettings

NUM_TRIED = 10  # lists, of the first depth and of the last, that are decoded before a search


class CustomSearchSettings(SearchSettings):
    """A search over a space of the user's, whose children a function of the user's trains."""

    space: str = Field(
        description="What is searched: MODULE:NAME of a class, such as my_space:Space for the one "
        "in my_space.py beside the settings."
    )
    space_options: dict[str, Any] = Field({}, description="What the class is given, by name.")
    trainer: str = Field(
        description="What trains a child: MODULE:NAME of a function, such as my_training:train, or "
        "of a class whose objects can be called."
    )
    trainer_options: dict[str, Any] = Field(
        {}, description="What the function, or the class, is given by name."
    )
    schedule: ScheduleSettings = ScheduleSettings(num_layers=1, increase=0)
    training: CustomTrainingSettings = CustomTrainingSettings()
    _folders: tuple[str, ...] = PrivateAttr(())

    @cached_property
    def task(self) -> CustomTask:
        return CustomTask(
            self.space,
            self.space_options,
            self.trainer,
            self.trainer_options,
            self.training,
            self._folders,
        )

    @property
    def depths(self) -> ScheduleSettings:
        return self.schedule

    @property
    def subject(self) -> str:
        return f"space {self.space}"

    def load_data(self) -> None:
        """Load nothing: the trainer does."""

    @property
    def code(self) -> list[Path]:
        return files_of([self.space, self.trainer])

    def model_post_init(self, context: Any) -> None:
        folders = (context or {}).get("folders") or [Path.cwd()]
        self._folders = tuple(str(folder) for folder in folders)

    @model_validator(mode="after")
    def _metrics_are_the_trainers(self) -> Self:
        if self.objective.measures:
            raise ValueError(
                f"objective.measures={list(self.objective.measures)}: must be empty, for these are "
                "measured of networks that nasrl builds; the trainer gives metrics of its own, as "
                "nasrl.Outcome has them"
            )
        return self

    # In the place of what is asked of other searches: an error in the space is told as what it is.
    @model_validator(mode="after")
    def _something_is_decided(self) -> Self:
        self.task.check_trainer()
        self._check_options()
        self._try_lists()
        super()._something_is_decided()  # type: ignore[operator]
        return self

    def _check_options(self) -> None:
        """Make paths absolute; refuse what a settings file would not give back as it is."""
        for key, name in (("space", self.space), ("trainer", self.trainer)):
            options: dict[str, Any] = getattr(self, f"{key}_options")
            paths = with_paths(named(name, self._folders), options)
            # A run directory that is resumed from elsewhere means the same.
            options.update({n: str(path) for n, path in paths.items() if isinstance(path, Path)})
            for option, value in options.items():
                try:
                    is_kept = json.loads(json.dumps(value, allow_nan=False)) == value
                except (TypeError, ValueError):
                    is_kept = False
                if not is_kept:
                    raise ValueError(
                        f"{key}_options.{option}={value!r}: must be texts, finite numbers, true, "
                        "false, null, and lists and mappings of these, with texts for keys"
                    )

    def _try_lists(self) -> None:
        """Draw some lists, and decode them."""
        task, depths = self.task, [self.depths.depth(1), self.deepest] * NUM_TRIED
        uniform = RandomSearch(task.space, 1)
        generators = [np.random.default_rng([self.seed, number]) for number in range(len(depths))]
        is_by_position = self.policy.sharing == "position"
        for depth, rollout in zip(depths, uniform.sample(depths, generators), strict=True):
            architecture = task.space.decode(rollout.choices, depth)
            if isinstance(architecture, Undecodable) and not architecture.is_refused:
                raise ValueError(
                    f"space={self.space}: the list {list(rollout.choices)}, at depth {depth}, "
                    f"raised {architecture.failure.reason}"
                )
            positions = task.space.positions(depth) if is_by_position else ()
            if is_by_position and len(positions) < len(rollout.choices):
                raise ValueError(
                    f"space={self.space}: positions({depth}) are {len(positions)}: must be as many "
                    f"as the longest list has choices, and one has {len(rollout.choices)}"
                )
