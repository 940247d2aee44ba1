"""Architectures that a person can name: known ones, files, and trials of a run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from child.language.layers import LSTM
from child.task import Task
from child.zoo import FIGURE_7, NAS_CELL
from controller.errors import LedgerError
from deploy.run import Run, RunError

KNOWN = {"figure-7": FIGURE_7, "nas-cell": NAS_CELL, "lstm": LSTM}


class ArchitectureError(ValueError):
    """There is no such architecture, or it is not of this task's kind."""


def known_architecture(name: str, task: Task) -> Any:
    """Give an architecture of the task's kind.

    Args:
        name: figure-7, nas-cell, or lstm; a JSON file that describes one; a run directory, for its
            best trial; or RUN:TRIAL.

    Raises:
        ArchitectureError: there is none, or another kind of task has it.
    """
    if name in KNOWN:
        architecture = KNOWN[name]
        if not isinstance(architecture, task.architectures):
            raise ArchitectureError(
                f"architecture={name}: is of another kind than data.name asks for: it is trained "
                f"on {'images' if architecture is FIGURE_7 else 'texts'}"
            )
        return architecture
    try:
        return task.architecture(_described(name))
    except (KeyError, TypeError, ValueError) as error:
        raise ArchitectureError(f"architecture={name}: {error}") from error


def _described(name: str) -> Mapping[str, Any]:
    path = Path(name)
    if path.is_file():
        described = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(described, dict):
            raise ValueError("must be a JSON object that describes an architecture")
        return described
    run, _, trial = (name, "", "") if path.is_dir() else name.rpartition(":")
    if not run or not Path(run).is_dir() or (trial and not trial.isdecimal()):
        raise ValueError(
            f"must be one of {', '.join(KNOWN)}, a JSON file, a run directory, or RUN:TRIAL"
        )
    try:
        with Run(run).ledger() as ledger:
            found = ledger.trials(top=None if trial else 1)
    except (RunError, LedgerError) as error:
        raise ValueError(str(error)) from error
    for row in found:
        if row.architecture is not None and trial in ("", str(row.trial)):
            return row.architecture
    raise ValueError(f"{run} has no trial {trial}" if trial else f"{run} has no completed trial")
