"""The best architectures of a search, each once, with their drawings."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from controller.trial import Trial
from deploy.best_trials import best_trials
from deploy.drawings.drawing import Drawing
from deploy.report.facts import Facts
from deploy.report.inline_svg import inline_svg, width_of
from deploy.settings import NetworkSearchSettings
from deploy.trial_metrics import metric_text

NUM_WINNERS = 10


@dataclass(frozen=True)
class Winner:
    """One of the best: its figures as text, and its drawing.

    cost: what the reward minds, where it is no column already. details: the equations of a cell.
    drawing: empty where it has none. width: of the drawing, in points.
    """

    rank: int
    trial: int
    reward: str
    validation: str
    test: str
    num_parameters: str
    cost: str
    seconds: str
    text: str
    details: str
    drawing: Markup
    width: float


def winners(facts: Facts) -> list[Winner]:
    """Give the best different architectures, the best first."""
    drawable = [trial for trial in facts.trials if trial.architecture]
    best = best_trials(drawable, NUM_WINNERS)
    return [_winner(rank, trial, facts) for rank, trial in enumerate(best, start=1)]


def _winner(rank: int, trial: Trial, facts: Facts) -> Winner:
    task, metric, test = facts.settings.task, facts.progress.metric, facts.tests.get(trial.trial)
    architecture = task.architecture(trial.architecture or {})
    cost = (trial.metrics or {}).get(facts.settings.objective.cost or "")
    is_drawn = isinstance(facts.settings, NetworkSearchSettings)
    svg = Drawing(architecture).svg() if is_drawn else b""
    label = f"Drawing of the network of trial {trial.trial}: {trial.architecture_text}"
    return Winner(
        rank,
        trial.trial,
        reward=f"{trial.reward or 0:.3f}",
        validation="" if trial.validation is None else metric.text(trial.validation),
        test="" if test is None else metric.text(test),
        num_parameters=f"{trial.num_parameters:,}" if trial.num_parameters else "",
        cost="" if cost is None else metric_text(cost),
        seconds="" if trial.seconds is None else f"{trial.seconds:,.1f}",
        text=trial.architecture_text or "",
        details=task.details(architecture),
        drawing=inline_svg(svg, f"drawing-{rank}", label, {}) if is_drawn else Markup(""),
        width=width_of(svg) if is_drawn else 300.0,
    )
