"""The child workers of one replica: who trains what, and what happens when one dies."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import ray

from child.result import TrialResult
from controller.children import Child
from workers.pulse import DEATHS, ProcessDied, Pulse
from workers.remote import result_of, summary_of

logger = logging.getLogger(__name__)

WAIT_S = 1.0  # how long `ended` waits at most
UNBORN_WAIT_S = 30.0  # until the next worker is started after one that could not be constructed


@dataclass(eq=False)
class _Worker:
    """One actor, and what it trains, if it does."""

    actor: Any
    pulse: Pulse
    child: Child | None = None
    training: Any = None  # the reference to the result


@dataclass(frozen=True)
class PoolStatus:
    """How many workers a pool is to have, and how many of these can train; the others start."""

    num_wanted: int
    num_ready: int

    @property
    def num_starting(self) -> int:
        return self.num_wanted - self.num_ready


class ChildPool:
    """Trains children on as many workers as it is given; see `controller.children.Children`.

    A worker that dies or freezes is replaced, and the trial it had is trained again: it is nobody's
    fault. After max_deaths deaths the trial is infeasible. A child that runs out of the memory of a
    GPU that it shares is trained again alone there, and is infeasible only if that fails.

    Threads: `resize` and `status` may be called from any; all else by one.
    """

    def __init__(
        self,
        spawn: Callable[[], Any],
        num_workers: int,
        max_deaths: int,
        *,
        shares_gpu: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin to start the workers; they join as they are ready.

        Args:
            spawn: gives the handle of a new ChildWorker actor.
            shares_gpu: whether workers have parts of a GPU.
        """
        self._spawn = spawn
        self._max_deaths = max_deaths
        self._shares_gpu = shares_gpu
        self._clock = clock
        self._num_wanted = num_workers
        self._is_resized = threading.Event()
        self._workers: list[_Worker] = []
        self._waiting: deque[Child] = deque()
        self._deaths: Counter[int] = Counter()
        self._needs_to_be_alone: set[int] = set()
        self._fill_at = 0.0  # no worker is started before
        self._fill()

    @property
    def num_workers(self) -> int:
        return self._num_wanted or self._num_training

    @property
    def status(self) -> PoolStatus:
        num_ready = sum(worker.pulse.has_answered for worker in list(self._workers))
        num_wanted = self._num_wanted
        return PoolStatus(num_wanted, min(num_ready, num_wanted))

    def resize(self, num_workers: int) -> None:
        """Have more workers, or fewer: those that train finish their child first."""
        self._num_wanted = num_workers
        self._is_resized.set()

    def train(self, child: Child) -> None:
        self._waiting.append(child)
        self._dispatch()

    def forget(self, trials: Collection[int]) -> None:
        self._waiting = deque(child for child in self._waiting if child.trial not in trials)

    def ended(self) -> list[tuple[int, TrialResult]]:
        """Give the results there are; waits a second for one.

        Raises:
            Exception: a worker could not be constructed, and there is no other; the next would fail
                alike.
        """
        self._fill()
        self._dispatch()
        trainings = [w.training for w in self._workers if w.training is not None]
        pings = [w.pulse.pending for w in self._workers if w.pulse.pending is not None]
        if awaited := trainings + pings:
            ray.wait(awaited, num_returns=1, timeout=WAIT_S)
        else:
            self._is_resized.wait(WAIT_S)
        self._is_resized.clear()
        # Those that end at nearly the same time are given together.
        ended = set()
        if trainings:
            ended.update(ray.wait(trainings, num_returns=len(trainings), timeout=0)[0])
        results = [
            result
            for worker in list(self._workers)
            if (result := self._result_of(worker, worker.training in ended)) is not None
        ]
        self._dispatch()
        return results

    def _fill(self) -> None:
        """Start workers that are missing; end those that are too many and train nothing."""
        while len(self._workers) < self._num_wanted and self._clock() >= self._fill_at:
            actor = self._spawn()
            self._workers.append(_Worker(actor, Pulse(actor, self._clock)))
        for worker in sorted(self._workers, key=lambda worker: worker.pulse.has_answered):
            if len(self._workers) <= self._num_wanted:
                return
            if worker.child is None:
                self._workers.remove(worker)
                ray.kill(worker.actor)

    @property
    def _num_training(self) -> int:
        return sum(worker.child is not None for worker in self._workers)

    def _dispatch(self) -> None:
        for worker in self._workers:
            # A worker that is one too many begins nothing new.
            if not self._waiting or self._num_training >= self._num_wanted:
                return
            if worker.child is None and worker.pulse.has_answered:
                child = self._waiting.popleft()
                is_alone = child.trial in self._needs_to_be_alone
                worker.child = child
                worker.training = worker.actor.train.remote(child, is_alone)

    def _result_of(self, worker: _Worker, has_ended: bool) -> tuple[int, TrialResult] | None:
        """Give the result of a worker that has one; see to a worker that has died."""
        try:
            worker.pulse.check()
            if not has_ended:
                return None
            result: TrialResult = result_of(worker.training)
        except (ProcessDied, *DEATHS) as error:
            cause = error.__cause__ if isinstance(error, ProcessDied) else error
            if getattr(cause, "actor_init_failed", False):
                assert cause is not None
                if len(self._workers) == 1:
                    raise cause from None  # no trial's fault: the next worker would fail alike
                # One node among others is not what it has to be; another may be free later.
                self._fill_at = self._clock() + UNBORN_WAIT_S
            return self._lose(worker, summary_of(error))
        child, worker.child, worker.training = worker.child, None, None
        assert child is not None, "a worker that trains has a child"
        if (
            result.is_out_of_memory
            and self._shares_gpu
            and child.trial not in self._needs_to_be_alone
        ):
            logger.info("trial %d is tried alone: %s", child.trial, result.reason)
            self._needs_to_be_alone.add(child.trial)
            self._waiting.append(child)
            return None
        return child.trial, result

    def _lose(self, worker: _Worker, reason: str) -> tuple[int, TrialResult] | None:
        """Let a worker that has died go, and give its trial to another, or up."""
        self._workers.remove(worker)
        ray.kill(worker.actor)
        child = worker.child
        if child is None:
            logger.warning("an idle worker died: %s", reason)
            return None
        self._deaths[child.trial] += 1
        num_deaths = self._deaths[child.trial]
        logger.warning(
            "trial %d lost its worker (%d of %d): %s",
            child.trial,
            num_deaths,
            self._max_deaths,
            reason,
        )
        if num_deaths < self._max_deaths:
            self._waiting.append(child)
            return None
        return child.trial, TrialResult(
            state="infeasible",
            reward=0.0,
            validations=(),
            validation=None,
            num_parameters=0,
            seconds=0.0,
            reason=f"its worker died {self._max_deaths} times",
        )
