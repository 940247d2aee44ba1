"""The page of a report: what is known of a search, in HTML that needs nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import mean, stdev
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from deploy.reasons import alike_reasons
from deploy.report.facts import Facts
from deploy.report.figure import ReportFigure, Table
from deploy.report.final_trainings import final_trainings, last_tests
from deploy.report.policy_figures import choices_figures, entropy_figure
from deploy.report.process_figures import process_figures
from deploy.report.reward_figures import rewards_figure
from deploy.report.top_figures import lead, lead_figure, signed, tops_figure
from deploy.report.winners import winners
from deploy.status import duration

_TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("deploy.report", ""),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
# What two searches may differ in and still be the same search with and without learning.
_OWN = ("strategy", "seed", "ledger_url", "num_trials", "time_limit_s")


@dataclass(frozen=True)
class Tile:
    """A figure to be seen first."""

    name: str
    figure: str
    note: str = ""


def page(facts: Facts, baseline: Facts | None = None) -> str:
    """Write the page about a search, beside another one if given; the same gives the same bytes."""
    has_results = bool(facts.recorded)
    return _TEMPLATES.get_template("page.html").render(
        facts=facts,
        baseline=baseline,
        style=Markup(_TEMPLATES.get_template("page.css").render()),  # noqa: S704 (our own file)
        state=_state(facts),
        tiles=list(_tiles(facts, baseline)),
        rewards=_rewards(facts, baseline) if has_results else [],
        entropy=entropy_figure(facts) if _has_policy(facts) else None,
        choices=choices_figures(facts) if facts.sampled else [],
        process=process_figures(facts),
        infeasible=_infeasible(facts),
        winners=winners(facts),
        retrained=final_trainings(facts),
        settings=_table(["setting", "value"], flat(facts.settings.shown)),
        versions=_table(["software", "version"], facts.versions),
        differing=differing(facts, baseline) if baseline else [],
    )


def _has_policy(facts: Facts) -> bool:
    """Say whether all that was sampled has its probability, which a mutation has not."""
    return bool(facts.sampled) and all(trial.log_probs for trial in facts.sampled)


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Give settings as text, by their names in dots.

    >>> flat({"a": {"b": None, "c": [1, 2]}})
    {'a.b': 'null', 'a.c': '1, 2'}
    """
    found: dict[str, str] = {}
    for key, value in settings.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            found |= flat(value, f"{name}.")
        elif isinstance(value, list):
            found[name] = ", ".join(map(_text, value))
        else:
            found[name] = _text(value)
    return found


def differing(facts: Facts, baseline: Facts) -> list[tuple[str, str, str]]:
    """Give what the settings of two searches differ in, beside what may differ, and both values."""
    one, other = flat(facts.settings.shown), flat(baseline.settings.shown)
    return [
        (name, one.get(name, ""), other.get(name, ""))
        for name in {**one, **other}
        if name not in _OWN and one.get(name) != other.get(name)
    ]


def _rewards(facts: Facts, baseline: Facts | None) -> list[ReportFigure]:
    figures = [rewards_figure(facts, baseline), tops_figure(facts, baseline)]
    figures += [lead_figure(facts, baseline)] if baseline else []
    return [figure for figure in figures if figure]


def _state(facts: Facts) -> str:
    progress = facts.progress
    # What came while the last networks were in training ended nothing any more.
    is_whole = progress.state == "finished" and progress.is_complete
    why = f" ({progress.reason})" if progress.reason and not is_whole else ""
    if progress.ended_at is not None:
        return f"{progress.state.capitalize()} on {_time(progress.ended_at)}{why}"
    times = [trial.recorded_at for trial in facts.recorded if trial.recorded_at is not None]
    told = f"last result on {_time(max(times))}" if times else "no result yet"
    state = "Ended without a word" if facts.is_silent else progress.state.capitalize()
    return f"{state}, {told}{why}"


def _time(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"


def _tiles(facts: Facts, baseline: Facts | None) -> Iterator[Tile]:
    progress = facts.progress
    metric, best = progress.metric, progress.best
    notes = [
        f"{number:,} {what}"
        for number, what in (
            (progress.num_infeasible, "infeasible"),
            (progress.num_reused, "reused"),
            (progress.num_in_flight, "in training"),
        )
        if number
    ]
    yield Tile(
        "Trials", f"{progress.num_recorded:,}", ", ".join([f"of {progress.num_trials:,}", *notes])
    )
    if best is not None and best.validation is not None:
        size = f", {best.num_parameters:,} parameters" if best.num_parameters else ""
        note = f"trial {best.trial}{size}"
        yield Tile(f"Best {metric.name}", metric.text(best.validation), note)
        if best.trial in facts.tests:
            note = "the best, on data that no network had met"
            yield Tile(f"Test {metric.name}", metric.text(facts.tests[best.trial]), note)
    if tests := last_tests(facts):
        spread = f", ±{metric.text(stdev(tests))} over {len(tests)} seeds" if len(tests) > 1 else ""
        yield Tile("Retrained", metric.text(mean(tests)), f"test {metric.name}{spread}")
    if len(facts.rewards) >= 4:
        quarter = len(facts.rewards) // 4
        first, last = np.mean(facts.rewards[:quarter]), np.mean(facts.rewards[-quarter:])
        yield Tile("Mean reward", f"{last:.3f}", f"last quarter; first: {first:.3f}")
    if baseline is not None:
        ahead = lead(facts, baseline, 15)
        if len(ahead) and np.isfinite(ahead[-1]):
            note = (
                f"mean {metric.name} of the best 15 after {len(ahead):,} trials of each, against "
                f"{baseline.quoted}"
            )
            yield Tile("Lead", signed(float(ahead[-1]), metric), note)
    yield Tile("Ran for", duration(progress.seconds), f"{duration(sum(facts.seconds))} of training")


def _infeasible(facts: Facts) -> Table | None:
    kinds = alike_reasons(facts.trials)
    rows = [
        [f"{len(alike):,}", f"{len(alike) / len(facts.recorded):.1%}", str(alike[0].trial),
         alike[0].reason]
        for alike in kinds
    ]  # fmt: skip
    return Table(["trials", "of all", "first", "its reason"], rows) if rows else None


def _table(columns: list[str], rows: Mapping[str, str]) -> Table:
    return Table(columns, [[name, text] for name, text in rows.items()])


def _text(value: object) -> str:
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)
