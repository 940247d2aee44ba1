"""`nasrl shards`: how the parameter-server shards of a search are doing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from deploy.mistake import UserMistake
from deploy.table import print_table

if TYPE_CHECKING:
    from ps.status import ShardStatus

_MAX_THREADS = 64


@click.command()
@click.argument("targets", metavar="RUN|ADDRESS...", nargs=-1, required=True)
@click.option(
    "--certificates",
    type=click.Path(path_type=Path),
    help="To ask an ADDRESS with: those of its search, or the observer's part of them.",
)
def shards(targets: tuple[str, ...], certificates: Path | None) -> int:
    """Show how the parameter-server shards are doing.

    Asks each for its health, and for what it has applied. RUN is the run directory of a search
    that runs now, or whose shards.addresses are served now; ADDRESS is host:port of one shard.
    Staleness is the number of pushes that a shard applied between a replica's pull and its push.
    The exit code is 1 if a shard is not SERVING.
    """
    from deploy.run import RunError
    from ps.credentials import CredentialsError

    try:
        asks = [ask for target in targets for ask in _asks(target, certificates)]
        with ThreadPoolExecutor(min(len(asks), _MAX_THREADS)) as threads:
            statuses = list(threads.map(lambda ask: ask(), asks))
    except (RunError, CredentialsError) as error:
        raise UserMistake(str(error)) from error
    _print(statuses)
    if certificates is None and any("if it has TLS" in status.reason for status in statuses):
        hint = "A shard that has TLS is asked by its run directory, or with --certificates."
        click.echo(hint, err=True)
    return 0 if all(status.health == "SERVING" for status in statuses) else 1


def _asks(target: str, certificates: Path | None) -> Iterator[Callable[[], ShardStatus]]:
    """Give what asks each shard of a target."""
    from deploy.run import Run
    from ps.address import port_of
    from ps.credentials import Identity
    from ps.status import read_status

    if Path(target).is_dir():
        run = Run(Path(target))
        identity = run.identity("observer")
        for shard, address in enumerate(run.endpoints()):
            yield partial(read_status, address, identity=identity, shard=shard)
        return
    try:
        port_of(target)
    except ValueError as error:
        raise click.UsageError(
            f"{target}: must be a run directory, or the address of a shard: {error}"
        ) from error
    identity = None if certificates is None else Identity.load(certificates, "observer")
    yield partial(read_status, target, identity=identity)


def _print(statuses: list[ShardStatus]) -> None:
    print_table(
        {
            "address": "left",
            "health": "left",
            "shard": "left",
            "parameters": "right",
            "version": "right",
            "epoch": "right",
            "staleness": "left",
            "pushes": "left",
        },
        map(_row, statuses),
    )


def _row(status: ShardStatus) -> tuple[str, ...]:
    shard = status.description
    if shard is None:
        return (status.address, status.health, "", "", "", "", "", status.reason)
    mean = shard.staleness_sum / shard.version if shard.version else 0.0
    return (
        status.address,
        status.health,
        f"{shard.shard} of {shard.num_shards}",
        f"{shard.num_parameters:,}",
        str(shard.version),
        str(shard.epoch),
        f"mean {mean:.2f}, max {shard.staleness_max}",
        f"{shard.version} accepted, {shard.num_repeated} repeated, {shard.num_refused} refused",
    )
