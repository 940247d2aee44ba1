"""The children of a replica, as it sees them: some train, and end one by one."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from child.result import TrialResult
from child.space import Architecture


@dataclass(frozen=True)
class Child:
    """What a child worker needs to know to train one child."""

    trial: int
    architecture: Architecture
    seed: int


class Children(Protocol):
    """The child workers of one replica. Their number may change at any time, to none and back."""

    @property
    def num_workers(self) -> int:
        """How many children train at the same time, now."""
        ...

    def forget(self, trials: Collection[int]) -> None:
        """Do not begin to train these any more."""
        ...

    def train(self, child: Child) -> None:
        """Train a child as soon as a worker is free; does not wait for it."""
        ...

    def ended(self) -> Sequence[tuple[int, TrialResult]]:
        """Give (trial, result) of those that have ended since; waits for one, but not for long."""
        ...
