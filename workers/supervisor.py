"""Looks after the processes of a search: replaces those that die or freeze."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import ray

from workers.pulse import DEATHS, ProcessDied, Pulse
from workers.remote import result_of, summary_of

logger = logging.getLogger(__name__)

# A process that cannot be constructed so often in a row, or not in time, or that dies so often in a
# row without having lived for long and without any trial recorded meanwhile, will do so again.
MAX_FAILED_STARTS = 3
MAX_EARLY_DEATHS = 20
EARLY_S = 60.0
BACKOFF_S = 0.5
MAX_BACKOFF_S = 5.0


class ProcessFailed(Exception):
    """A process of the search failed in a way that another in its place would fail alike."""


class Supervised:
    """One process that is looked after, with the work it is to do.

    Threads: one at a time.
    """

    def __init__(
        self,
        name: str,
        spawn: Callable[[], Any],
        work: Callable[[Any], Any] | None,
        is_restarted: bool,
        retry_on: tuple[type[Exception], ...],
        has_room: Callable[[], bool],
        clock: Callable[[], float],
    ) -> None:
        """Start the process.

        Args:
            spawn: gives the handle of a new actor; see `Pulse` for what it must have.
            work: begins what the actor is there for, and gives the reference to its end; None where
                it only answers calls.
            is_restarted: whether Ray puts another in the place of one that dies.
            retry_on: what its work may raise that another in its place may not meet.
            has_room: whether a node was found for it. If not it may take for ever to start, which
                is not its fault.
        """
        self.name = name
        self.actor: Any = None
        self.num_deaths = 0
        self._spawn = spawn
        self._begin_work = work
        self._is_restarted = is_restarted
        self._retry_on = retry_on
        self._has_room = has_room
        self._clock = clock
        self._work: Any = None
        self._is_working = False
        self._has_lived = False
        self._num_early_deaths = self._num_failed_starts = 0
        self._respawn_at = 0.0
        self._start()

    @property
    def has_returned(self) -> bool:
        """Whether its work was begun and has come to its end."""
        return self._is_working and self._work is None and self.actor is not None

    @property
    def has_lived(self) -> bool:
        """Whether it has answered, in any of its lives."""
        return self._has_lived or self.is_alive

    @property
    def is_alive(self) -> bool:
        """Whether it has answered in this life, and was not found dead since."""
        return self.actor is not None and self._pulse.has_answered

    @property
    def has_room(self) -> bool:
        """Whether a node was found for it."""
        return self._has_room()

    @property
    def pending(self) -> list[Any]:
        """What becomes ready when there is something to check."""
        if self.actor is None:
            return []  # its successor is not due yet
        return [each for each in (self._pulse.pending, self._work) if each is not None]

    def work(self) -> None:
        """Begin the work, or begin it again after it has returned."""
        self._is_working = True
        if self.actor is not None and self._work is None and self._begin_work is not None:
            self._work = self._begin_work(self.actor)

    def check(self) -> str | None:
        """Look at the process; give what is worth saying, and put another in the place of a dead.

        Raises:
            ProcessFailed: it failed, or died again and again.
        """
        if self.actor is None:
            if self._clock() >= self._respawn_at:
                self._start()
            return None
        try:
            self._pulse.check()
            if self._work is not None and ray.wait([self._work], timeout=0)[0]:
                result_of(self._work)
                self._work = None
            return None
        except (ProcessDied, *DEATHS) as error:
            return self._replace(error)
        except Exception as error:
            if isinstance(error, self._retry_on):
                return self._replace(error)
            raise ProcessFailed(f"{self.name}: {type(error).__name__}: {error}") from error

    def forgive(self) -> None:
        """Forget earlier deaths: the search has moved since."""
        self._num_early_deaths = 0

    def kill(self) -> None:
        """End the process at once; nobody takes its place."""
        if self.actor is not None:
            ray.kill(self.actor)
            self.actor = None
        self._respawn_at = float("inf")

    def _start(self) -> None:
        self._born_at = self._clock()
        self.actor = self._spawn()
        self._pulse = Pulse(self.actor, self._clock, is_restarted=self._is_restarted)
        if self._is_working:
            self.work()

    def _replace(self, error: Exception) -> str:
        reason = summary_of(error)
        self._has_lived = self.has_lived
        logger.warning("%s died: %s", self.name, reason)
        is_early = self._clock() - self._born_at < EARLY_S
        self._num_early_deaths = self._num_early_deaths + 1 if is_early else 0
        cause = error.__cause__ if isinstance(error, ProcessDied) else error
        is_late = isinstance(error, ProcessDied) and error.is_at_start and cause is None
        is_waiting = is_late and not self._has_room()
        is_late = is_late and not is_waiting
        self.num_deaths += not is_waiting
        is_failed_start = is_late or getattr(cause, "actor_init_failed", False)
        self._num_failed_starts = self._num_failed_starts + 1 if is_failed_start else 0
        if self._num_failed_starts >= MAX_FAILED_STARTS:
            how = f"could not start {self._num_failed_starts} times"
            raise self._failure(how, reason) from error
        if self._num_early_deaths >= MAX_EARLY_DEATHS:
            how = f"died {self._num_early_deaths} times soon after its start"
            raise self._failure(how, reason) from error
        if self._is_restarted and not isinstance(error.__cause__, ray.exceptions.ActorDiedError):
            self._born_at = self._clock()
            return f"{self.name} died and was restarted: {reason}"
        # Whatever is left of it must not go on beside the next.
        ray.kill(self.actor)
        self.actor = self._work = None
        wait_s = min(MAX_BACKOFF_S, BACKOFF_S * max(0, self._num_early_deaths - 1))
        self._respawn_at = self._clock() + wait_s
        if not wait_s:
            self._start()
        if is_waiting:
            return f"{self.name} waits: no node has had room for it so far"
        return f"{self.name} died and is replaced: {reason}"

    def _failure(self, how: str, reason: str) -> ProcessFailed:
        return ProcessFailed(
            f"{self.name}: its process {how}; {reason.rstrip('.')}; see its log in the run "
            "directory, and dmesg if memory may have run out"
        )


class Supervisor:
    """All processes of a search that are looked after.

    Threads: one at a time.
    """

    def __init__(
        self, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Look after nothing yet.

        Args:
            say: is told of every process that is replaced.
        """
        self.say = say
        self._clock = clock
        self._processes: list[Supervised] = []
        self._past_deaths: Counter[str] = Counter()

    @property
    def deaths(self) -> Counter[str]:
        """How often the processes of each name have died so far."""
        deaths = self._past_deaths.copy()
        for process in self._processes:
            deaths[process.name] += process.num_deaths
        return +deaths

    def start(
        self,
        name: str,
        spawn: Callable[[], Any],
        work: Callable[[Any], Any] | None = None,
        *,
        is_restarted: bool = False,
        retry_on: tuple[type[Exception], ...] = (),
        has_room: Callable[[], bool] = lambda: True,
    ) -> Supervised:
        """Start a process and look after it from now on; see `Supervised`."""
        process = Supervised(name, spawn, work, is_restarted, retry_on, has_room, self._clock)
        self._processes.append(process)
        return process

    def end(self, process: Supervised) -> None:
        """End a process at once, and look after it no more."""
        process.kill()
        self._processes.remove(process)
        self._past_deaths[process.name] += process.num_deaths

    def check(self, wait_s: float = 0.0) -> None:
        """Look at all processes; waits at most so long for something to look at.

        Raises:
            ProcessFailed: one failed for good.
        """
        if wait_s:
            pending = [each for process in self._processes for each in process.pending]
            if pending:
                ray.wait(pending, num_returns=1, timeout=wait_s)
            else:
                time.sleep(wait_s)
        for process in self._processes:
            if event := process.check():
                self.say(event)

    def forgive(self) -> None:
        """Forget earlier deaths: the search has moved since."""
        for process in self._processes:
            process.forgive()
