"""Why networks could not be trained, put together where the reasons are alike."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable

from controller.trial import Trial


def alike_reasons(trials: Iterable[Trial]) -> list[list[Trial]]:
    """Give the infeasible trials, those of a kind together, the most frequent kind first.

    Reasons are of a kind if they are the same up to the first number or colon.
    """
    alike = defaultdict(list)
    for trial in trials:
        if trial.state == "infeasible":
            alike[re.split(r"[\d:]", trial.reason)[0]].append(trial)
    return sorted(alike.values(), key=len, reverse=True)
