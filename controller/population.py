"""The trials that new ones are bred from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Individual:
    """A recorded trial as evolution sees it; an infeasible one has the reward 0."""

    depth: int
    choices: tuple[int, ...]
    reward: float


class Population(Protocol):
    """Where evolution finds its individuals; `controller.ledger_reader.LedgerReader` is one."""

    def newest(self, number: int) -> Sequence[Individual]:
        """Give the trials recorded last, over all replicas, at most so many; the last first."""
        ...
