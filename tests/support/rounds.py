"""The calls of a controller replica to its ledger, and how several are made at once."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from support.children import completed, start_of

from child.result import TrialResult
from controller.ledger import Ledger
from controller.trial import Owner, Stamp

T = TypeVar("T")

GRADIENT = b"\x00\x01\x02\x03" * 8
OTHER_GRADIENT = b"\x07\x06\x05\x04" * 8

# Every method that is told its caller, in an order in which a replica may call them. After all of
# them trial 1 is in a push, 2 is started, and 3 is given back.
ROUND: Mapping[str, Callable[[Ledger, Owner], Any]] = {
    "reserve": lambda ledger, owner: ledger.reserve(owner, 3),
    "renew": lambda ledger, owner: ledger.renew(owner),
    "start": lambda ledger, owner: ledger.start(owner, [start_of(1), start_of(2)]),
    "release": lambda ledger, owner: ledger.release(owner, [3]),
    "record": lambda ledger, owner: ledger.record(owner, {1: completed(0.5)}),
    "open_push": lambda ledger, owner: ledger.open_push(owner, [1], (4,), (3,), GRADIENT),
    "replace_push": lambda ledger, owner: ledger.replace_push(owner, 1, (5,), (2,), OTHER_GRADIENT),
    "close_push": lambda ledger, owner: ledger.close_push(owner, 1, (6,), (0,), (2,)),
}


def run_up_to(method: str, ledger: Ledger, owner: Owner) -> None:
    """Make all calls of the round that come before a method."""
    for earlier in itertools.takewhile(lambda name: name != method, ROUND):
        ROUND[earlier](ledger, owner)


def begin(ledger: Ledger, owner: Owner, number: int, held: Sequence[int] = ()) -> list[int]:
    """Reserve and start so many trials, and give their numbers."""
    trials = [place.trial for place in ledger.reserve(owner, number, held)]
    ledger.start(owner, [start_of(trial) for trial in trials])
    return trials


def record(ledger: Ledger, owner: Owner, results: Sequence[TrialResult]) -> list[int]:
    """Run trials with the results given, and give their numbers."""
    trials = begin(ledger, owner, len(results))
    ledger.record(owner, dict(zip(trials, results, strict=True)))
    return trials


def record_one(ledger: Ledger, owner: Owner, trial: int, result: TrialResult) -> Stamp:
    """Record one result, and give its stamp."""
    [stamp] = ledger.record(owner, {trial: result}).values()
    return stamp


def at_once(calls: Sequence[Callable[[], T]]) -> list[T]:
    """Run all calls at the same time, each in a thread, and give what they return."""
    barrier = threading.Barrier(len(calls))

    def run(call: Callable[[], T]) -> T:
        barrier.wait(timeout=10)
        return call()

    with ThreadPoolExecutor(len(calls)) as threads:
        return list(threads.map(run, calls))
