"""Children that train nothing, and their results."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from child.result import TrialResult
from child.space import Architecture
from controller.children import Child
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


def start_of(trial: int, size: int | None = None) -> Start:
    """Give what a replica writes down before the child of a trial trains.

    size: the same for the same architecture; one of three by default.
    """
    size = trial % 3 if size is None else size
    return Start(
        trial=trial,
        decisions=(("type", 0), ("size", size)),
        log_probs=(-1.125, -0.5),
        architecture={"layers": [{"type": 0, "size": size}]},
        architecture_text=f"size {size}",
        seed=2**63 - trial,
        versions=(trial, trial + 1),
    )


class FakeChildren:
    """Child workers in this process; see `controller.children.Children`.

    The result of a child is computed from its architecture, when it ends: one in each call of
    `ended`, of those that train the last that was begun, as real children end in any order. No more
    train than there are workers; the others wait, first come, first served. What real workers could
    not have taken is refused.

    `num_workers` may be set at any time. As in `workers.pool`, those that train end even if there
    are fewer workers by then; without any, those that wait are forgotten, and whoever gave them may
    give them again.

    trained: all that have been begun, in that order. most_in_training: at any one time.
    num_idle_calls: of `ended`, in which real workers would have waited for nothing.
    """

    def __init__(self, result_of: Callable[[Architecture], TrialResult], num_workers: int) -> None:
        self.trained: list[Child] = []
        self.most_in_training = 0
        self.num_idle_calls = 0
        self._num_workers = num_workers
        self._result_of = result_of
        self._waiting: deque[Child] = deque()
        self._training: list[Child] = []
        self._given_back: list[Child] = []

    @property
    def num_workers(self) -> int:
        return self._num_workers

    @num_workers.setter
    def num_workers(self, number: int) -> None:
        self._num_workers = number
        if not number:
            self._waiting.clear()
            self._given_back += self._training
            self._training.clear()

    def train(self, child: Child) -> None:
        assert isinstance(child, Child), f"{child!r}: must be a Child"
        assert isinstance(child.trial, int), f"trial={child.trial!r}: must be a number"
        assert child.trial >= 1, f"trial={child.trial}: trials are numbered from 1"
        known = [other.trial for other in (*self._waiting, *self._training)]
        assert child.trial not in known, f"trial {child.trial} is in training already"
        assert isinstance(child.seed, int), f"seed={child.seed!r}: must be a number"
        assert 0 <= child.seed < 2**63, f"seed={child.seed}: must be in [0, 2**63)"
        hash(child.architecture)
        self._waiting.append(child)
        self._dispatch()

    def ended(self) -> list[tuple[int, TrialResult]]:
        self._dispatch()
        ending = self._given_back or self._training
        if not ending:
            self.num_idle_calls += 1
            assert self.num_idle_calls < LIMIT, "waiting for children, and none trains"
            return []
        child = ending.pop()
        return [(child.trial, self._result_of(child.architecture))]

    def _dispatch(self) -> None:
        while self._waiting and len(self._training) < self._num_workers:
            child = self._waiting.popleft()
            assert len(self.trained) < LIMIT, f"{LIMIT} trials: this search does not end"
            self._training.append(child)
            self.trained.append(child)
        self.most_in_training = max(self.most_in_training, len(self._training))
