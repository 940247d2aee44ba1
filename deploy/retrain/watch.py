"""What a person sees while networks are trained after a search."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from deploy.plain_lines import PlainLines


class RetrainWatch:
    """One line that is always the newest on a terminal; elsewhere a line in ten seconds at most."""

    def __init__(self, console: Console) -> None:
        self._lines = PlainLines(console)
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
        self._lines.say(text)

    def show(self, line: str) -> None:
        """Show how far it is."""
        if self._status is not None:
            self._status.update(Text(line))
        else:
            self._lines.show(line)
