"""Does the search learn? The default search, with and without learning, over several seeds.

    python benchmarks/learning.py                        # seeds 1 2 3: about 7 minutes on 2 cores
    python benchmarks/learning.py --seeds 1 --json FILE

Every search is `nasrl search`, with its real processes. Printed is, for each, the mean reward in
the first and in the last quarter of its trials, in the order of their results.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from itertools import product
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from machine import machine

STRATEGIES = ("reinforce", "random")


def run(strategy: str, seed: int, num_trials: int, home: Path) -> dict[str, Any]:
    """Run one search, and give how its rewards moved."""
    path = home / f"{strategy}-{seed}"
    nasrl = [sys.executable, "-m", "nasrl"]
    subprocess.run(
        [*nasrl, "search", "--run-dir", str(path)]
        + [f"--set={key}" for key in (f"strategy={strategy}", f"seed={seed}")]
        + [f"--set=num_trials={num_trials}"],
        check=True,
        stdout=sys.stderr,
    )
    listed = subprocess.run(
        [*nasrl, "trials", str(path), "--format", "json"],
        check=True,
        capture_output=True,
        text=True,
    )
    trials = sorted(json.loads(listed.stdout), key=lambda trial: trial["record_number"])
    first, last = trials[: len(trials) // 4], trials[len(trials) * 3 // 4 :]
    [test] = [t["test"] for t in trials if t["test"] is not None]
    return {
        "strategy": strategy,
        "seed": seed,
        "num_trials": len(trials),
        "first_reward": mean(t["reward"] for t in first),
        "last_reward": mean(t["reward"] for t in last),
        "first_accuracy": mean(t["validation"] or 0 for t in first),
        "last_accuracy": mean(t["validation"] or 0 for t in last),
        "best_accuracy": max(t["validation"] or 0 for t in trials),
        "test_accuracy": test,
        "seconds": trials[-1]["recorded_at"] - trials[0]["reserved_at"],
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Give the rows as a Markdown table, with the mean gain of each strategy below."""
    lines = [
        "| strategy | seed | mean reward, first quarter | last | mean accuracy, first | last "
        "| best | its test | seconds |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {r['strategy']} | {r['seed']} | {r['first_reward']:.3f} | {r['last_reward']:.3f} "
        f"| {r['first_accuracy']:.1%} | {r['last_accuracy']:.1%} | {r['best_accuracy']:.1%} "
        f"| {r['test_accuracy']:.1%} | {r['seconds']:.0f} |"
        for r in rows
    ]
    for strategy in STRATEGIES:
        gains = [r["last_reward"] - r["first_reward"] for r in rows if r["strategy"] == strategy]
        spread = f" ± {stdev(gains):.3f}" if len(gains) > 1 else ""
        lines += ["", f"{strategy}: the mean reward rose by {mean(gains):+.3f}{spread}."]
    return "\n".join(lines)


def main() -> None:
    """Run all searches and print the table."""
    parser = argparse.ArgumentParser(description="Does the search learn?")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--num-trials", type=int, default=120)
    parser.add_argument("--json", type=Path, help="write the rows to this file, too")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        rows = [
            run(strategy, seed, arguments.num_trials, Path(home))
            for strategy, seed in product(STRATEGIES, arguments.seeds)
        ]
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")
    print(f"{machine('torch', 'ray')}\n\n{table(rows)}")


if __name__ == "__main__":
    main()
