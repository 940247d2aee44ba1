"""Children that train nothing, and their results."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from child.result import TrialResult
from child.space import Architecture
from controller.replica import Child
from controller.trial import Start

LIMIT = 1000  # trials of one test; a search that does not end is noticed


def completed(reward: float) -> TrialResult:
    """Give the result of a child that was trained; its reward is its accuracy."""
    return TrialResult(
        state="completed",
        reward=reward,
        validations=(reward / 2, reward),
        validation=reward,
        num_parameters=10,
        seconds=0.5,
    )


def infeasible(reason: str = "the training loss of epoch 1 is nan") -> TrialResult:
    """Give the result of a child that could not be trained."""
    return TrialResult(
        state="infeasible",
        reward=0.0,
        validations=(),
        validation=None,
        num_parameters=10,
        seconds=0.5,
        reason=reason,
    )


def start_of(trial: int) -> Start:
    """Give what a replica writes down before the child of a trial trains."""
    return Start(
        trial=trial,
        decisions=(("type", 0), ("size", trial % 3)),
        log_probs=(-1.125, -0.5),
        architecture={"layers": [{"type": 0, "size": trial % 3}]},
        architecture_text=f"size {trial % 3}",
        seed=2**63 - trial,
        versions=(trial, trial + 1),
    )


class FakeChildren:
    """Child workers in this process; see `controller.replica.Children`.

    The result of a child is computed from its architecture. Of one call the last child ends first,
    as real children end in any order. What a worker could not have taken is refused.
    """

    def __init__(self, result_of: Callable[[Architecture], TrialResult], num_workers: int) -> None:
        self.num_workers = num_workers
        self.trained: list[Child] = []
        self._result_of = result_of

    def train(self, children: Sequence[Child]) -> Iterator[tuple[int, TrialResult]]:
        known = {child.trial for child in self.trained}
        assert 1 <= len(children) <= self.num_workers, f"{len(children)} children at a time"
        assert len(known) < LIMIT, f"{len(known)} trials: this search does not end"
        for child in children:
            assert isinstance(child, Child), f"{child!r}: must be a Child"
            assert isinstance(child.trial, int), f"trial={child.trial!r}: must be a number"
            assert child.trial >= 1, f"trial={child.trial}: trials are numbered from 1"
            assert child.trial not in known, f"trial {child.trial} was trained before"
            assert isinstance(child.seed, int), f"seed={child.seed!r}: must be a number"
            assert 0 <= child.seed < 2**63, f"seed={child.seed}: must be in [0, 2**63)"
            hash(child.architecture)
            known.add(child.trial)
        self.trained += children
        for child in reversed(children):
            yield child.trial, self._result_of(child.architecture)
