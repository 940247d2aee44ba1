"""How many trials does a good network take? Strategies on tables of networks trained before.

    python benchmarks/sample_efficiency.py                        # the table of digits
    python benchmarks/sample_efficiency.py --nasbench-macro FILE  # and NAS-Bench-Macro
    python benchmarks/sample_efficiency.py --nasbench-macro FILE --budgets 5000
    python benchmarks/sample_efficiency.py --quick                # some seconds: does it run?

Nothing is trained: a trial looks its accuracy up. Policies, gradients and updates are those of a
search, and so are the seeds; `table_search.py` has the loop. A search that ends after fewer trials
is the beginning of a longer one, so budgets share searches.

Found is the network of the highest reward that was seen, which is noisy; it counts by what the
table says that it is worth. Regret is what it lacks of the best one in the table. Best of ten is
the best, by what they are worth, of the ten different networks of the highest rewards: what would
be found by training those again, as `nasrl retrain` does. Better are the searches that found a
network above the mean of random search. The intervals are of means over the seeds, bootstrapped;
a search is compared with the random one of its seed. Differences are in points.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch
from machine import machine
from network_table import NetworkTable
from searchers import SEARCHERS, Searcher
from table_search import Course, reward_of

FIRST_SEED = 1000  # settings were chosen on seeds below
BUDGETS = (100, 500)
NUM_LAST = 100
NUM_RESAMPLES = 10_000


@dataclass(frozen=True)
class Figures:
    """How a search stood after its first trials: fractions."""

    best_found: float
    best_of_ten: float
    last_reward: float
    distinct: float

    @classmethod
    def of(cls, course: Course, table: NetworkTable, num_trials: int) -> Figures:
        """Measure a search after so many trials."""
        top = course.best(num_trials, 10)
        return cls(
            table.values[top[0]],
            max(table.values[choices] for choices in top),
            mean(course.rewards[:num_trials][-NUM_LAST:]),
            len(set(course.choices[:num_trials])) / num_trials,
        )


@dataclass(frozen=True)
class Task:
    """One search to run, and after how many trials to look at it."""

    table: NetworkTable
    searcher: Searcher
    budgets: tuple[int, ...]
    seed: int


def measure(task: Task) -> list[Figures]:
    """Run a search, and give its figures for each budget."""
    torch.set_num_threads(1)
    reward = reward_of(task.table, task.seed)
    course = task.searcher.search(task.table.space, reward, max(task.budgets), task.seed)
    return [Figures.of(course, task.table, budget) for budget in task.budgets]


def interval(figures: Sequence[float]) -> tuple[float, float]:
    """Give the 95 % interval of the mean, by the percentile bootstrap; always the same."""
    generator = np.random.default_rng(0)
    drawn = generator.choice(np.asarray(figures), (NUM_RESAMPLES, len(figures)))
    low, high = np.quantile(drawn.mean(axis=1), [0.025, 0.975])
    return float(low), float(high)


def rows_of(
    tables: Sequence[NetworkTable],
    searchers: Sequence[Searcher],
    budgets: Sequence[int],
    seeds: Sequence[int],
    processes: int,
) -> list[dict[str, Any]]:
    """Run every search, and give a row for each table, budget and strategy.

    The first strategy is the one that the others are compared with. A table is left out where
    there are more trials than networks.
    """
    asked = [
        (table, searcher, tuple(b for b in budgets if searcher.is_for(b) and b <= len(table.seen)))
        for table in tables
        for searcher in searchers
    ]
    asked = [each for each in asked if each[2]]
    tasks = [Task(*each, seed) for each in asked for seed in seeds]
    # Started afresh, not forked: torch has threads by now.
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        figures = iter(pool.map(measure, tasks, chunksize=1))
    rows = []
    for table, searcher, of_budgets in asked:
        of_seeds = [next(figures) for _ in seeds]
        for number, budget in enumerate(of_budgets):
            found = [each[number] for each in of_seeds]
            best = [each.best_found for each in found]
            rows.append(
                {
                    "table": table.name,
                    "budget": budget,
                    "strategy": searcher.name,
                    "best_found": mean(best),
                    "interval": interval(best),
                    "regret": table.best - mean(best),
                    "best_of_ten": mean(each.best_of_ten for each in found),
                    "last_reward": mean(each.last_reward for each in found),
                    "distinct": mean(each.distinct for each in found),
                    "of_seeds": [asdict(each) for each in found],
                }
            )
    order = [(table.name, budget) for table in tables for budget in budgets]
    rows.sort(key=lambda row: order.index((row["table"], row["budget"])))  # stable
    _compare(rows)
    return rows


def printed(rows: Sequence[dict[str, Any]], num_seeds: int) -> str:
    """Give the rows as a Markdown table."""
    lines = [
        "| table | trials | strategy | found, % (95 % of its mean) | regret | ahead of random "
        f"| better, of {num_seeds} | best of ten, % | ahead of random | reward, last {NUM_LAST} "
        "| distinct |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        low, high = (100 * bound for bound in row["interval"])
        lines.append(
            f"| {row['table']} | {row['budget']} | {row['strategy']} "
            f"| {100 * row['best_found']:.2f} ({low:.2f} to {high:.2f}) "
            f"| {100 * row['regret']:.2f} | {_ahead(row, 'best_found')} | {row['num_better']} "
            f"| {100 * row['best_of_ten']:.2f} | {_ahead(row, 'best_of_ten')} "
            f"| {row['last_reward']:.3f} | {row['distinct']:.0%} |"
        )
    return "\n".join(lines)


def _compare(rows: Sequence[dict[str, Any]]) -> None:
    """Add to each row how it stands beside the first of its table and budget."""
    first: dict[tuple[str, int], dict[str, Any]] = {}
    for row in rows:
        other = first.setdefault((row["table"], row["budget"]), row)
        for figure in ("best_found", "best_of_ten"):
            pairs = zip(row["of_seeds"], other["of_seeds"], strict=True)
            ahead = [one[figure] - another[figure] for one, another in pairs]
            row[f"{figure}_ahead"], row[f"{figure}_ahead_interval"] = mean(ahead), interval(ahead)
        found = [each["best_found"] for each in row["of_seeds"]]
        row["num_better"] = sum(each > other["best_found"] for each in found)


def _ahead(row: dict[str, Any], figure: str) -> str:
    low, high = (100 * bound for bound in row[f"{figure}_ahead_interval"])
    if low == high == 0:  # the first strategy, or one that found the same
        return ""
    return f"{100 * row[f'{figure}_ahead']:+.2f} ({low:+.2f} to {high:+.2f})"


def main() -> None:
    """Run all searches and print the table."""
    parser = argparse.ArgumentParser(description="How many trials does a good network take?")
    parser.add_argument("--nasbench-macro", type=Path, help="NAS-Bench-Macro's CIFAR-10 table")
    parser.add_argument("--budgets", type=int, nargs="+", default=BUDGETS)
    parser.add_argument("--seeds", type=int, default=20, help="searches of each strategy")
    parser.add_argument("--strategies", nargs="+", metavar="NAME", help="beside random; else all")
    parser.add_argument("--processes", type=int, default=min(os.cpu_count() or 1, 2))
    parser.add_argument("--json", type=Path, help="write the rows to this file, too")
    parser.add_argument("--quick", action="store_true", help="two seeds, 60 trials: does it run?")
    arguments = parser.parse_args()
    names = [searcher.name for searcher in SEARCHERS]
    if unknown := set(arguments.strategies or ()) - set(names):
        parser.error(f"--strategies {' '.join(sorted(unknown))}: must be of {', '.join(names)}")
    searchers = [
        searcher
        for number, searcher in enumerate(SEARCHERS)
        if number == 0 or not arguments.strategies or searcher.name in arguments.strategies
    ]
    tables = [NetworkTable.digits()]
    if arguments.nasbench_macro:
        tables.append(NetworkTable.nasbench_macro(arguments.nasbench_macro))
    budgets, num_seeds = sorted(arguments.budgets), arguments.seeds
    if arguments.quick:
        budgets, num_seeds = [60], 2
        searchers = [replace(searcher, at_least=1, at_most=60) for searcher in searchers]
    seeds = range(FIRST_SEED, FIRST_SEED + num_seeds)
    rows = rows_of(tables, searchers, budgets, seeds, arguments.processes)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")
    print(f"{machine('torch', 'numpy')}\n")
    print(printed(rows, num_seeds))


if __name__ == "__main__":
    main()
