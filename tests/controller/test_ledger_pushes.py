"""The ledger's laws of pushes: a reward is in one push, whose gradient is kept until it closes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import sqlalchemy as sql
from support.children import completed, infeasible, start_of
from support.rounds import GRADIENT, OTHER_GRADIENT, at_once, record, record_one

from controller.database import PUSHES
from controller.errors import WrongState


@pytest.fixture
def owner(ledger):
    return ledger.enlist(0, 1).owner


def test_push_opened_is_kept_with_its_trials_and_its_gradient(ledger, owner):
    trials = record(ledger, owner, [completed(0.5)] * 3)

    sequence = ledger.open_push(owner, trials[:2], (4, 7), (3, 6), GRADIENT)

    [push] = ledger.pushes()
    assert (push.replica, push.sequence, push.incarnation) == (0, sequence, 1)
    assert push.trials == (1, 2)
    assert (push.base_versions, push.sample_versions) == ([4, 7], [3, 6])
    assert push.gradient == GRADIENT
    assert (push.closed_at, push.versions) == (None, None)
    assert (push.staleness, push.sample_staleness) == (None, None)
    named = [(trial.push_replica, trial.push_sequence) for trial in ledger.trials()]
    assert named == [(0, 1), (0, 1), (None, None)]


def test_push_replaced_carries_the_same_trials_under_the_same_name(ledger, owner):
    sequence = ledger.open_push(
        owner, record(ledger, owner, [completed(0.5)] * 2), (4, 7), (3, 6), GRADIENT
    )
    [before] = ledger.pushes()

    ledger.replace_push(owner, sequence, (5, 2), (3, 2), OTHER_GRADIENT)

    [push] = ledger.pushes()
    assert push == replace(
        before, base_versions=[5, 2], sample_versions=[3, 2], gradient=OTHER_GRADIENT
    )


@pytest.mark.parametrize("is_closed", [False, True], ids=["not opened", "closed"])
def test_push_that_is_not_open_is_not_replaced(ledger, owner, contents, is_closed):
    sequence = 1
    if is_closed:
        sequence = ledger.open_push(
            owner, record(ledger, owner, [completed(0.5)]), (4, 7), (3, 6), GRADIENT
        )
        ledger.close_push(owner, sequence, (6, 8), (1, 0), (2, 1))
    before = contents()

    with pytest.raises(WrongState, match="push r0#1 is not open"):
        ledger.replace_push(owner, sequence, (5, 9), (3, 6), OTHER_GRADIENT)

    assert contents() == before


def test_push_closed_keeps_the_answers_and_lets_the_gradient_go(ledger, owner):
    sequence = ledger.open_push(
        owner, record(ledger, owner, [completed(0.5)] * 2), (4, 7), (3, 6), GRADIENT
    )

    ledger.close_push(owner, sequence, (6, 8), (1, 0), (2, 1))

    [push] = ledger.pushes()
    assert push.gradient is None
    assert push.versions == [6, 8]
    assert (push.staleness, push.sample_staleness) == ([1, 0], [2, 1])
    assert push.opened_at < push.closed_at
    assert push.trials == (1, 2)
    assert (push.base_versions, push.sample_versions) == ([4, 7], [3, 6])


def test_push_closed_again_changes_nothing(ledger, owner, contents):
    sequence = ledger.open_push(
        owner, record(ledger, owner, [completed(0.5)] * 2), (4, 7), (3, 6), GRADIENT
    )
    ledger.close_push(owner, sequence, (6, 8), (1, 0), (2, 1))
    before = contents()

    ledger.close_push(owner, sequence, (9, 9), (3, 3), (4, 4))

    assert contents() == before


def test_push_that_was_never_opened_cannot_be_closed(ledger, owner, contents):
    ledger.open_push(owner, record(ledger, owner, [completed(0.5)]), (4, 7), (3, 6), GRADIENT)
    other = ledger.enlist(1, 1).owner
    before = contents()

    with pytest.raises(WrongState, match=r"^push r0#2 is not in the ledger$"):
        ledger.close_push(owner, 2, (6, 8), (1, 0), (2, 1))
    with pytest.raises(WrongState, match=r"^push r1#1 is not in the ledger$"):
        ledger.close_push(other, 1, (6, 8), (1, 0), (2, 1))

    assert contents() == before


def test_push_while_another_is_open_is_refused(ledger, owner, contents):
    trials = record(ledger, owner, [completed(0.5)] * 2)
    ledger.open_push(owner, trials[:1], (4, 7), (3, 6), GRADIENT)
    before = contents()

    with pytest.raises(WrongState, match=r"^push r0#1 is open; close it before the next$"):
        ledger.open_push(owner, trials[1:], (4, 7), (3, 6), GRADIENT)

    assert contents() == before


def test_second_open_push_of_a_replica_is_refused_by_the_database_itself(
    ledger, owner, database, contents
):
    ledger.open_push(owner, record(ledger, owner, [completed(0.5)]), (4, 7), (3, 6), GRADIENT)
    [row] = contents()["pushes"]

    with database.begin() as connection, pytest.raises(sql.exc.IntegrityError):
        connection.execute(PUSHES.insert(), [row | {"sequence": 2}])


def test_pushes_of_two_replicas_may_be_open_at_once(ledger, owner):
    other = ledger.enlist(1, 1).owner
    trials, others = (
        record(ledger, owner, [completed(0.5)] * 2),
        record(ledger, other, [completed(0.5)]),
    )

    sequences = [
        ledger.open_push(owner, trials, (4, 7), (3, 6), GRADIENT),
        ledger.open_push(other, others, (4, 7), (3, 6), GRADIENT[:4]),
    ]

    assert sequences == [1, 1]
    assert [(push.replica, push.trials) for push in ledger.pushes()] == [(0, (1, 2)), (1, (3,))]
    ledger.close_push(other, 1, (5, 8), (0, 0), (1, 1))
    assert [push.gradient for push in ledger.pushes()] == [GRADIENT, None]


def test_sequence_grows_by_one_and_a_new_life_goes_on_with_it(ledger):
    sequences = []
    for _ in range(3):
        life = ledger.enlist(0, 1).owner
        for _ in range(2):
            sequences.append(
                ledger.open_push(life, record(ledger, life, [completed(0.5)]), (0,), (0,), GRADIENT)
            )
            ledger.close_push(life, sequences[-1], (1,), (0,), (0,))

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
    [carried] = record(ledger, owner, [completed(0.5)])
    ledger.close_push(
        owner, ledger.open_push(owner, [carried], (0,), (0,), GRADIENT), (1,), (0,), (0,)
    )
    mine = record(ledger, owner, [completed(0.5)] * 2)
    [theirs] = record(ledger, ledger.enlist(1, 1).owner, [completed(0.5)])
    [place] = ledger.reserve(owner, 1)
    ledger.start(owner, [start_of(place.trial)])
    before = contents()

    refused = r"^push r0#2 of trials \[.*\]: each must be recorded, replica 0's, and in no push yet"
    with pytest.raises(WrongState, match=refused):
        ledger.open_push(owner, choose(mine, theirs, place.trial, carried), (1,), (1,), GRADIENT)

    assert contents() == before
    assert ledger.open_push(owner, mine, (1,), (1,), GRADIENT) == 2


def test_push_of_an_earlier_life_can_be_closed_by_the_next(ledger, owner):
    sequence = ledger.open_push(
        owner, record(ledger, owner, [completed(0.5)]), (0,), (0,), GRADIENT
    )
    newer = ledger.enlist(0, 1).owner

    ledger.close_push(newer, sequence, (1,), (0,), (0,))

    [push] = ledger.pushes()
    assert (push.incarnation, push.gradient, push.versions) == (1, None, [1])


def test_acknowledged_are_the_newest_versions_of_each_shard_that_closed_pushes_tell(ledger, owner):
    other, third = ledger.enlist(1, 1).owner, ledger.enlist(2, 1).owner
    assert ledger.acknowledged(2) == (0, 0)
    for replica, versions in ((owner, (3, 8)), (other, (7, 2)), (owner, (4, 4))):
        trials = record(ledger, replica, [completed(0.5)])
        sequence = ledger.open_push(replica, trials, (0, 0), (0, 0), GRADIENT)
        ledger.close_push(replica, sequence, versions, (0, 0), (0, 0))
    trials = record(ledger, third, [completed(0.5)])
    ledger.open_push(third, trials, (99, 99), (99, 99), GRADIENT)

    assert ledger.acknowledged(2) == (7, 8)


def test_acknowledged_versions_of_another_number_of_shards_are_left_out(ledger, owner):
    for versions in ((9, 9, 9), (2, 1), (8,)):
        sequence = ledger.open_push(
            owner, record(ledger, owner, [completed(0.5)]), (0,), (0,), GRADIENT
        )
        ledger.close_push(owner, sequence, versions, (0,), (0,))

    assert ledger.acknowledged(2) == (2, 1)


def test_push_of_infeasible_trials_carries_them(ledger, owner):
    [place] = ledger.reserve(owner, 1)
    ledger.start(owner, [start_of(place.trial)])
    record_one(ledger, owner, place.trial, infeasible())

    ledger.open_push(owner, [place.trial], (0,), (0,), GRADIENT)

    assert ledger.pushes()[0].trials == (1,)


def test_pushes_of_the_same_trials_at_once_carry_them_once(ledger, owner, open_ledger):
    trials = record(ledger, owner, [completed(0.5)] * 2)
    ledgers = [ledger, open_ledger()] * 4

    answers = at_once(
        [lambda one=one: one.open_push(owner, trials, (0,), (0,), GRADIENT) for one in ledgers]
    )

    assert answers == [1] * len(ledgers)
    assert [(push.sequence, push.trials) for push in ledger.pushes()] == [(1, (1, 2))]
