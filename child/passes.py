"""What a trainer asks of a kind of data: passes of a network over it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from child.precision import Precision
from child.training_settings import TrainingSettings


@dataclass(frozen=True)
class Learner:
    """A network on the device, with all that its training goes on with from pass to pass."""

    network: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler


class Passes(Protocol):
    """Takes networks over data that stay on one device.

    Laws:
        Of a network nothing is kept: all of that is in its `Learner`. Everything random is drawn
        from torch's generators. The data are never written to.
    """

    @property
    def settings(self) -> TrainingSettings: ...

    @property
    def device(self) -> torch.device: ...

    @property
    def precision(self) -> Precision: ...

    def learner(self, network: nn.Module) -> Learner:
        """Take a network to the device, itself and not a copy, with an optimizer of its own."""
        ...

    def train(
        self, learner: Learner, learning_rate: float, before_step: Callable[[], None]
    ) -> float:
        """Train on all the data once.

        Args:
            before_step: called before each step; what it raises ends the pass.

        Returns:
            The cross-entropy in nats, the mean over what was met. It may not be finite: it is
            asked for once a pass, since a GPU would have to wait for each answer.
        """
        ...

    def validate(self, network: nn.Module) -> float:
        """Give the figure that children are compared by, on the validation data.

        Raises:
            Infeasible: the network's answers give no finite figure.
        """
        ...

    def best(self, validations: Sequence[float]) -> float:
        """Give the best of some validation figures."""
        ...

    def reward(self, validation: float) -> float:
        """Give the reward, >= 0, of the validation figure that counts."""
        ...

    def examples(self, number: int) -> Tensor:
        """Give a batch of so many examples, as a network takes them, on the device."""
        ...

    def answers(self, network: nn.Module, examples: Tensor) -> Tensor:
        """Give the logits of a batch, as precisely as the settings say."""
        ...

    def test(self, network: nn.Module, test: Any) -> float:
        """Give the same figure on data that no network has met."""
        ...
