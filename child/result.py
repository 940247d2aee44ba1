"""What became of one child: its accuracies, or why it is infeasible."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class TrialResult:
    """The outcome of training and validating one child.

    state: "completed", or "infeasible" when the architecture itself could not be trained.
    reward: what the policy learns from, in [0, 1]; 0 for an infeasible child.
    accuracies: validation accuracy after each epoch, fractions in [0, 1].
    accuracy: the one that the reward was made from; None for an infeasible child.
    num_parameters: of the network; 0 where it could not be built.
    seconds: building, training and validating it took.
    reason: why the child is infeasible, else empty.
    """

    state: Literal["completed", "infeasible"]
    reward: float
    accuracies: tuple[float, ...]
    accuracy: float | None
    num_parameters: int
    seconds: float
    reason: str = ""
