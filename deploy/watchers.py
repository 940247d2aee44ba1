"""What a person sees while a search runs."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from deploy.plain_lines import PlainLines
from deploy.status import ShardHealth, Status

logger = logging.getLogger(__name__)

ASK_SHARDS_S = 5.0


class LiveWatcher:
    """A few lines that are always the newest, on a terminal."""

    def __init__(
        self, console: Console, ask_shards: Callable[[], Sequence[ShardHealth] | None]
    ) -> None:
        """Show nothing yet.

        Args:
            ask_shards: gives how the shards are, or None before there are any; called in a thread
                of its own, and whatever it raises is not shown.
        """
        self._console = console
        self._ask_shards = ask_shards
        self._live = Live(console=console, refresh_per_second=2)
        self._shards: Sequence[ShardHealth] | None = None
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="ask-shards", daemon=True)

    def __enter__(self) -> LiveWatcher:
        self._live.start()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._live.stop()

    def say(self, text: str) -> None:
        logger.info(text)
        self._console.print(text, highlight=False, markup=False)

    def show(self, status: Status) -> None:
        progress = status.progress
        bar = ProgressBar(total=progress.num_trials, completed=progress.num_recorded, width=40)
        rows = Table.grid(padding=(0, 2))
        for what, text in replace(status, shards=self._shards).lines():
            rows.add_row(Text(what), Text(text))
        self._live.update(Group(Text(), bar, rows))

    def _look(self) -> None:
        while not self._is_over.wait(ASK_SHARDS_S):
            try:
                self._shards = self._ask_shards()
            except Exception as error:  # noqa: BLE001 (the search goes on, whatever it is)
                logger.debug("the shards could not be asked: %s", error)


class PlainWatcher:
    """Lines of text where nobody looks on; see `PlainLines`."""

    def __init__(self, lines: PlainLines) -> None:
        self._lines = lines

    def __enter__(self) -> PlainWatcher:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def say(self, text: str) -> None:
        self._lines.say(text)

    def show(self, status: Status) -> None:
        self._lines.show(status.line())
