"""Searches of a table by the whole system: shards, replicas and workers as processes of their own.

    python benchmarks/system_search.py                        # the table of digits
    python benchmarks/system_search.py --nasbench-macro FILE  # NAS-Bench-Macro in its place

`sample_efficiency.py` runs many searches in one process each, where replicas take turns. Here K = 4
replicas push when they happen to be done, through gRPC, with whatever staleness comes of it. So few
searches tell nothing of small differences; they tell whether the system learns like its parts.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, pstdev

from machine import machine
from network_table import NetworkTable
from sample_efficiency import FIRST_SEED, Figures
from table_search import Course

from deploy.run import Run

EXAMPLES = Path(__file__).parent.parent / "examples"
PER_REPLICA = 2
# docs/recommended-settings.md, for 500 trials.
RECOMMENDED = (
    "baseline_decay=0.9",
    "optimizer.learning_rate=0.005",
    "learning.entropy_bonus=0.001",
)
STRATEGIES = {
    "random": ("strategy=random",),
    "paper": ("baseline_decay=0.95", "optimizer.learning_rate=0.0006", "learning.entropy_bonus=0"),
    "recommended": RECOMMENDED,
    "evolution": (
        "strategy=evolution",
        "evolution.population_size=50",
        "evolution.tournament_size=10",
    ),
}


def run(example: Path, changes: Sequence[str], folder: Path) -> Run:
    """Run `nasrl search` to its end in a process of its own."""
    given = [part for change in changes for part in ("--set", change)]
    command = [sys.executable, "-m", "nasrl", "search", str(example / "search.yaml"), *given]
    ended = subprocess.run(
        [*command, "--run-dir", str(folder)],
        cwd=example,
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {ended.returncode}:\n{ended.stderr}")
    return Run(folder)


def measured(run: Run, table: NetworkTable) -> tuple[Figures, float, float]:
    """Give how a search stood at its end, its mean staleness, and its seconds."""
    with run.ledger() as ledger:
        trials, pushes, progress = ledger.trials(), ledger.pushes(), ledger.progress()
    trials.sort(key=lambda trial: trial.record_number or 0)
    course = Course(
        [tuple(choice for _, choice in trial.decisions or ()) for trial in trials],
        [trial.reward or 0.0 for trial in trials],
    )
    stale = [number for push in pushes for number in push.staleness or ()]
    return Figures.of(course, table, len(trials)), mean(stale), progress.seconds


def row(name: str, seeds: Sequence[int], found: Sequence[tuple[Figures, float, float]]) -> str:
    """Give the searches of one strategy as a row."""
    figures, staleness, seconds = zip(*found, strict=True)
    best = [100 * each.best_found for each in figures]
    return (
        f"| {name} | {len(seeds)} | {mean(best):.2f} ± {pstdev(best):.2f} "
        f"| {100 * mean(each.best_of_ten for each in figures):.2f} "
        f"| {mean(each.last_reward for each in figures):.4f} "
        f"| {mean(each.distinct for each in figures):.0%} "
        f"| {mean(staleness):.2f} | {min(seconds):.0f} to {max(seconds):.0f} |"
    )


def main() -> None:
    """Run all searches, one after the other, and print the table."""
    parser = argparse.ArgumentParser(description="Does the system learn like its parts?")
    parser.add_argument("--nasbench-macro", type=Path, help="NAS-Bench-Macro's CIFAR-10 table")
    parser.add_argument("--strategies", nargs="+", choices=STRATEGIES, default=list(STRATEGIES))
    parser.add_argument("--seeds", type=int, default=3, help="searches of each strategy")
    parser.add_argument("--trials", type=int, default=500)
    arguments = parser.parse_args()
    if arguments.nasbench_macro:
        example, table = (
            EXAMPLES / "nasbench_macro",
            NetworkTable.nasbench_macro(arguments.nasbench_macro),
        )
        common = [f"trainer_options.table={arguments.nasbench_macro.absolute()}"]
    else:
        example, table, common = EXAMPLES / "digits_table", NetworkTable.digits(), []
    common += [f"num_trials={arguments.trials}", f"children.per_replica={PER_REPLICA}"]
    seeds = range(FIRST_SEED, FIRST_SEED + arguments.seeds)
    print(machine("torch", "ray", "numpy"))
    print(f"{table.name}, {arguments.trials} trials, K = 4, m = {PER_REPLICA}\n")
    print(
        "| strategy | searches | found, % | best of ten, % | reward, last 100 | distinct "
        "| staleness | seconds |\n|---|---|---|---|---|---|---|---|"
    )
    with tempfile.TemporaryDirectory() as home:
        for name in arguments.strategies:
            found = [
                measured(
                    run(
                        example,
                        [*common, *STRATEGIES[name], f"seed={seed}"],
                        Path(home) / f"{name}-{seed}",
                    ),
                    table,
                )
                for seed in seeds
            ]
            print(row(name, seeds, found), flush=True)


if __name__ == "__main__":
    main()
