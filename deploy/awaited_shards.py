"""Shards that somebody else starts: waited for, and looked at before anything is sent to them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ps.credentials import Identity
from ps.description import ShardDescription
from ps.status import ShardStatus, read_status

TIMEOUT_S = 600.0  # a person has to start them, perhaps on other machines
POLL_S = 0.5
SAY_EVERY_S = 10.0
MAX_THREADS = 32


class AwaitedShardsError(Exception):
    """The shards at the addresses did not come, or are not those of a new search."""


def await_shards(
    addresses: Sequence[str],
    run: Path,
    identity: Identity | None,
    say: Callable[[str], None],
    is_stopping: Callable[[], bool],
    *,
    is_new: bool = True,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Return when shard i answers at addresses[i], for every i.

    Args:
        run: the run directory, for messages.
        say: is told every ten seconds which shards are missing, and why.
        is_new: whether the search is new: then none may hold values yet.

    Raises:
        AwaitedShardsError: another shard answers there, or one with the state of another search;
            or one does not answer within ten minutes.
        KeyboardInterrupt: told to stop meanwhile.
    """
    began = clock()
    say_next = began + SAY_EVERY_S
    missing = dict(enumerate(addresses))
    with ThreadPoolExecutor(min(len(missing), MAX_THREADS), "await-shards") as threads:

        def ask(shard: int) -> ShardStatus:
            return read_status(addresses[shard], identity=identity, shard=shard)

        while True:
            for status, shard in zip(threads.map(ask, missing), [*missing], strict=True):
                if status.description is not None:
                    _check(status.description, shard, addresses, run, is_new)
                    del missing[shard]
                else:
                    missing[shard] = f"{status.address} ({status.reason})"
            if not missing:
                return
            if is_stopping():
                raise KeyboardInterrupt
            if clock() >= began + TIMEOUT_S:
                shard, where = next(iter(missing.items()))
                raise AwaitedShardsError(
                    f"shards.addresses: shard {shard} of {len(addresses)} at {where}: must answer "
                    f"within {TIMEOUT_S:g} s; {_again(run, shard)}"
                )
            if clock() >= say_next:
                say_next = clock() + SAY_EVERY_S
                for shard, where in missing.items():
                    say(f"still waiting for shard {shard} at {where}")
            time.sleep(POLL_S)


def _check(
    found: ShardDescription, shard: int, addresses: Sequence[str], run: Path, is_new: bool
) -> None:
    if (found.shard, found.num_shards) != (shard, len(addresses)):
        swap = "; swap the addresses" if found.num_shards == len(addresses) else ""
        raise AwaitedShardsError(
            f"shards.addresses[{shard}]={addresses[shard]}: is shard {found.shard} of "
            f"{found.num_shards}, must be shard {shard} of {len(addresses)}{swap}"
        )
    if found.is_initialized and is_new:
        raise AwaitedShardsError(
            f"shards.addresses: shard {shard} of {len(addresses)} at {addresses[shard]} has "
            f"version {found.version} already: a new search needs shards without values; stop it, "
            f"{_again(run, shard)}"
        )


def _again(run: Path, shard: int) -> str:
    return (
        f"start the search again, and the shard with `nasrl shard {run} --index {shard}` while it "
        "waits"
    )
