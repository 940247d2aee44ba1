"""`nasrl trials`: the trials of a run, as a table or for a program."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from child.metric import Metric
from deploy.mistake import UserMistake
from deploy.table import print_table
from deploy.trial_metrics import PREFIX, metric_names, metric_text

CSV_COLUMNS = (
    "trial",
    "state",
    "reward",
    "baseline",
    "validation",
    "test",
    "num_parameters",
    "seconds",
    "replica",
    "depth",
    "seed",
    "architecture",
    "reused_from",
    "reason",
)
# More metrics than these would leave no room for the architecture: only --pareto's is in the table.
MAX_METRICS = 4
_HEADINGS = ("trial", "state", "reward", "test", "parameters", "seconds", "architecture", "reason")

Row = dict[str, Any]


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--top", type=click.IntRange(min=1), help="Only the N of the highest reward.")
@click.option(
    "--pareto",
    "cost",
    metavar="COST",
    help="Only those that no other is better than, by their validation figure and by this: "
    "num_parameters, seconds, or a metric that trials have, such as latency_s. The cheapest first, "
    "an architecture once.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "json"]),
    default="table",
    show_default=True,
    help="table: for people. csv, json: for programs, json with everything the ledger holds.",
)
def trials(run: Path, top: int | None, cost: str | None, form: str) -> None:
    """List the trials of a search, while it runs or afterwards.

    RUN is its run directory. Without --top and --pareto, all trials in the order of their numbers.
    """
    from controller.errors import LedgerError
    from deploy.pareto import UnknownCost, pareto_trials
    from deploy.run import Run, RunError

    if top is not None and cost is not None:
        raise UserMistake("--top and --pareto: must be one of them, for each chooses trials")

    try:
        with Run(run).ledger() as ledger:
            metric, tested = ledger.progress().metric, ledger.tests()
            listed = ledger.trials(top)
        if cost is not None:
            listed = pareto_trials(listed, cost, metric)
    except UnknownCost as error:
        raise UserMistake(f"--pareto {error}") from error
    except (RunError, LedgerError) as error:
        raise UserMistake(str(error)) from error
    FORMATS[form]([asdict(t) | {"test": tested.get(t.trial)} for t in listed], metric, cost)


def _print_table(rows: Sequence[Row], metric: Metric, cost: str | None) -> None:
    metrics = metric_names(row["metrics"] for row in rows)
    if len(metrics) > MAX_METRICS:
        metrics = [name for name in metrics if name == cost]
    # A column of its own for each, whatever a trainer of the user's calls its figures.
    validation = "validation" if metric.name in _HEADINGS else metric.name
    taken = {*_HEADINGS, validation}
    # A reason only where one has any: most searches have none.
    reasons = ["reason"] if any(row["reason"] for row in rows) else []
    print_table(
        {
            "trial": "right",
            "state": "left",
            "reward": "right",
            validation: "right",
            "test": "right",
            "parameters": "right",
            "seconds": "right",
            **{f"{PREFIX * (name in taken)}{name}": "right" for name in metrics},
            "architecture": "left",
            **dict.fromkeys(reasons, "left"),
        },
        (
            (
                str(row["trial"]),
                row["state"],
                _number(row["reward"], ".3f"),
                _number(row["validation"], metric.format),
                _number(row["test"], metric.format),
                _number(row["num_parameters"] or None, ","),
                _number(row["seconds"], ".1f"),
                *(_metric(row, name) for name in metrics),
                row["architecture_text"] or "",
                *(row[reason] for reason in reasons),
            )
            for row in rows
        ),
        num_wrapped=1 + len(reasons),
    )


def _print_csv(rows: Sequence[Row], *_: object) -> None:
    names = metric_names(row["metrics"] for row in rows)
    columns = (*CSV_COLUMNS, *(PREFIX + name for name in names))
    writer = csv.DictWriter(sys.stdout, columns, extrasaction="ignore")
    writer.writeheader()
    for row in rows:
        metrics = {PREFIX + name: figure for name, figure in (row["metrics"] or {}).items()}
        writer.writerow(row | {"architecture": row["architecture_text"]} | metrics)


def _print_json(rows: Sequence[Row], *_: object) -> None:
    json.dump(rows, sys.stdout, indent=1)
    sys.stdout.write("\n")


FORMATS: dict[str, Callable[[Sequence[Row], Metric, str | None], None]] = {
    "table": _print_table,
    "csv": _print_csv,
    "json": _print_json,
}


def _metric(row: Row, name: str) -> str:
    figure = (row["metrics"] or {}).get(name)
    return "" if figure is None else metric_text(figure)


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
