"""What the ledger looks at in a call does not grow with the trials it holds."""

from __future__ import annotations

from support import large_ledger
from support.children import completed, start_of
from support.plans import watched
from support.rounds import GRADIENT, OTHER_GRADIENT, record_one

LARGE = 20_000


def calls_of(ledger, first):
    """Give what is called on a ledger whose trials from a number on have not begun."""
    life = 1
    owner = ledger.enlist(0, life).owner
    later = first + 1
    return {
        "reserve": lambda: ledger.reserve(owner, 3),
        "reserve again": lambda: ledger.reserve(owner, 3),
        "renew": lambda: ledger.renew(owner),
        "start": lambda: ledger.start(owner, [start_of(first, 5001)], reuse=True),
        "start of a known one": lambda: ledger.start(owner, [start_of(later, 1)], reuse=True),
        "release": lambda: ledger.release(owner, [first + 2]),
        "record": lambda: record_one(ledger, owner, first, completed(0.5)),
        "open push": lambda: ledger.open_push(owner, [first], (4,), (3,), GRADIENT),
        "replace push": lambda: ledger.replace_push(
            owner,
            ledger.open_push(owner, [first], (4,), (3,), GRADIENT),
            (5,),
            (3,),
            OTHER_GRADIENT,
        ),
        "enlist": lambda: ledger.enlist(0, life),
        "enlist another": lambda: ledger.enlist(99, life),
        "newest": lambda: ledger.newest(40),
        "unsettled replicas": lambda: ledger.unsettled_replicas(),
        "beat": lambda: ledger.beat(life),
        "end": lambda: ledger.end(life, "stopped"),
        "begin life": lambda: ledger.begin_life("there", 2),
    }


# What one call may look at: of 20,000 trials, and 250 pushes of each replica.
LIMITS = {"sqlite": 600, "postgresql": 150}


def test_what_a_call_looks_at_is_a_few_of_very_many(create_ledger, database, kind):
    ledger = create_ledger(num_trials=LARGE + 10)
    large_ledger.fill(database, LARGE)

    looked_at = {}
    for name, call in calls_of(ledger, LARGE + 1).items():
        with watched() as looked_at[name]:
            call()

    assert {name: work.full_scans for name, work in looked_at.items() if work.full_scans} == {}
    amounts = {name: work.amount for name, work in looked_at.items()}
    assert {name: n for name, n in amounts.items() if not 0 < n <= LIMITS[kind]} == {}
