"""The best networks of a search."""

from __future__ import annotations

from collections.abc import Sequence

from controller.trial import Trial


def best_trials(trials: Sequence[Trial], number: int) -> list[Trial]:
    """Give the completed trials of the highest rewards, the best first, no two of one network."""
    completed = (trial for trial in trials if trial.state == "completed")
    found: dict[str | None, Trial] = {}
    for trial in sorted(completed, key=lambda trial: (-(trial.reward or 0.0), trial.trial)):
        found.setdefault(trial.architecture_sha256, trial)
        if len(found) == number:
            break
    return list(found.values())
