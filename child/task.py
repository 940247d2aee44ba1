"""What a search is over: a space of architectures, and how a child is made of one and trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import nn

from child.measures import Measures
from child.metric import Metric
from child.passes import Passes
from child.space import Space
from child.trainer import Trainer
from child.training_settings import TrainingSettings


class Task(Protocol):
    """One kind of children, complete.

    Laws:
        A task is a value: it is pickled, and holds settings alone, no data and no networks.
        ``data`` is always the search's part of what the settings of the data load; only the task
        looks into it, and `Any` stands for whatever type it is.
    """

    @property
    def space(self) -> Space:
        """The architectures that may be written."""
        ...

    @property
    def metric(self) -> Metric:
        """What children are compared by."""
        ...

    @property
    def is_deterministic(self) -> bool:
        """Whether a GPU is to repeat itself bit for bit."""
        ...

    @property
    def time_limit_s(self) -> float | None:
        """Seconds after which a child is infeasible; None: never."""
        ...

    def trainer(self, data: Any, device: torch.device) -> Trainer:
        """Give what trains children on a device, one after the other."""
        ...

    def architecture(self, described: Mapping[str, Any]) -> Any:
        """Give the architecture that its `to_json` described.

        Raises:
            ValueError: it describes none.
        """
        ...

    def details(self, architecture: Any) -> str:
        """Give further lines about an architecture; empty where its print says all."""
        ...

    def legend(self, printed: str) -> str:
        """Explain the signs in an architecture that is printed, in half a line, or not at all."""
        ...


class NetworkTask(Task, Protocol):
    """A task whose children are networks that we build and train: they can be kept and tested."""

    @property
    def training(self) -> TrainingSettings:
        """How children are trained and rewarded."""
        ...

    @property
    def measures(self) -> Measures:
        """What is measured of children beside."""
        ...

    @property
    def unit(self) -> str:
        """What the data are counted in, in the plural, such as images."""
        ...

    @property
    def architectures(self) -> tuple[type, ...]:
        """The types of the architectures that `build` takes."""
        ...

    def build(self, architecture: Any, data: Any) -> nn.Module:
        """Give an untrained network, on the CPU.

        Raises:
            Infeasible: it is known beforehand that it cannot be trained.
        """
        ...

    def learning_rate(self, architecture: Any) -> float | None:
        """Give the learning rate that was decided with an architecture; None: the settings'."""
        ...

    def passes(self, data: Any, device: torch.device) -> Passes:
        """Put the data on a device, and give what takes networks over them there."""
        ...
