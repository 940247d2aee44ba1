"""One trial of a run, with all that is known of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from child.metric import Metric
from controller.errors import LedgerError
from controller.trial import Trial
from deploy.run import Run, RunError

MAX_NUMBER = 2**31 - 1  # that a database takes


class TrialError(ValueError):
    """There is no such trial, or it has no architecture."""


@dataclass(frozen=True)
class KnownTrial:
    """A trial that has an architecture.

    metric: what its figures are of. test: its figure on data that no network had met; None where it
    was not tested.
    """

    row: Trial
    architecture: dict[str, Any]
    metric: Metric
    test: float | None


def known_trial(run: Path | str, which: str = "best") -> KnownTrial:
    """Give a trial of the run in a directory.

    Args:
        which: its number, or best: of the completed ones that of the highest reward.

    Raises:
        TrialError: there is none, it has no architecture yet, or the run cannot be read.
    """
    if which != "best" and not which.isdecimal():
        raise TrialError(f"trial={which}: must be the number of a trial, or best")
    try:
        with Run(run).ledger() as ledger:
            progress = ledger.progress()
            if which == "best":
                row = progress.best
            else:
                row = ledger.trial(int(which)) if int(which) <= MAX_NUMBER else None
            tests = ledger.tests()
    except (RunError, LedgerError) as error:
        raise TrialError(str(error)) from error
    if row is None:
        raise TrialError(
            f"{run} has no completed trial, so none is the best; see `nasrl trials {run}`"
            if which == "best"
            else f"{run} has no trial {which}; `nasrl trials {run}` lists those it has"
        )
    if row.architecture is None:
        raise TrialError(
            f"{run} has no architecture for trial {which}: it is {row.state}"
            f"{row.reason and f', {row.reason}'}; `nasrl trials {run}` lists those that have one"
        )
    return KnownTrial(row, row.architecture, progress.metric, tests.get(row.trial))
