"""The trial that is exported."""

from __future__ import annotations

from deploy.export.errors import CannotExport
from deploy.known_trial import KnownTrial, TrialError, known_trial
from deploy.run import Run


def trial_to_export(run: Run, which: str) -> KnownTrial:
    """Give the trial of a number, or the best, if its network could be trained.

    A trial that took the result of another is that other: the same architecture, and trained.

    Raises:
        CannotExport: there is none, or it has no network.
    """
    try:
        known = known_trial(run.path, which)
        if known.row.reused_from is not None:
            known = known_trial(run.path, str(known.row.reused_from))
    except TrialError as error:
        raise CannotExport(str(error)) from error
    trial = known.row
    if trial.state == "infeasible":
        raise CannotExport(f"trial {trial.trial} is infeasible: {trial.reason}")
    if trial.state != "completed":
        raise CannotExport(f"trial {trial.trial} has not been completed yet; it is {trial.state}")
    return known
