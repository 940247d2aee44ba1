"""What became of a final training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class FinalResult:
    """The outcome of training a network to its end, and of its one test.

    state: "completed", or "infeasible" when the network could not be trained; reason says why.
    losses: of the training, after each epoch; see `child.result.EpochReport`.
    is_converged: whether it ended for that, and not because the epochs were used up.
    test: the figure of data that the network had not met; see `child.metric.Metric`. None where it
        is infeasible.
    is_out_of_memory: see `child.result.TrialResult`.
    """

    state: Literal["completed", "infeasible"]
    losses: tuple[float, ...]
    is_converged: bool
    test: float | None
    num_parameters: int
    seconds: float
    reason: str = ""
    is_out_of_memory: bool = False
