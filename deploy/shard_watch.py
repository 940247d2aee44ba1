"""Shards that are shown again and again."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Protocol, Self

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from deploy.asked_shards import SeenShard
from deploy.run import NoEndpoints
from deploy.shard_formats import shard_table


def _now() -> datetime:
    return datetime.now().astimezone()


class ShardScreen(Protocol):
    """Where shards are shown, while it is entered."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def show(self, seen: Sequence[SeenShard]) -> None:
        """Show how the shards are now."""

    def say(self, text: str) -> None:
        """Tell the person something else, in a line."""


class LiveTable:
    """A table that is always the newest, on a terminal."""

    def __init__(
        self, console: Console, interval_s: float, now: Callable[[], datetime] = _now
    ) -> None:
        self._console = console
        self._interval_s = interval_s
        self._now = now
        self._live = Live(console=console, auto_refresh=False)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, seen: Sequence[SeenShard]) -> None:
        below = Text(f"\n{self._now():%H:%M:%S}, every {self._interval_s:g} s; Ctrl-C ends this")
        self._live.update(Group(shard_table(seen), below), refresh=True)

    def say(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False)


class HealthLines:
    """A line with the time whenever the health or the address of a shard changes."""

    def __init__(self, console: Console, now: Callable[[], datetime] = _now) -> None:
        self._console = console
        self._now = now
        self._shown: list[tuple[str, str]] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, seen: Sequence[SeenShard]) -> None:
        found = [(shard.status.address, shard.status.health) for shard in seen]
        if found != self._shown:
            self._shown = found
            self.say(", ".join(map(_words, seen)))

    def say(self, text: str) -> None:
        line = f"{self._now().isoformat(timespec='seconds')} {text}"
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)


def watch(
    look: Callable[[], Sequence[SeenShard]],
    screen: ShardScreen,
    interval_s: float,
    pause: Callable[[float], None] = time.sleep,
) -> int:
    """Show the shards again and again, until their search ends or a person has seen enough.

    Args:
        look: `AskedShards.look`.

    Returns:
        The exit code: 0 if the search has ended; after Ctrl-C 0 if all shards were SERVING when
        they were last seen, else 1.

    Raises:
        NoEndpoints: at the first look there are no shards.
        deploy.run.RunError, ps.credentials.CredentialsError: from look.
    """
    code = 1
    has_seen = False
    with screen:
        try:
            while True:
                seen = look()
                has_seen = True
                screen.show(seen)
                code = 0 if all(shard.is_serving for shard in seen) else 1
                pause(interval_s)
        except NoEndpoints as error:
            if not has_seen:
                raise
            ended = error.path
        except KeyboardInterrupt:
            return code
    screen.say(f"{ended}: the search has ended and has stopped its shards")
    return 0


def _words(seen: SeenShard) -> str:
    status = seen.status
    return f"{status.address} {status.health}" + (f" ({status.reason})" if status.reason else "")
