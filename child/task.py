"""What a search is over: a space of architectures, and how a child is made of one and trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import nn

from child.metric import Metric
from child.passes import Passes
from child.space import Space
from child.training_settings import TrainingSettings


class Task(Protocol):
    """One kind of children, complete.

    Laws:
        A task is a value: it is pickled, and holds settings alone, no data and no networks.
        ``data`` is always the search's part of what the settings of the data load; only `build` and
        `passes` look into it, and `Any` stands for whatever type these two agree on.
    """

    @property
    def training(self) -> TrainingSettings:
        """How children are trained and rewarded."""
        ...

    @property
    def space(self) -> Space:
        """The architectures that may be written."""
        ...

    @property
    def unit(self) -> str:
        """What the data are counted in, in the plural, such as images."""
        ...

    @property
    def metric(self) -> Metric:
        """What children are compared by."""
        ...

    def build(self, architecture: Any, data: Any) -> nn.Module:
        """Give an untrained network, on the CPU.

        Raises:
            Infeasible: it is known beforehand that it cannot be trained.
        """
        ...

    @property
    def architectures(self) -> tuple[type, ...]:
        """The types of the architectures that `build` takes."""
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
        """Explain the signs in an architecture that is printed, in half a line."""
        ...

    def learning_rate(self, architecture: Any) -> float | None:
        """Give the learning rate that was decided with an architecture; None: the settings'."""
        ...

    def passes(self, data: Any, device: torch.device) -> Passes:
        """Put the data on a device, and give what takes networks over them there."""
        ...
