"""What was trained to its end after a search, as a report says it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from statistics import mean, stdev

from controller.retraining import TrainingRecord
from deploy.report.facts import Facts
from deploy.report.figure import Table

COLUMNS = ["trial", "parameters", "epochs", "test, mean", "standard deviation", "seeds", "range"]


def final_trainings(facts: Facts) -> Table | None:
    """Give a row for all networks that differ in their seed alone, those trained last at the end.

    None where nothing was trained to its end.
    """
    rows = [_row(alike, facts) for alike in _kinds(facts.trainings)]
    return Table(COLUMNS, rows) if rows else None


def last_tests(facts: Facts) -> list[float]:
    """Give the test figures of the networks that were trained last, one for each seed."""
    kinds = list(_kinds(facts.trainings))
    return _tests(kinds[-1]) if kinds else []


def _kinds(trainings: Sequence[TrainingRecord]) -> Iterator[list[TrainingRecord]]:
    kinds: defaultdict[str, list[TrainingRecord]] = defaultdict(list)
    for row in trainings:
        if row.test is not None:
            kinds[row.kind].append(row)
    yield from sorted(kinds.values(), key=lambda rows: max(row.recorded_at for row in rows))


def _row(alike: Sequence[TrainingRecord], facts: Facts) -> list[str]:
    text, tests = facts.progress.metric.text, _tests(alike)
    epochs = sorted(len(row.losses or ()) for row in alike)
    return [
        str(alike[0].trial),
        f"{alike[0].num_parameters:,}",
        str(epochs[0]) if epochs[0] == epochs[-1] else f"{epochs[0]} to {epochs[-1]}",
        text(mean(tests)),
        text(stdev(tests)) if len(tests) > 1 else "",
        str(len(tests)),
        f"{text(min(tests))} to {text(max(tests))}" if len(tests) > 1 else "",
    ]


def _tests(alike: Sequence[TrainingRecord]) -> list[float]:
    return [row.test for row in alike if row.test is not None]
