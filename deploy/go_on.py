"""How to go on with a search: the command, as a person can paste it."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

# In the environment of what `ray job submit` starts.
_IN_JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"


def is_in_job() -> bool:
    """Whether this process was started by a job of a Ray cluster."""
    return _IN_JOB in os.environ


def go_on_command(run: Path | str, *changes: str, is_job: bool, program: str = "nasrl") -> str:
    """Give the command that goes on with the search of a run directory.

    >>> go_on_command("runs/my search", "num_trials=60", is_job=False)
    "nasrl search --resume 'runs/my search' --set num_trials=60"
    >>> go_on_command("/shared/first", is_job=True)
    'nasrl submit --resume --run-dir /shared/first'

    Args:
        is_job: whether it ran as a job of a cluster, where the other would leave it.
        program: what the user typed to run nasrl.
    """
    verb = "submit --resume --run-dir" if is_job else "search --resume"
    settings = "".join(f" --set {shlex.quote(change)}" for change in changes)
    return f"{program} {verb} {shlex.quote(str(run))}{settings}"
