"""What a person sees of something long where nobody looks on: lines of text."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import datetime

from rich.console import Console

logger = logging.getLogger(__name__)

INTERVAL_S = 10.0


class PlainLines:
    """Lines of text, at most one in ten seconds beside events."""

    def __init__(
        self,
        console: Console,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = datetime.now,
    ) -> None:
        self._console = console
        self._clock = clock
        self._now = now
        self._next_s = clock() + INTERVAL_S

    def say(self, text: str) -> None:
        """Print that something has happened."""
        logger.info(text)
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def show(self, line: str) -> None:
        """Print how far it is, with the time of day, if that was not printed lately."""
        if self._clock() >= self._next_s:
            self._next_s = self._clock() + INTERVAL_S
            self.say(f"{self._now():%H:%M:%S}  {line}")
