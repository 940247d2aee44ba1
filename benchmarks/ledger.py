"""Does the ledger slow down as trials gather? The time of its calls at 100 to 100,000 trials.

    python benchmarks/ledger.py            # about 3 minutes on 2 cores
    python benchmarks/ledger.py --quick    # fewer repetitions: under a minute

In each ledger 100 other replicas have 8 trials each in training, as in the paper's search. One more
replica makes its calls in rounds of 8 trials; ledgers of different sizes take turns, one round
each. Printed are medians, the spread from the 10th to the 90th of 100, and how many times as long
the call takes as at the smallest size. progress and activity alone count all trials; whoever
watches a search asks for them about once a second. Everything is durable: SQLite in a file of the
folder named, and a PostgreSQL server of its own, where one is installed, with fsync.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles
from typing import TypeVar

import sqlalchemy as sql
from machine import machine
from rich import box
from rich.console import Console
from rich.table import Table

sys.path.append(str(Path(__file__).parent.parent / "tests"))
from support import large_ledger
from support.children import completed, start_of
from support.postgresql import PostgresqlServer, programs

from child.metric import ACCURACY
from controller.baseline import Baseline
from controller.database_url import database_url
from controller.ledger import Ledger
from controller.records import SearchRecord
from controller.schedule import ScheduleSettings

SIZES = (100, 10_000, 100_000)
PER_ROUND = 8
OTHER_REPLICAS = range(1000, 1100)
GRADIENT = bytes(4 * 50_000)
CALLS = (
    "reserve",
    "start",
    "record",
    "open_push",
    "close_push",
    "renew",
    "enlist",
    "progress",
    "activity",
)

T = TypeVar("T")


@dataclass
class Sized:
    """A ledger that holds so many trials, the calls of one replica to it, and their times."""

    ledger: Ledger
    num_trials: int
    times_s: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def run_round(self) -> None:
        """Run trials from their reservation to their acknowledgement, each call timed."""
        ledger = self.ledger
        owner = self._timed("enlist", lambda: ledger.enlist(0, 1)).owner
        trials = [p.trial for p in self._timed("reserve", lambda: ledger.reserve(owner, PER_ROUND))]
        starts = [start_of(trial, trial) for trial in trials]
        self._timed("start", lambda: ledger.start(owner, starts, reuse=True))
        for trial in trials:
            self._timed("record", lambda trial=trial: ledger.record(owner, {trial: completed(0.5)}))
        self._timed("renew", lambda: ledger.renew(owner))
        push = (owner, trials, (1,), (0,), GRADIENT)
        sequence = self._timed("open_push", lambda: ledger.open_push(*push))
        self._timed("close_push", lambda: ledger.close_push(owner, sequence, (2,), (0,), (1,)))
        self._timed("progress", ledger.progress)
        self._timed("activity", ledger.activity)

    def _timed(self, name: str, call: Callable[[], T]) -> T:
        began = time.perf_counter()
        answer = call()
        self.times_s[name].append(time.perf_counter() - began)
        return answer


@contextmanager
def databases(folder: Path) -> Iterator[dict[str, Callable[[str], str]]]:
    """Give, for each kind that is installed, a function from a name to an empty database's URL."""
    with ExitStack() as stack:
        found: dict[str, Callable[[str], str]] = {
            "SQLite": lambda name: f"sqlite:///{folder / name}.sqlite"
        }
        if installed := programs():
            server = PostgresqlServer(installed)
            stack.callback(server.stop)
            found["PostgreSQL"] = lambda _: server.new_url()
        else:
            print("PostgreSQL is not installed: apt install postgresql", file=sys.stderr)
        yield found


def ledger_of(url: str, num_trials: int) -> Ledger:
    """Make a ledger of so many trials that are over, and of those that others have in training."""
    search = SearchRecord(10**6, Baseline(0.95), ScheduleSettings(), ACCURACY, {}, {})
    ledger = Ledger.create(url, search)
    ledger.begin_life("here", 1)
    engine = sql.create_engine(database_url(url))
    large_ledger.fill(engine, num_trials)
    engine.dispose()
    for replica in OTHER_REPLICAS:
        owner = ledger.enlist(replica, 1).owner
        places = ledger.reserve(owner, PER_ROUND)
        ledger.start(owner, [start_of(place.trial) for place in places])
    return ledger


def measure(
    new_url: Callable[[str], str], sizes: list[int], num_rounds: int, seconds: float
) -> list[Sized]:
    """Measure the calls at all sizes, for so many rounds, and no longer than so many seconds."""
    with ExitStack() as stack:
        sized = []
        for size in sizes:
            ledger = stack.enter_context(ledger_of(new_url(f"of-{size}"), size))
            sized.append(Sized(ledger, size))
        for each in sized:
            each.run_round()  # the first is slower: statements are compiled
            each.times_s.clear()
        give_up_at = time.monotonic() + seconds
        done = 0
        while done < num_rounds and time.monotonic() < give_up_at:
            for each in sized:
                each.run_round()
            done += 1
        for each in sized:
            recorded = each.ledger.progress().num_recorded
            expected = each.num_trials + PER_ROUND * (done + 1)
            assert recorded == expected, f"{recorded} trials are recorded, of {expected}"
        return sized


def show(kind: str, sized: list[Sized]) -> None:
    """Print a table of one kind of database."""
    console = Console(width=None if sys.stdout.isatty() else 130, highlight=False)
    table = Table(box=box.MARKDOWN)
    table.add_column(f"{kind}, ms")
    for each in sized:
        table.add_column(f"{each.num_trials:,} trials", justify="right")
    for name in CALLS:
        first = median(sized[0].times_s[name])
        table.add_row(name, *(_cell(each.times_s[name], first) for each in sized))
    console.print(table)


def _cell(times_s: list[float], first_s: float) -> str:
    tenths = quantiles(times_s, n=10)
    middle = median(times_s)
    spread = f"{1000 * tenths[0]:.2f} to {1000 * tenths[-1]:.2f}"
    return f"{1000 * middle:.2f} ({spread}), × {middle / first_s:.2f}"


def main() -> int:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description="Does the ledger slow down as trials gather?")
    parser.add_argument("--quick", action="store_true", help="fewer repetitions")
    parser.add_argument("--sizes", nargs="+", type=int, default=list(SIZES))
    parser.add_argument("--folder", type=Path, help="where the SQLite files are; a temporary one")
    arguments = parser.parse_args()
    print(f"{machine('SQLAlchemy')}\n")
    num_rounds, seconds = (40, 6.0) if arguments.quick else (300, 60.0)
    with (
        tempfile.TemporaryDirectory(dir=arguments.folder) as folder,
        databases(Path(folder)) as found,
    ):
        for kind, new_url in found.items():
            show(kind, measure(new_url, arguments.sizes, num_rounds, seconds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
