"""Whether an actor lives, and answers."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import ray

from workers.remote import result_of, summary_of

PING_EVERY_S = 3.0
PING_AGAIN_S = 0.5  # after a question that did not reach it
# A process that is stopped (SIGSTOP), or whose machine is gone without a word, answers nothing, and
# Ray never notices the first. One that is only busy answers: another thread of it does.
FROZEN_AFTER_S = 12.0
START_TIMEOUT_S = 180.0

# What Ray raises for a call to a process that is dead; the second where it killed it itself,
# because the node's memory ran out, the third where its node was gone before it could start.
DEATHS = (
    ray.exceptions.RayActorError,
    ray.exceptions.OutOfMemoryError,
    ray.exceptions.ActorUnschedulableError,
)


class ProcessDied(Exception):
    """An actor's process has died, or does not answer and has been killed.

    is_at_start: before it had answered once.
    """

    def __init__(self, reason: str, is_at_start: bool) -> None:
        super().__init__(reason)
        self.is_at_start = is_at_start


class Pulse:
    """Asks an actor again and again whether it lives, and kills it when it does not answer.

    The actor has a method `ping`, marked by `workers.remote.control`, that gives its process id.

    Threads: one at a time.
    """

    def __init__(
        self,
        actor: Any,
        clock: Callable[[], float] = time.monotonic,
        *,
        is_restarted: bool = False,
        start_timeout_s: float = START_TIMEOUT_S,
    ) -> None:
        """Ask for the first time.

        Args:
            is_restarted: whether Ray makes the actor again when its process dies.
            start_timeout_s: how long it may take to answer for the first time.
        """
        self._actor = actor
        self._is_restarted = is_restarted
        self._start_timeout_s = start_timeout_s
        self._clock = clock
        self.has_answered = False
        self._pid: int | None = None
        self._past_pid: int | None = None  # of one that was killed, and may answer once more
        self._ping: Any = actor.ping.remote()
        self._ask_at = 0.0
        self._silent_since: float | None = clock()

    @property
    def pending(self) -> Any:
        """What becomes ready when the actor answers or dies; None between two questions."""
        return self._ping

    def check(self) -> None:
        """Take note of an answer, or of its absence, and ask again when it is time; waits never.

        Raises:
            ProcessDied: the process has died, or is killed now for want of an answer. Where Ray
                restarts it, go on checking.
        """
        now = self._clock()
        if self._ping is None:
            if now >= self._ask_at:
                self._ping = self._actor.ping.remote()
                if self._silent_since is None:
                    self._silent_since = now
        elif ray.wait([self._ping], timeout=0)[0]:
            self._take_answer(now)
        limit_s = FROZEN_AFTER_S if self.has_answered else self._start_timeout_s
        if self._silent_since is not None and now - self._silent_since > limit_s:
            ray.kill(self._actor, no_restart=not self._is_restarted)
            raise self._died(f"no answer within {limit_s:g} s; killed")

    def _take_answer(self, now: float) -> None:
        try:
            pid = result_of(self._ping)
        except ray.exceptions.ActorUnavailableError as error:
            if not self._is_restarted:
                raise self._died(summary_of(error)) from error
            # Ray is restarting it, or it is frozen and the connection was given up: only its
            # answer, or for how long there is none, tells which.
            pid = self._past_pid
        except DEATHS as error:
            raise self._died(summary_of(error)) from error
        self._ping, self._ask_at = None, now + PING_AGAIN_S
        if pid == self._past_pid:
            return
        before, self._pid = self._pid, pid
        self._ask_at = now + PING_EVERY_S
        self._silent_since, self.has_answered = None, True
        if before not in (None, pid):
            raise ProcessDied(
                f"process {pid} is in the place of process {before}", is_at_start=False
            )

    def _died(self, reason: str) -> ProcessDied:
        had_answered, self.has_answered = self.has_answered, False
        self._past_pid, self._pid = self._pid or self._past_pid, None
        self._ping, self._silent_since = self._actor.ping.remote(), self._clock()
        return ProcessDied(reason, not had_answered)
