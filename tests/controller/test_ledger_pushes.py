"""The ledger's laws of pushes: a reward is in one push, whose gradient is kept until it closes."""

from __future__ import annotations

import inspect
import itertools
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from support.children import completed, infeasible, start_of

from controller.errors import LedgerError, NotOwner, WrongState
from controller.ledger import Ledger

GRADIENT = b"\x00\x01\x02\x03" * 8
OTHER_GRADIENT = b"\x07\x06\x05\x04" * 8


@pytest.fixture
def owner(ledger):
    return ledger.enlist(0)


def record(ledger, owner, number):
    """Reserve, start and record so many trials, and give their numbers."""
    trials = [reservation.trial for reservation in ledger.reserve(owner, number)]
    ledger.start(owner, [start_of(trial) for trial in trials])
    for trial in trials:
        ledger.record(owner, trial, completed(0.5))
    return trials


def test_push_opened_is_kept_with_its_trials_and_its_gradient(ledger, owner):
    trials = record(ledger, owner, 3)

    sequence = ledger.open_push(owner, trials[:2], (4, 7), GRADIENT)

    [push] = ledger.pushes()
    assert (push.replica, push.sequence, push.incarnation) == (0, sequence, 1)
    assert push.trials == (1, 2)
    assert push.base_versions == [4, 7]
    assert push.gradient == GRADIENT
    assert (push.closed_at, push.versions, push.staleness) == (None, None, None)
    named = [(trial.push_replica, trial.push_sequence) for trial in ledger.trials()]
    assert named == [(0, 1), (0, 1), (None, None)]


def test_push_replaced_carries_the_same_trials_under_the_same_name(ledger, owner):
    sequence = ledger.open_push(owner, record(ledger, owner, 2), (4, 7), GRADIENT)
    [before] = ledger.pushes()

    ledger.replace_push(owner, sequence, (5, 9), OTHER_GRADIENT)

    [push] = ledger.pushes()
    assert push == replace(before, base_versions=[5, 9], gradient=OTHER_GRADIENT)


@pytest.mark.parametrize("is_closed", [False, True], ids=["not opened", "closed"])
def test_push_that_is_not_open_is_not_replaced(ledger, owner, contents, is_closed):
    sequence = 1
    if is_closed:
        sequence = ledger.open_push(owner, record(ledger, owner, 1), (4, 7), GRADIENT)
        ledger.close_push(owner, sequence, (6, 8), (1, 0))
    before = contents()

    with pytest.raises(WrongState, match="push r0#1 is not open"):
        ledger.replace_push(owner, sequence, (5, 9), OTHER_GRADIENT)

    assert contents() == before


def test_push_closed_keeps_the_answers_and_lets_the_gradient_go(ledger, owner):
    sequence = ledger.open_push(owner, record(ledger, owner, 2), (4, 7), GRADIENT)

    ledger.close_push(owner, sequence, (6, 8), (1, 0))

    [push] = ledger.pushes()
    assert push.gradient is None
    assert push.versions == [6, 8]
    assert push.staleness == [1, 0]
    assert push.opened_at < push.closed_at
    assert (push.trials, push.base_versions) == ((1, 2), [4, 7])


def test_push_closed_again_changes_nothing(ledger, owner, contents):
    sequence = ledger.open_push(owner, record(ledger, owner, 2), (4, 7), GRADIENT)
    ledger.close_push(owner, sequence, (6, 8), (1, 0))
    before = contents()

    ledger.close_push(owner, sequence, (9, 9), (3, 3))

    assert contents() == before


def test_push_that_was_never_opened_cannot_be_closed(ledger, owner, contents):
    ledger.open_push(owner, record(ledger, owner, 1), (4, 7), GRADIENT)
    other = ledger.enlist(1)
    before = contents()

    with pytest.raises(WrongState, match=r"^push r0#2 is not in the ledger$"):
        ledger.close_push(owner, 2, (6, 8), (1, 0))
    with pytest.raises(WrongState, match=r"^push r1#1 is not in the ledger$"):
        ledger.close_push(other, 1, (6, 8), (1, 0))

    assert contents() == before


def test_push_while_another_is_open_is_refused(ledger, owner, contents):
    trials = record(ledger, owner, 2)
    ledger.open_push(owner, trials[:1], (4, 7), GRADIENT)
    before = contents()

    with pytest.raises(WrongState, match=r"^push r0#1 is open; close it before the next$"):
        ledger.open_push(owner, trials[1:], (4, 7), GRADIENT)

    assert contents() == before


def test_pushes_of_two_replicas_may_be_open_at_once(ledger, owner):
    other = ledger.enlist(1)
    trials, others = record(ledger, owner, 2), record(ledger, other, 1)

    sequences = [
        ledger.open_push(owner, trials, (4, 7), GRADIENT),
        ledger.open_push(other, others, (4, 7), GRADIENT[:4]),
    ]

    assert sequences == [1, 1]
    assert [(push.replica, push.trials) for push in ledger.pushes()] == [(0, (1, 2)), (1, (3,))]
    ledger.close_push(other, 1, (5, 8), (0, 0))
    assert [push.gradient for push in ledger.pushes()] == [GRADIENT, None]


