"""Every benchmark still runs, as small as it can be; what it measures like that means nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SMALLEST = {
    "learning": ["--seeds", "1", "--num-trials", "8"],
    "parameter_server": ["--parameters", "10000", "--rounds", "1", "--seconds", "0.2"],
    "child_training": ["--networks", "six-layers", "--rounds", "1", "--seconds", "0.2"],
    "orchestration": ["--rounds", "1", "--free-trials", "60", "--real-trials", "4"],
    "dispatch": ["--short", "--trials", "240", "--seeds", "2"],
    "layout": ["--short"],
    "ledger": ["--quick", "--sizes", "1000"],
    "recurrent_cells": ["--sizes", "1m", "--cells", "NASCell", "--rounds", "1"],
    "sample_efficiency": ["--quick"],
    "policy_grid": ["--learning-rates", "0.01", "--budgets", "8", "--seeds", "1"],
    "system_search": ["--strategies", "recommended", "--seeds", "1", "--trials", "16"],
}
# They start searches, or servers of several kinds, or simulate for a minute.
MINUTES = ("learning", "parameter_server", "orchestration", "dispatch", "layout", "system_search")


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow) if name in MINUTES else name for name in SMALLEST],
)
@pytest.mark.timeout(300)
def test_it_runs(name):
    ended = subprocess.run(
        [sys.executable, f"benchmarks/{name}.py", *SMALLEST[name]],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "|" in ended.stdout, "no table"


def test_make_bench_runs_all_that_are_here():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    commands = {path.stem for path in (ROOT / "benchmarks").glob("*.py")
                if 'if __name__ == "__main__"' in path.read_text(encoding="utf-8")}  # fmt: skip

    in_make = {name for name in commands if f"benchmarks/{name}.py" in makefile}
    # That one is for whoever chooses settings anew; it takes hours.
    assert in_make == set(SMALLEST) - {"policy_grid"}
    assert commands == set(SMALLEST)
