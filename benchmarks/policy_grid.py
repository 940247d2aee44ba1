"""Which settings suit a policy? REINFORCE at every point of a grid, on tables of networks.

    python benchmarks/policy_grid.py --nasbench-macro FILE
    python benchmarks/policy_grid.py --learning-rates 0.003 0.01 --sharing position

What is chosen here is judged by `sample_efficiency.py`, whose seeds are others.
"""

from __future__ import annotations

import argparse
import json
import os
from itertools import product
from pathlib import Path

from machine import machine
from network_table import NetworkTable
from sample_efficiency import FIRST_SEED, printed, rows_of
from searchers import Searcher, small_layout

from controller.learning import LearningSettings
from controller.policy import PolicySettings


def main() -> None:
    """Run all searches and print the table."""
    parser = argparse.ArgumentParser(description="Which settings suit a policy?")
    parser.add_argument("--nasbench-macro", type=Path, help="that table, in place of the digits")
    parser.add_argument("--budgets", type=int, nargs="+", default=[100, 500])
    parser.add_argument(
        "--learning-rates", type=float, nargs="+", default=[0.001, 0.003, 0.01, 0.03]
    )
    parser.add_argument("--baseline-decays", type=float, nargs="+", default=[0.9])
    parser.add_argument("--entropy-bonuses", type=float, nargs="+", default=[0.0, 0.01])
    parser.add_argument("--sharing", choices=["kind", "position"], nargs="+", default=["kind"])
    parser.add_argument("--num-replicas", type=int, nargs="+", default=[1], metavar="K")
    parser.add_argument("--per-replica", type=int, nargs="+", default=[4], metavar="M")
    parser.add_argument("--correction", choices=["none", "clip"], nargs="+", default=["none"])
    parser.add_argument("--seeds", type=int, default=10, help="searches of each point")
    parser.add_argument("--processes", type=int, default=min(os.cpu_count() or 1, 2))
    parser.add_argument("--json", type=Path, help="write the rows to this file, too")
    given = parser.parse_args()
    if given.seeds > FIRST_SEED:
        parser.error(f"--seeds {given.seeds}: must be at most {FIRST_SEED}; others are to judge by")
    points = [
        Searcher(
            f"rate {rate:g}, decay {decay:g}, bonus {bonus:g}, {sharing}, K {replicas}, m {size}, "
            f"{correction}",
            "reinforce",
            small_layout(rate, replicas, size, decay, correction == "clip"),
            PolicySettings(sharing=sharing),
            LearningSettings(entropy_bonus=bonus),
        )
        for rate, decay, bonus, sharing, replicas, size, correction in product(
            given.learning_rates,
            given.baseline_decays,
            given.entropy_bonuses,
            given.sharing,
            given.num_replicas,
            given.per_replica,
            given.correction,
        )
    ]
    path = given.nasbench_macro
    table = NetworkTable.nasbench_macro(path) if path else NetworkTable.digits()
    searchers = [Searcher("random", "random"), *points]
    rows = rows_of([table], searchers, sorted(given.budgets), range(given.seeds), given.processes)
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1) + "\n")
    print(f"{machine('torch', 'numpy')}\n")
    print(printed(rows, given.seeds))


if __name__ == "__main__":
    main()
