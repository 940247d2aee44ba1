"""The child workers of one replica: who trains what, and what happens when one dies."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import ray

from child.result import TrialResult
from controller.children import Child
from workers.pulse import DEATHS, START_TIMEOUT_S, ProcessDied, Pulse
from workers.remote import result_of, summary_of
from workers.slots import Slot

logger = logging.getLogger(__name__)

WAIT_S = 1.0  # how long `ended` waits at most
# Until the next worker is started after one that could not be constructed, and after one for which
# there was no node any more.
UNBORN_WAIT_S = 30.0
UNPLACED_WAIT_S = 5.0
# A child ends itself when its time is over, where it can. One that hangs cannot.
GRACE_S = 10.0


@dataclass(eq=False)
class _Worker:
    """One actor, and what it trains, if it does."""

    actor: Any
    slot: Slot
    pulse: Pulse
    child: Child | None = None
    training: Any = None  # the reference to the result
    began_at: float = 0.0
    is_retry: bool = False  # after one that could not be constructed
    device: str = ""  # once it has said it
    asked: Any = None  # the reference to its device
    asked_seconds: Any = None  # the reference to how long its child has trained


@dataclass(frozen=True)
class PoolStatus:
    """What workers a pool is to have, by their slots, and which of these can train or are starting.

    num_leaving: those that finish their child before they end, beside these.
    training: (trial, device, seconds so far) of each child in training.
    unborn: why the last worker could not be constructed, where none can train, or may turn out to;
        another is tried later.
    """

    wanted: Counter[Slot]
    ready: Counter[Slot]
    starting: Counter[Slot]
    num_leaving: int = 0
    training: tuple[tuple[int, str, float], ...] = ()
    unborn: str = ""


class ChildPool:
    """Trains children on a worker in each slot it is given; see `controller.children.Children`.

    A worker that dies or freezes is replaced, and the trial it had is trained again: it is nobody's
    fault. After max_deaths deaths the trial is infeasible. A child that runs out of the memory of a
    GPU that it shares is trained again alone there, and is infeasible only if that fails. A worker
    that cannot be constructed is tried again later, perhaps on another node: see `PoolStatus`. A
    child that hangs, over its time, is infeasible, and its worker is replaced.

    num_deaths: workers that died so far, in training or not.

    Threads: `resize`, `status` and `num_deaths` may be called from any; all else by one.
    """

    def __init__(
        self,
        spawn: Callable[[Slot], Any],
        slots: Counter[Slot],
        max_deaths: int,
        time_limit_s: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin to start the workers; they join as they are ready.

        Args:
            spawn: gives the handle of a new ChildWorker actor in a slot.
            time_limit_s: of a child; None: it may take any time.
        """
        self._spawn = spawn
        self._max_deaths = max_deaths
        self._time_limit_s = time_limit_s
        self._clock = clock
        self._slots = slots
        self._is_resized = threading.Event()
        self._workers: list[_Worker] = []
        self._waiting: deque[Child] = deque()
        self._deaths: Counter[int] = Counter()
        self.num_deaths = 0
        self._needs_to_be_alone: set[int] = set()
        self._fill_at = 0.0  # no worker is started before
        self._unborn = ""
        self._fill()

    @property
    def num_workers(self) -> int:
        if self._told_unborn:
            return 0  # nobody can say when there will be one
        return self._slots.total() or self._training.total()

    @property
    def status(self) -> PoolStatus:
        wanted, workers = self._slots, list(self._workers)
        ready = Counter(worker.slot for worker in workers if worker.pulse.has_answered)
        starting = Counter(worker.slot for worker in workers if not worker.pulse.has_answered)
        num_leaving = (ready - wanted).total()
        now = self._clock()
        training = tuple(
            (child.trial, worker.device, now - worker.began_at)
            for worker in workers
            if (child := worker.child) is not None
        )
        return PoolStatus(
            wanted, ready & wanted, starting & wanted, num_leaving, training, self._told_unborn
        )

    def resize(self, slots: Counter[Slot]) -> None:
        """Have workers in these slots, and in no others: those that train finish their child."""
        self._slots = slots
        self._is_resized.set()

    def train(self, child: Child) -> None:
        self._waiting.append(child)
        self._dispatch()

    def forget(self, trials: Collection[int]) -> None:
        self._waiting = deque(child for child in self._waiting if child.trial not in trials)

    def ended(self) -> list[tuple[int, TrialResult]]:
        """Give the results there are; waits a second for one."""
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
        for worker in self._workers:
            if worker.pulse.has_answered:
                self._unborn = ""
                _ask_device(worker)
        self._dispatch()
        return results

    def _fill(self) -> None:
        """Start workers that are missing; end those that are too many and train nothing."""
        wanted, there = self._slots, Counter(worker.slot for worker in self._workers)
        surplus = there - wanted
        for worker in sorted(self._workers, key=lambda worker: worker.pulse.has_answered):
            if surplus[worker.slot] and worker.child is None:
                surplus[worker.slot] -= 1
                self._workers.remove(worker)
                ray.kill(worker.actor)
        if self._clock() >= self._fill_at:
            for slot in (wanted - there).elements():
                actor = self._spawn(slot)
                # What it loads may take as long as a child.
                start_s = max(START_TIMEOUT_S, self._time_limit_s or 0.0)
                pulse = Pulse(actor, self._clock, start_timeout_s=start_s)
                self._workers.append(_Worker(actor, slot, pulse, is_retry=bool(self._unborn)))

    @property
    def _told_unborn(self) -> str:
        # Those that were started before may still turn out well.
        is_open = any(not worker.is_retry for worker in list(self._workers))
        return "" if is_open else self._unborn

    @property
    def _training(self) -> Counter[Slot]:
        return Counter(worker.slot for worker in self._workers if worker.child is not None)

    def _dispatch(self) -> None:
        # A worker that is one too many begins nothing new.
        left = self._slots - self._training
        for worker in self._workers:
            if not self._waiting:
                return
            if worker.child is None and worker.pulse.has_answered and left[worker.slot]:
                left[worker.slot] -= 1
                child = self._waiting.popleft()
                is_alone = child.trial in self._needs_to_be_alone
                worker.began_at = self._clock()
                worker.child = child
                worker.asked_seconds = None  # of the child before
                worker.training = worker.actor.train.remote(child, is_alone)

    def _result_of(self, worker: _Worker, has_ended: bool) -> tuple[int, TrialResult] | None:
        """Give the result of a worker that has one; see to a worker that has died."""
        try:
            worker.pulse.check()
            if not has_ended:
                return self._end_if_late(worker)
            result: TrialResult = result_of(worker.training)
        except (ProcessDied, *DEATHS) as error:
            cause = error.__cause__ if isinstance(error, ProcessDied) else error
            reason = summary_of(error)
            if getattr(cause, "actor_init_failed", False):
                # Its node may not be what it has to be; another may be free later.
                self._unborn = reason
                self._fill_at = self._clock() + UNBORN_WAIT_S
            elif isinstance(error, ProcessDied) and error.is_at_start and cause is None:
                self._unborn = f"it took too long to begin: {reason}"
                self._fill_at = self._clock() + UNBORN_WAIT_S
            elif isinstance(cause, ray.exceptions.ActorUnschedulableError):
                self._fill_at = self._clock() + UNPLACED_WAIT_S
            return self._lose(worker, reason)
        child, worker.child, worker.training = worker.child, None, None
        assert child is not None, "a worker that trains has a child"
        if (
            result.is_out_of_memory
            and worker.slot.shares_gpu
            and child.trial not in self._needs_to_be_alone
        ):
            logger.info("trial %d is tried alone: %s", child.trial, result.reason)
            self._needs_to_be_alone.add(child.trial)
            self._waiting.append(child)
            return None
        return child.trial, result

    def _end_if_late(self, worker: _Worker) -> tuple[int, TrialResult] | None:
        """End a worker whose child is long over its time."""
        child, limit_s = worker.child, self._time_limit_s
        if child is None or limit_s is None:
            return None
        if self._clock() - worker.began_at <= limit_s + GRACE_S:
            return None
        # It may have waited for the GPU first: only the worker knows.
        seconds = _seconds_of(worker)
        if seconds <= limit_s + GRACE_S:
            return None
        reason = f"time_limit_s={limit_s:g}: over, and it did not end; its process was ended"
        logger.warning("trial %d: %s", child.trial, reason)
        self._workers.remove(worker)
        ray.kill(worker.actor)
        return child.trial, TrialResult.infeasible(reason, seconds)

    def _lose(self, worker: _Worker, reason: str) -> tuple[int, TrialResult] | None:
        """Let a worker that has died go, and give its trial to another, or up."""
        self._workers.remove(worker)
        ray.kill(worker.actor)
        self.num_deaths += 1
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
        given_up = f"its worker died {self._max_deaths} times"
        return child.trial, TrialResult.infeasible(given_up, 0.0)


def _seconds_of(worker: _Worker) -> float:
    """Give for how long a worker's child has trained, as it said last; waits never."""
    if worker.asked_seconds is None:
        worker.asked_seconds = worker.actor.seconds.remote()
    if not ray.wait([worker.asked_seconds], timeout=0)[0]:
        return 0.0
    asked, worker.asked_seconds = worker.asked_seconds, None
    try:
        seconds: float = result_of(asked)
    except ray.exceptions.RayError:
        return 0.0  # its death is noticed elsewhere
    return seconds


def _ask_device(worker: _Worker) -> None:
    """Learn on which device a worker trains; waits never."""
    if worker.device:
        return
    if worker.asked is None:
        worker.asked = worker.actor.device.remote()
    elif ray.wait([worker.asked], timeout=0)[0]:
        asked, worker.asked = worker.asked, None
        with suppress(ray.exceptions.RayError):  # its death is noticed elsewhere
            worker.device = result_of(asked)
