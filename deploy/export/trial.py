"""The trial that is exported."""

from __future__ import annotations

from collections.abc import Sequence

from controller.trial import Trial
from deploy.export.errors import CannotExport

BEST = "best"


def chosen_trial(trials: Sequence[Trial], best: Trial | None, name: str) -> Trial:
    """Give the trial of a name: its number, or best.

    A trial that took the result of another is that other: the same architecture, and trained.

    Raises:
        CannotExport: there is none, or it has no network.
    """
    by_number = {trial.trial: trial for trial in trials}
    if name == BEST:
        if best is None:
            raise CannotExport("no trial of this search has been completed yet")
        found = best
    elif not name.isdecimal():
        raise CannotExport(f"trial {name}: must be the number of a trial, or {BEST}")
    elif int(name) not in by_number:
        raise CannotExport(f"there is no trial {name}; there are {len(by_number):,} so far")
    else:
        found = by_number[int(name)]
    if found.state == "infeasible":
        raise CannotExport(f"trial {found.trial} is infeasible: {found.reason}")
    if found.state != "completed":
        raise CannotExport(f"trial {found.trial} has not been completed yet; it is {found.state}")
    return found if found.reused_from is None else by_number[found.reused_from]
