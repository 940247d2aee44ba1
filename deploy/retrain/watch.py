"""What a person sees while networks are trained after a search."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import datetime

from rich.console import Console
from rich.text import Text

logger = logging.getLogger(__name__)

PLAIN_INTERVAL_S = 10.0


class RetrainWatch:
    """One line that is always the newest on a terminal; elsewhere a line in ten seconds at most."""

    def __init__(
        self,
        console: Console,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = datetime.now,
    ) -> None:
        self._console = console
        self._clock = clock
        self._now = now
        self._next_s = clock() + PLAIN_INTERVAL_S
        self._status = console.status("") if console.is_terminal else None

    def __enter__(self) -> RetrainWatch:
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()

    def say(self, text: str) -> None:
        """Say what has happened."""
        logger.info(text)
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def show(self, line: str) -> None:
        """Show how far it is."""
        if self._status is not None:
            self._status.update(Text(line))
        elif self._clock() >= self._next_s:
            self._next_s = self._clock() + PLAIN_INTERVAL_S
            self.say(f"{self._now():%H:%M:%S}  {line}")
