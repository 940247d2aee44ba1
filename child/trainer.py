"""What trains children, whatever they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from child.result import TrialResult


class Trainer(Protocol):
    """Trains children, one after the other, on one device.

    Threads: one at a time.
    """

    def train(self, architecture: Any, seed: int, say: Callable[[str], None]) -> TrialResult:
        """Train and validate one child; an architecture that cannot be trained is infeasible.

        Args:
            architecture: of the task's space.
            seed: of all that is left to chance; in [0, 2**63).
            say: is told how it goes, a line at a time.
        """
        ...