def test_sequence_grows_by_one_and_a_new_life_goes_on_with_it(ledger):
    sequences = []
    for _ in range(3):
        life = ledger.enlist(0)
        for _ in range(2):
            sequences.append(ledger.open_push(life, record(ledger, life, 1), (0,), GRADIENT))
            ledger.close_push(life, sequences[-1], (1,), (0,))

    assert sequences == [1, 2, 3, 4, 5, 6]
    assert [push.incarnation for push in ledger.pushes()] == [1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize(
    "choose",
    [
        lambda mine, theirs, started, carried: [],
        lambda mine, theirs, started, carried: [*mine, carried],
        lambda mine, theirs, started, carried: [*mine, started],
        lambda mine, theirs, started, carried: [*mine, theirs],
        lambda mine, theirs, started, carried: [*mine, 99],
        lambda mine, theirs, started, carried: [mine[0], mine[0]],
    ],
    ids=["none", "in a push already", "not recorded", "another's", "not reserved", "twice"],
)
def test_push_of_trials_that_it_may_not_carry_is_refused_and_uses_up_no_sequence(
    ledger, owner, contents, choose
):
    [carried] = record(ledger, owner, 1)
    ledger.close_push(owner, ledger.open_push(owner, [carried], (0,), GRADIENT), (1,), (0,))
    mine = record(ledger, owner, 2)
    [theirs] = record(ledger, ledger.enlist(1), 1)
    [place] = ledger.reserve(owner, 1)
    ledger.start(owner, [start_of(place.trial)])
    before = contents()

    refused = r"^push r0#2 of trials \[.*\]: each must be recorded, replica 0's, and in no push yet"
    with pytest.raises(WrongState, match=refused):
        ledger.open_push(owner, choose(mine, theirs, place.trial, carried), (1,), GRADIENT)

    assert contents() == before
    assert ledger.open_push(owner, mine, (1,), GRADIENT) == 2


def test_push_of_a_trial_of_an_earlier_life_is_refused(ledger, owner, contents):
    trials = record(ledger, owner, 1)
    newer = ledger.enlist(0)
    before = contents()

    with pytest.raises(WrongState, match=r"^push r0#1 of trials \[1\]: .*; 0 are$"):
        ledger.open_push(newer, trials, (0,), GRADIENT)

    assert contents() == before


def test_push_of_an_earlier_life_can_be_closed_by_the_next(ledger, owner):
    sequence = ledger.open_push(owner, record(ledger, owner, 1), (0,), GRADIENT)
    newer = ledger.enlist(0)

    ledger.close_push(newer, sequence, (1,), (0,))

    [push] = ledger.pushes()
    assert (push.incarnation, push.gradient, push.versions) == (1, None, [1])


def test_push_of_infeasible_trials_carries_them(ledger, owner):
    [place] = ledger.reserve(owner, 1)
    ledger.start(owner, [start_of(place.trial)])
    ledger.record(owner, place.trial, infeasible())

    ledger.open_push(owner, [place.trial], (0,), GRADIENT)

    assert ledger.pushes()[0].trials == (1,)


def test_pushes_of_the_same_trials_at_once_carry_them_once(ledger, owner, open_ledger):
    trials = record(ledger, owner, 2)
    ledgers = [ledger, open_ledger()] * 4
    barrier = threading.Barrier(len(ledgers))

    def open_push(one):
        barrier.wait(timeout=10)
        try:
            return one.open_push(owner, trials, (0,), GRADIENT)
        except WrongState as error:
            return str(error)

    with ThreadPoolExecutor(len(ledgers)) as threads:
        answers = list(threads.map(open_push, ledgers))

    assert answers.count(1) == 1
    assert answers.count("push r0#1 is open; close it before the next") == len(ledgers) - 1
    assert [(push.sequence, push.trials) for push in ledger.pushes()] == [(1, (1, 2))]


# --- What a past life of a replica may still do: nothing.

# A round of one trial: every method that is told its caller, in the order of a replica's calls.
ROUND = {
    "reserve": lambda ledger, owner: ledger.reserve(owner, 1),
    "start": lambda ledger, owner: ledger.start(owner, [start_of(1)]),
    "record": lambda ledger, owner: ledger.record(owner, 1, completed(0.5)),
    "open_push": lambda ledger, owner: ledger.open_push(owner, [1], (0,), GRADIENT),
    "replace_push": lambda ledger, owner: ledger.replace_push(owner, 1, (1,), OTHER_GRADIENT),
    "close_push": lambda ledger, owner: ledger.close_push(owner, 1, (1,), (0,)),
}


def run_up_to(method, ledger, owner):
    for earlier in itertools.takewhile(lambda name: name != method, ROUND):
        ROUND[earlier](ledger, owner)


def test_every_method_that_is_told_its_caller_is_in_the_round():
    methods = inspect.getmembers(Ledger, inspect.isfunction)

    told = {name for name, method in methods if "owner" in inspect.signature(method).parameters}

    assert told == set(ROUND)


@pytest.mark.parametrize("method", ROUND)
def test_past_life_of_a_replica_is_refused_and_changes_nothing(ledger, owner, contents, method):
    run_up_to(method, ledger, owner)
    ledger.enlist(0)
    before = contents()

    with pytest.raises(
        NotOwner, match=r"^replica 0, incarnation 1: must be the newest, 2; this life .* is over"
    ):
        ROUND[method](ledger, owner)

    assert contents() == before


@pytest.mark.parametrize("method", ROUND)
def test_newest_life_of_a_replica_is_served_whatever_becomes_of_others(
    ledger, owner, contents, method
):
    run_up_to(method, ledger, owner)
    ledger.enlist(1)
    ledger.enlist(1)
    before = contents()

    ROUND[method](ledger, owner)

    assert contents() != before


def test_errors_of_the_ledger_are_drawn_in_one_tree():
    drawn = set((LedgerError.__doc__ or "").split())

    leaves = {error.__name__ for error in LedgerError.__subclasses__()}

    assert {"NotOwner", "WrongState"} <= leaves <= drawn
