"""A ledger of very many trials, written past the ledger's own calls."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import sqlalchemy as sql
from support.children import start_of

from controller.database import PUSHES, REPLICAS, SEARCH, TRIALS

PER_PUSH = 8
NUM_REPLICAS = 10
NUM_ARCHITECTURES = 1000


def fill(database: sql.Engine, num_trials: int) -> None:
    """Fill a ledger in which nothing has begun with trials, all recorded and each in a closed push.

    Their replicas are 0 to 9, in their first life. Every 10th is infeasible; architectures come
    again after 1000 trials, and then every 7th is reused.
    """
    with database.begin() as connection:
        replicas = [
            {"replica": r, "incarnation": 1, "last_sequence": num_trials, "lease_until": 0.0}
            for r in range(NUM_REPLICAS)
        ]
        connection.execute(REPLICAS.insert(), replicas)
        numbers = range(1, num_trials + 1)
        for trials in _batched(numbers, 1000 * PER_PUSH):
            firsts = trials[::PER_PUSH]
            connection.execute(PUSHES.insert(), [_push(first) for first in firsts])
            connection.execute(TRIALS.insert(), [_trial(trial) for trial in trials])
        connection.execute(SEARCH.update().values(baseline_average=0.5))


def _batched(numbers: range, size: int) -> Iterator[range]:
    return (numbers[i : i + size] for i in range(0, len(numbers), size))


def _name(trial: int) -> dict[str, int]:
    """Give the push of a trial."""
    number = (trial - 1) // PER_PUSH
    return {"replica": number % NUM_REPLICAS, "sequence": number // NUM_REPLICAS + 1}


def _push(trial: int) -> dict[str, Any]:
    return {
        **_name(trial),
        "incarnation": 1,
        "base_versions": [trial],
        "sample_versions": [trial],
        "opened_at": float(trial),
        "closed_at": float(trial),
        "versions": [trial + 1],
        "staleness": [0],
        "sample_staleness": [0],
    }


@cache
def _architecture_sha256(size: int) -> str:
    return start_of(1, size).architecture_sha256


def _trial(trial: int) -> dict[str, Any]:
    size = trial % NUM_ARCHITECTURES
    start = start_of(trial, size)
    push = _name(trial)
    is_reused = trial > NUM_ARCHITECTURES and trial % 7 == 0
    return {
        "trial": trial,
        "state": "infeasible" if trial % 10 == 0 else "completed",
        "replica": push["replica"],
        "incarnation": 1,
        "depth": 1,
        "reserved_at": float(trial),
        "started_at": float(trial),
        "recorded_at": float(trial),
        "record_number": trial,
        "decisions": start.decisions,
        "log_probs": start.log_probs,
        "architecture": start.architecture,
        "architecture_text": start.architecture_text,
        "architecture_sha256": _architecture_sha256(size),
        "seed": start.seed,
        "versions": start.versions,
        "reward": trial % 1000 / 1000,
        "baseline": 0.5,
        "validations": [trial % 1000 / 1000],
        "validation": trial % 1000 / 1000,
        "num_parameters": 10,
        "seconds": 0.5,
        "reused_from": size or NUM_ARCHITECTURES if is_reused else None,
        "push_replica": push["replica"],
        "push_sequence": push["sequence"],
    }
