"""How fast is a shard? Push-and-pull with four clients, beside other ways to do the same.

    python benchmarks/parameter_server.py                # all sizes: about 30 minutes on 2 cores
    python benchmarks/parameter_server.py --quick        # a first look: about 4 minutes
    python benchmarks/parameter_server.py --systems nasrl ray --parameters 10000 --json FILE

A call sends a gradient, has Adam applied, and gives the values after it: four bytes a parameter in
each direction. Each client is a process, makes one call after the other, and sends a constant
normal random vector of its own; each server is a process, and torch has one thread in it. Systems
take turns: round 1 of all, round 2 of all, and so on; each time their processes are new. Printed
are medians over the rounds.

raw grpcio: as many bytes are echoed, and nothing else: the limit for what is built on grpcio.
ray: an actor holds the model, and is called with numpy arrays.
torch rpc: a function of torch.distributed.rpc applies the gradient under a lock. It returns a copy
    of the weights, or, like many examples, the weights themselves: they change while they are sent.
nasrl: a shard (or two, for comparison) and its client.

On one machine Ray, and torch rpc by default, move vectors through shared memory, which neither does
between machines. Where a system can be called in several ways, all are measured, and the fastest is
shown.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from machine import machine
from ps_processes import ProcessFailed
from ps_systems import NOT_MODIFIED, NUM_CLIENTS, Setup, session

SYSTEMS = ("raw grpcio", "ray", "torch rpc", "nasrl")
PARAMETERS = (10_000, 50_000, 4_000_000, 25_000_000)
QUICK_PARAMETERS = PARAMETERS[:3]
DURABILITIES = ("none", "journal")


@dataclass
class Measured:
    """What the rounds of one row gave so far."""

    rates: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    health_s: list[float] = field(default_factory=list)
    not_modified_s: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


def setups_of(systems: list[str], num_parameters: int) -> list[Setup]:
    """Give what is measured at one size, in its order in a round."""
    given = {
        "raw grpcio": [Setup("raw grpcio", num_parameters)],
        "ray": [Setup("ray", num_parameters)],
        "torch rpc": [Setup("torch rpc", num_parameters)],
        "nasrl": [
            Setup("nasrl", num_parameters, num_shards, durability)
            for num_shards in (1, 2)
            for durability in DURABILITIES
        ],
    }
    return [setup for system in SYSTEMS if system in systems for setup in given[system]]


def measure(setup: Setup, seconds: float, measured: Measured) -> None:
    """Measure one system in one round.

    Raises:
        ProcessFailed: something of it has failed; what was measured before counts.
    """
    has_health = setup.system == "nasrl" and setup.num_shards == 1
    with session(setup, is_probed=has_health) as running:
        for form in setup.forms:
            # Torch rpc and Ray are far from their speed during the first second.
            running.run(form, max(0.5, seconds / 4))
            timed = running.run(form, seconds)
            measured.rates[form].append(sum(each.calls_per_s for each in timed))
        if has_health:
            _, health = running.run_probed(form, seconds)
            measured.health_s += health.latencies_s
            running.run_alone(NOT_MODIFIED, 0)  # what the others pushed
            alone = running.run_alone(NOT_MODIFIED, seconds / 5)
            measured.not_modified_s += alone.latencies_s
        running.check_applied()


def row_of(setup: Setup, measured: Measured, num_rounds: int) -> dict[str, Any]:
    """Give a row: medians over the rounds, of the fastest form."""
    forms = {form: median(rates) for form, rates in measured.rates.items()}
    best = max(forms, key=forms.__getitem__, default=None)
    failures = measured.failures
    return {
        "system": setup.system,
        "parameters": setup.num_parameters,
        "durability": setup.durability,
        "calls_per_s": forms[best] if best else None,
        "calls_per_s_min": min(measured.rates[best]) if best else None,
        "calls_per_s_max": max(measured.rates[best]) if best else None,
        "num_shards": setup.num_shards,
        "num_clients": NUM_CLIENTS,
        "num_rounds": num_rounds,
        "form": best,
        "forms": forms,
        "health_p99_ms": _quantile_ms(measured.health_s, 0.99),
        "pull_not_modified_ms": _quantile_ms(measured.not_modified_s, 0.5),
        "note": f"{len(failures)} failed: {failures[0].splitlines()[0]}" if failures else "",
    }


def _quantile_ms(latencies_s: list[float], fraction: float) -> float | None:
    if not latencies_s:
        return None
    return 1000 * sorted(latencies_s)[min(int(fraction * len(latencies_s)), len(latencies_s) - 1)]


def run(
    systems: list[str], parameters: list[int], num_rounds: int, seconds: float
) -> list[dict[str, Any]]:
    """Measure everything, and tell on stderr how far that is."""
    rows = []
    for num_parameters in parameters:
        setups = setups_of(systems, num_parameters)
        measured = {setup: Measured() for setup in setups}
        for number in range(1, num_rounds + 1):
            for setup in setups:
                began = time.monotonic()
                try:
                    measure(setup, seconds, measured[setup])
                except ProcessFailed as error:
                    measured[setup].failures.append(str(error))
                    print(error, file=sys.stderr)
                rates = ", ".join(
                    f"{measured[setup].rates[form][-1]:.1f}/s"
                    for form in setup.forms
                    if form in measured[setup].rates
                )
                print(
                    f"{num_parameters:,} parameters, round {number} of {num_rounds}: {setup.name}: "
                    f"{rates} ({time.monotonic() - began:.0f} s)",
                    file=sys.stderr,
                )
        rows += [row_of(setup, measured[setup], num_rounds) for setup in setups]
    return rows


def ratios(rows: list[dict[str, Any]]) -> list[tuple[int, str, str, float]]:
    """Give (parameters, durability, other system, nasrl's rate as a multiple of its)."""
    rates = {
        (row["parameters"], row["system"], row["durability"]): row["calls_per_s"]
        for row in rows
        if row["num_shards"] == 1 and row["calls_per_s"]
    }
    return [
        (size, durability, system, rate / rates[size, system, None])
        for (size, name, durability), rate in rates.items()
        for system in SYSTEMS[:-1]
        if name == "nasrl" and (size, system, None) in rates
    ]


def show(rows: list[dict[str, Any]]) -> None:
    """Print the table, and what is compared in it."""
    from rich import box  # here, since every process of the benchmark imports this file
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 130, highlight=False)
    table = Table(box=box.MARKDOWN)
    for heading in ("parameters", "system", "durability", "shards", "calls/s", "min to max"):
        table.add_column(
            heading, justify="left" if heading in ("system", "durability") else "right"
        )
    table.add_column("form")
    for row in rows:
        spread = (row["calls_per_s_min"], row["calls_per_s_max"])
        table.add_row(
            f"{row['parameters']:,}",
            row["system"],
            row["durability"] or "–",
            str(row["num_shards"]),
            _short(row["calls_per_s"]),
            " to ".join(map(_short, spread)),
            " ".join(filter(None, (row["form"], row["note"]))),
        )
    console.print(table)
    for row in rows:
        others = [
            f"{form} {_short(rate)}" for form, rate in row["forms"].items() if form != row["form"]
        ]
        if others:
            console.print(
                f"{row['parameters']:,} parameters, {row['system']}, other forms: "
                f"{'; '.join(others)}."
            )
    for row in rows:
        if None not in (row["health_p99_ms"], row["pull_not_modified_ms"]):
            console.print(
                f"{row['parameters']:,} parameters, durability: {row['durability']}: with all "
                f"clients pushing, 99 % of health checks were answered within "
                f"{row['health_p99_ms']:.1f} ms; a pull of what is not modified took "
                f"{row['pull_not_modified_ms']:.2f} ms (median)."
            )
    compared = Table(box=box.MARKDOWN)
    for heading in ("parameters", "durability", "nasrl / …", "times"):
        compared.add_column(heading)
    for size, durability, system, ratio in ratios(rows):
        compared.add_row(f"{size:,}", durability, system, f"{ratio:.2f}")
    console.print(compared)


def _short(rate: float | None) -> str:
    if rate is None:
        return "–"
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.1f}"


def main() -> int:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description="How fast is a shard?")
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS))
    parser.add_argument("--parameters", type=int, nargs="+", help="numbers of them")
    parser.add_argument("--rounds", type=int, help="of each system at each size")
    parser.add_argument("--seconds", type=float, help="that each is measured for in a round")
    parser.add_argument("--quick", action="store_true", help="one round of a second; no 25 million")
    parser.add_argument("--json", type=Path, help="write the rows to this file, too")
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"  # before anything imports torch
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
    rows = run(
        arguments.systems,
        arguments.parameters or list(QUICK_PARAMETERS if arguments.quick else PARAMETERS),
        arguments.rounds or (1 if arguments.quick else 3),
        arguments.seconds or (1.0 if arguments.quick else 3.0),
    )
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")
    print(f"{machine('grpcio', 'torch', 'ray')}; {NUM_CLIENTS} clients\n")
    show(rows)
    return any(row["note"] for row in rows)


if __name__ == "__main__":
    sys.exit(main())
