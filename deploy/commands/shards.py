"""`nasrl shards`: how the parameter-server shards of a search are doing."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console

from deploy.mistake import UserMistake

if TYPE_CHECKING:
    from deploy.asked_shards import AskedShards

WATCH_S = 2


class _WatchCommand(click.Command):
    """A command with --watch [SECONDS]: what follows is taken for it if it is a number."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        given = [
            f"--watch={WATCH_S}" if arg == "--watch" and not following.isdecimal() else arg
            for arg, following in pairwise([*args, ""])
        ]
        return super().parse_args(ctx, given)


@click.command(cls=_WatchCommand)
@click.argument("targets", metavar="RUN|ADDRESS...", nargs=-1, required=True)
@click.option(
    "--certificates",
    type=click.Path(path_type=Path),
    help="To ask an ADDRESS with: those of its search, or the observer's part of them.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="table: for people. json: for programs, with everything that is known.",
)
@click.option(
    "--watch",
    "watch_s",
    metavar="[SECONDS]",
    type=click.IntRange(1, 3600),
    help=f"Show the table again and again, every {WATCH_S} s if no SECONDS are given.",
)
def shards(
    targets: tuple[str, ...], certificates: Path | None, form: str, watch_s: int | None
) -> int:
    """Show how the parameter-server shards are doing.

    Asks each for its health, and for what it has applied. RUN is the run directory of a search
    that runs now, or whose shards.addresses are served now; ADDRESS is host:port of one shard.
    Staleness is the number of pushes that a shard applied between a replica's pull and its push.
    The exit code is 1 if a shard is not SERVING.

    With --watch the table stays in its place on a terminal; elsewhere there is a line whenever the
    health or the address of a shard changes. It ends with the search, with exit code 0, or by
    Ctrl-C, with 1 if a shard was not SERVING when it was last seen.
    """
    from deploy.asked_shards import AskedShards
    from deploy.run import RunError
    from deploy.shard_formats import FORMATS
    from ps.credentials import CredentialsError

    if watch_s is not None and form != "table":
        raise click.UsageError(f"--format {form}: must be table with --watch")
    try:
        asked = AskedShards(targets, certificates)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    except RunError as error:
        raise UserMistake(str(error)) from error
    try:
        if watch_s is not None:
            return _watch(asked, watch_s)
        seen = asked.look()
    except (RunError, CredentialsError) as error:
        raise UserMistake(str(error)) from error
    FORMATS[form](seen)
    if certificates is None and any("if it has TLS" in shard.status.reason for shard in seen):
        hint = "A shard that has TLS is asked by its run directory, or with --certificates."
        click.echo(hint, err=True)
    return 0 if all(shard.is_serving for shard in seen) else 1


def _watch(asked: AskedShards, interval_s: int) -> int:
    from deploy.shard_watch import HealthLines, LiveTable, ShardScreen, watch

    console = Console()
    screen: ShardScreen = (
        LiveTable(console, interval_s) if console.is_terminal else HealthLines(console)
    )
    return watch(asked.look, screen, interval_s)
