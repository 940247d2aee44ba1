"""A clock that tests move."""

from __future__ import annotations

import threading


class FakeClock:
    """Says the time that a test has set, in seconds; it stands still unless it is moved.

    With a step every reading moves it that much further, so that no two readings are equal and
    their order is the order in which they were taken.

    Threads: may be called from many.
    """

    def __init__(self, now: float = 1000.0, step: float = 0.0) -> None:
        self._now = now
        self._step = step
        self._lock = threading.Lock()  # guards the time

    def __call__(self) -> float:
        with self._lock:
            self._now += self._step
            return self._now

    def advance(self, seconds: float) -> None:
        """Let so many seconds pass."""
        assert seconds >= 0, f"seconds={seconds}: a clock does not run backwards"
        with self._lock:
            self._now += seconds
