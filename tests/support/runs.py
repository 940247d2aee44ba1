"""Searches run for a test: small settings, and the processes behind a run directory."""

from __future__ import annotations

import os
import re
from pathlib import Path

# Small enough for a test, with more of everything than one.
SMALL = {
    "num_trials": 10,
    "num_replicas": 2,
    "num_shards": 3,
    "children.per_replica": 2,
    "children.num_cpus": 0.25,
    "training.num_epochs": 1,
    "space.num_filters": [4, 8],
    "space.skip_connections": "true",
    "space.layer_types": "[convolution, max_pooling]",
    "space.learning_rates": "[0.02, 0.05]",
    "schedule.num_layers": 3,
}


def overrides(**changes: object) -> list[str]:
    """Give the arguments of `nasrl search` for the small settings, with changes by dotted key."""
    return [f"--set={key}={value}" for key, value in (SMALL | changes).items()]


def pid_of(run: Path, process: str) -> int:
    """Give the id of a process of a run, such as shard-0, from the first line of its log."""
    match = re.search(r"process (\d+)$", (run / "logs" / f"{process}.log").read_text(), re.M)
    assert match, f"{process} has not logged its process id"
    return int(match[1])


def is_alive(pid: int) -> bool:
    """Tell whether a process runs; one that has ended and was not reaped yet does not."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False
