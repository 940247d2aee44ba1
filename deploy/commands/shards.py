"""`nasrl shards`: how the parameter-server shards of a search are doing."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from deploy.mistake import UserMistake
from deploy.table import print_table

if TYPE_CHECKING:
    from ps.status import ShardStatus


@click.command()
@click.argument("targets", metavar="RUN|ADDRESS...", nargs=-1, required=True)
def shards(targets: tuple[str, ...]) -> int:
    """Show how the parameter-server shards are doing.

    Asks each for its health, and for what it has applied. RUN is the run directory of a search
    that runs now; ADDRESS is host:port of one shard. Staleness is the number of pushes that a shard
    applied between a replica's pull and its push. The exit code is 1 if a shard is not SERVING.
    """
    from deploy.run import Run, RunError
    from ps.credentials import CredentialsError
    from ps.status import read_status

    asks: list[Callable[[], ShardStatus]] = []
    for target in targets:
        if Path(target).is_dir():
            try:
                run = Run(Path(target))
                identity = run.identity("observer")
                for shard, address in enumerate(run.endpoints()):
                    asks.append(partial(read_status, address, identity=identity, shard=shard))
            except (RunError, CredentialsError) as error:
                raise UserMistake(str(error)) from error
        elif re.fullmatch(r"\S+:\d+", target):
            asks.append(partial(read_status, target))
        else:
            raise click.UsageError(
                f"{target}: must be a run directory, or the host:port of a shard"
            )
    with ThreadPoolExecutor(len(asks)) as threads:
        statuses = list(threads.map(lambda ask: ask(), asks))
    _print(statuses)
    return 0 if all(status.health == "SERVING" for status in statuses) else 1


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
