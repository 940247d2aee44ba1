"""The status of a search, read from its run directory."""

from __future__ import annotations

from deploy.asked_shards import AskedShards
from deploy.heartbeat import SILENCE_S
from deploy.run import NoEndpoints, Run
from deploy.status import ShardHealth, Status


def run_status(run: Run, now: float) -> Status:
    """Give how a search is doing.

    Args:
        now: in seconds since 1970; the clock of who runs the search is not far from it.

    Raises:
        RunError: the search has not begun, or something cannot be read.
        controller.errors.LedgerError: the ledger cannot be read.
        ps.credentials.CredentialsError: the certificates cannot be read.
    """
    with run.ledger() as ledger:
        progress, activity, children = ledger.progress(), ledger.activity(), ledger.children()
        lives = ledger.lives()
    is_running = progress.state == "running"
    silence_s = now - lives[-1].beat_at if is_running and lives else 0.0
    is_silent = silence_s > SILENCE_S
    return Status(
        progress,
        activity,
        () if is_silent else children,
        shards=shard_health(run) if is_running and not is_silent else None,
        time_limit_s=run.time_limit_s,
        silence_s=silence_s if is_silent else None,
        is_job=bool(lives) and lives[-1].is_job,
    )


def shard_health(run: Run) -> list[ShardHealth] | None:
    """Ask the shards of a search how they are; None where there are none yet, or any more.

    Raises:
        RunError, ps.credentials.CredentialsError: see `AskedShards.look`.
    """
    try:
        seen = AskedShards([str(run.path)]).look()
    except NoEndpoints:
        return None
    return [
        ShardHealth(shard.status.address, shard.status.health, shard.status.reason)
        for shard in seen
    ]
