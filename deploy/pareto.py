"""The trials that no other is better than, by their figure and by what they cost."""

from __future__ import annotations

from collections.abc import Sequence

from child.costs import costs_of
from child.metric import Metric
from controller.trial import Trial
from deploy.trial_metrics import metric_names


class UnknownCost(ValueError):
    """No trial has such a cost."""


def pareto_trials(trials: Sequence[Trial], cost: str, metric: Metric) -> list[Trial]:
    """Give the completed trials that no other is better than, the cheapest first.

    Better is one that costs no more and whose validation figure is no worse, and of the two at
    least one is better. Of trials of the same architecture the one of the best figure is given.
    Trials without the cost are left out, and those with the result of another, which is there.

    Args:
        cost: num_parameters, seconds, or the name of a metric.

    Raises:
        UnknownCost: no trial has it.
    """
    completed = [
        trial for trial in trials if trial.state == "completed" and trial.reused_from is None
    ]
    known = {
        trial.trial: found for trial in completed if (found := _costs(trial).get(cost)) is not None
    }
    if not known:
        names = (
            ", ".join(metric_names(map(_costs, completed))) or "none, for no trial is completed yet"
        )
        raise UnknownCost(f"{cost}: must be a cost that the trials have; they have {names}")

    def order(trial: Trial) -> tuple[float, float, int]:
        figure = trial.validation or 0.0
        return known[trial.trial], -figure if metric.is_higher_better else figure, trial.trial

    # By cost, and of one cost the best first: whatever comes later must have a better figure.
    best: dict[str | None, Trial] = {}
    leading: tuple[float, float] | None = None
    for trial in sorted((t for t in completed if t.trial in known), key=order):
        place = order(trial)[:2]
        if leading is None or place[1] < leading[1]:
            leading = place
            best.pop(trial.architecture_sha256, None)
            best[trial.architecture_sha256] = trial
        elif place == leading:
            best.setdefault(trial.architecture_sha256, trial)
    return list(best.values())


def _costs(trial: Trial) -> dict[str, float]:
    seconds = {"seconds": trial.seconds or 0.0}
    return costs_of(trial.num_parameters, {**seconds, **(trial.metrics or {}), **seconds})
