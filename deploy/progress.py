"""What a person sees while a search runs."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from controller import records

logger = logging.getLogger(__name__)

PLAIN_INTERVAL_S = 10.0


class LiveWatcher:
    """A bar that moves, on a terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar = Progress(
            TextColumn("trials"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.description}", markup=False),
            console=console,
        )
        self._task = self._bar.add_task("", total=None)

    def __enter__(self) -> LiveWatcher:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def say(self, text: str) -> None:
        logger.info(text)
        self._console.print(text, highlight=False, markup=False)

    def show(self, progress: records.Progress) -> None:
        self._bar.update(
            self._task,
            total=progress.num_trials,
            completed=progress.num_recorded,
            description=describe(progress),
        )


class PlainWatcher:
    """Lines of text, at most one in ten seconds beside events, where nobody looks on."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._next_s = clock() + PLAIN_INTERVAL_S

    def __enter__(self) -> PlainWatcher:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def say(self, text: str) -> None:
        logger.info(text)
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def show(self, progress: records.Progress) -> None:
        if self._clock() >= self._next_s:
            self._next_s = self._clock() + PLAIN_INTERVAL_S
            counted = f"trials {progress.num_recorded}/{progress.num_trials}"
            self.say(f"{counted}  {describe(progress)}".rstrip())


def describe(progress: records.Progress) -> str:
    """Say in a line how the rewards are."""
    parts = []
    if progress.recent_reward is not None:
        parts.append(f"recent mean reward {progress.recent_reward:.3f}")
    best, metric = progress.best, progress.metric
    if best is not None and best.validation is not None:
        parts.append(f"best {metric.name} {metric.text(best.validation)} (trial {best.trial})")
    if progress.num_infeasible:
        parts.append(f"{progress.num_infeasible} infeasible")
    if progress.num_reused:
        parts.append(f"{progress.num_reused} reused")
    return ", ".join(parts)
