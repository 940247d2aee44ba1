"""What is printed of shards: a table for people, JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import JustifyMethod
from rich.table import Table

from deploy.asked_shards import SeenShard
from deploy.table import print_table, table


def shard_table(seen: Sequence[SeenShard]) -> Table:
    """Give the table of how shards are doing."""
    return table(*_columns_and_rows(seen))


def _columns_and_rows(
    seen: Sequence[SeenShard],
) -> tuple[dict[str, JustifyMethod], list[tuple[str, ...]]]:
    # A column for metrics only where there are any.
    has_metrics = any(shard.metrics_address for shard in seen)
    columns: dict[str, JustifyMethod] = {
        "address": "left",
        "health": "left",
        "shard": "left",
        "parameters": "right",
        "version": "right",
        "epoch": "right",
        **({"metrics port": "right"} if has_metrics else {}),
        "staleness": "left",
        "pushes": "left",
    }
    return columns, [_row(shard, has_metrics) for shard in seen]


def _row(seen: SeenShard, has_metrics: bool) -> tuple[str, ...]:
    status = seen.status
    shard = status.description
    _, _, port = (seen.metrics_address or "").rpartition(":")
    metrics = (port,) if has_metrics else ()
    if shard is None:
        number = "" if seen.number is None else str(seen.number)
        return (status.address, status.health, number, "", "", "", *metrics, "", status.reason)
    mean = shard.staleness_sum / shard.version if shard.version else 0.0
    return (
        status.address,
        status.health,
        f"{shard.shard} of {shard.num_shards}",
        f"{shard.num_parameters:,}",
        str(shard.version),
        str(shard.epoch),
        *metrics,
        f"mean {mean:.2f}, max {shard.staleness_max}",
        f"{shard.version} accepted, {shard.num_repeated} repeated, {shard.num_refused} refused",
    )


def _print_table(seen: Sequence[SeenShard]) -> None:
    print_table(*_columns_and_rows(seen))


def _print_json(seen: Sequence[SeenShard]) -> None:
    _print_as_json([_everything(shard) for shard in seen])


def _everything(seen: SeenShard) -> dict[str, Any]:
    found = {
        "run": seen.place.run,
        "shard": seen.number,
        "metrics": seen.metrics_address,
        **asdict(seen.status),
    }
    if seen.status.description is not None:
        found["description"]["layout_sha256"] = seen.status.description.layout_sha256.hex()
    return found


def _print_as_json(rows: Sequence[dict[str, Any]]) -> None:
    json.dump(rows, sys.stdout, indent=1)
    sys.stdout.write("\n")


FORMATS: dict[str, Callable[[Sequence[SeenShard]], None]] = {
    "table": _print_table,
    "json": _print_json,
}
