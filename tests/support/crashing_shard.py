"""The process of a shard that dies at a named point; run by `tests/ps/test_crash.py`.

It waits, with everything imported, for a line of JSON: folder, optimizer, accumulate, point and n.
Then it serves the shard of one parameter vector, prints its address, and at the n-th reach of the
point ends with status 77 and without a trace. Without a point it closes when its input ends.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter

from ps import points
from ps.layout import Layout
from ps.optimizer import OptimizerSettings
from ps.plan import ShardPlan, UpdateSettings
from ps.server import ServerSettings, ShardServer

CRASHED = 77


def plan_of(num_parameters: int, optimizer: dict[str, Any], accumulate: int) -> ShardPlan:
    """Give the plan of the only shard of a vector."""
    settings = TypeAdapter(OptimizerSettings).validate_python(optimizer)
    layout = Layout((("weight", (num_parameters,)),), num_shards=1)
    return ShardPlan(layout, 0, settings, UpdateSettings(accumulate=accumulate))


def crash_at(point: str, n: int) -> None:
    """End the process at the n-th reach of a point."""
    counts = {point: itertools.count(1)}

    def reached(here: str) -> None:
        if here in counts and next(counts[here]) == n:
            os._exit(CRASHED)

    points.reached = reached


def main() -> None:
    torch.set_num_threads(1)
    says = json.loads(sys.stdin.readline())
    if says["point"] is not None:
        crash_at(says["point"], says["n"])
    plan = plan_of(says["num_parameters"], says["optimizer"], says["accumulate"])
    with ShardServer(plan, ServerSettings(), Path(says["folder"])) as server:
        sys.stdout.write(f"{server.address}\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main()
