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

Row = dict[str, Any]


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--top", type=click.IntRange(min=1), help="Only the N of the highest reward.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "json"]),
    default="table",
    show_default=True,
    help="table: for people. csv, json: for programs, json with everything the ledger holds.",
)
def trials(run: Path, top: int | None, form: str) -> None:
    """List the trials of a search, while it runs or afterwards.

    RUN is its run directory. Without --top, all trials in the order of their numbers.
    """
    from controller.errors import LedgerError
    from deploy.run import Run, RunError

    try:
        with Run(run).ledger() as ledger:
            metric, tested = ledger.progress().metric, ledger.tests()
            listed = ledger.trials(top)
    except (RunError, LedgerError) as error:
        raise UserMistake(str(error)) from error
    FORMATS[form]([asdict(t) | {"test": tested.get(t.trial)} for t in listed], metric)


def _print_table(rows: Sequence[Row], metric: Metric) -> None:
    # A reason only where one has any: most searches have none.
    reasons = ["reason"] if any(row["reason"] for row in rows) else []
    print_table(
        {
            "trial": "right",
            "state": "left",
            "reward": "right",
            metric.name: "right",
            "test": "right",
            "parameters": "right",
            "seconds": "right",
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
                _number(row["num_parameters"], ","),
                _number(row["seconds"], ".1f"),
                row["architecture_text"] or "",
                *(row[reason] for reason in reasons),
            )
            for row in rows
        ),
        num_wrapped=1 + len(reasons),
    )


def _print_csv(rows: Sequence[Row], _: Metric) -> None:
    writer = csv.DictWriter(sys.stdout, CSV_COLUMNS, extrasaction="ignore")
    writer.writeheader()
    for row in rows:
        writer.writerow(row | {"architecture": row["architecture_text"]})


def _print_json(rows: Sequence[Row], _: Metric) -> None:
    json.dump(rows, sys.stdout, indent=1)
    sys.stdout.write("\n")


FORMATS: dict[str, Callable[[Sequence[Row], Metric], None]] = {
    "table": _print_table,
    "csv": _print_csv,
    "json": _print_json,
}


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
