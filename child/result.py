"""What became of one child: its validation figures, or why it is infeasible."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

# Of any reward: a greater one would stay in the average that later ones are compared with.
MAX_REWARD = 1e9


class Infeasible(Exception):
    """An architecture cannot be trained, and that is its own fault.

    Whoever builds or trains a child may raise it; the message is the reason in the ledger.

    num_parameters: of the network, where it is known although there is none; else 0.
    """

    def __init__(self, reason: str = "", num_parameters: int = 0) -> None:
        super().__init__(reason)
        self.num_parameters = num_parameters


@dataclass(frozen=True)
class EpochReport:
    """One epoch of a child that is in training.

    epoch: its number, from 1, of num_epochs.
    loss: cross-entropy in nats, the mean over the training data, each part as it was met.
    validation: the figure of the validation data after it; see `child.metric.Metric`.
    seconds: since the child was begun.
    """

    epoch: int
    num_epochs: int
    loss: float
    validation: float
    seconds: float


@dataclass(frozen=True)
class TrialResult:
    """The outcome of training and validating one child.

    state: "completed", or "infeasible" when the architecture itself could not be trained.
    reward: what the policy learns from, from 0 to MAX_REWARD; 0 for an infeasible child.
    validations: the validation figure after each epoch; see `child.metric.Metric`.
    validation: the one that the reward was made from; None for an infeasible child.
    num_parameters: of the network; 0 where it could not be built and is not known.
    seconds: building, training and validating it took.
    reason: why the child is infeasible, else empty.
    is_out_of_memory: it is infeasible for want of memory. Others on the same device may have had
        it; alone there, the child may be trained after all.
    traceback: of an error in code of the user's that made it infeasible, else empty.
    metrics: further finite figures of it, by their names.
    """

    state: Literal["completed", "infeasible"]
    reward: float
    validations: tuple[float, ...]
    validation: float | None
    num_parameters: int
    seconds: float
    reason: str = ""
    is_out_of_memory: bool = False
    traceback: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def infeasible(
        cls,
        reason: str,
        seconds: float,
        validations: Sequence[float] = (),
        *,
        is_out_of_memory: bool = False,
        traceback: str = "",
    ) -> TrialResult:
        """Give the result of a child that left no network."""
        return cls(
            state="infeasible",
            reward=0.0,
            validations=tuple(validations),
            validation=None,
            num_parameters=0,
            seconds=seconds,
            reason=reason,
            is_out_of_memory=is_out_of_memory,
            traceback=traceback,
        )
