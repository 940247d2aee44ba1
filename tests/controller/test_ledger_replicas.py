"""The ledger's laws of replicas: which life may speak, what it takes over, what it may repeat."""

from __future__ import annotations

import inspect

import pytest
import sqlalchemy as sql
from support.children import completed, infeasible, start_of
from support.rounds import GRADIENT, OTHER_GRADIENT, ROUND, begin, record, record_one, run_up_to

from controller.database import REPLICAS
from controller.errors import LedgerError, NotOwner, Superseded
from controller.ledger import Ledger
from controller.trial import LEASE_S, Owner, Reservation, Stamp, Start


@pytest.fixture
def owner(ledger):
    return ledger.enlist(0, 1).owner


@pytest.fixture
def lease_until(database):
    """Give a function that reads until when a replica keeps its trials."""

    def read(replica):
        query = sql.select(REPLICAS.c.lease_until).where(REPLICAS.c.replica == replica)
        with database.connect() as connection:
            return connection.execute(query).scalar_one()

    return read


def test_every_method_that_is_told_its_caller_is_in_the_round():
    methods = inspect.getmembers(Ledger, inspect.isfunction)

    told = {name for name, method in methods if "owner" in inspect.signature(method).parameters}

    assert {name for name in told if not name.startswith("_")} == set(ROUND)


def test_errors_of_the_ledger_are_drawn_in_one_tree():
    drawn = set((LedgerError.__doc__ or "").split())

    leaves = {error.__name__ for error in LedgerError.__subclasses__()}

    assert {"Superseded", "NotOwner", "StillAlive", "WrongState"} <= leaves <= drawn


# --- Which life may speak.


@pytest.mark.parametrize("method", ROUND)
def test_past_life_of_a_replica_is_refused_and_changes_nothing(ledger, owner, contents, method):
    run_up_to(method, ledger, owner)
    ledger.enlist(0, 1)
    before = contents()

    with pytest.raises(
        Superseded, match=r"^replica 0, incarnation 1: must be the newest, 2; this life .* is over"
    ):
        ROUND[method](ledger, owner)

    assert contents() == before


@pytest.mark.parametrize("method", ROUND)
def test_newest_life_of_a_replica_is_served_whatever_becomes_of_others(
    ledger, owner, clock, contents, method
):
    run_up_to(method, ledger, owner)
    ledger.enlist(1, 1)
    ledger.enlist(1, 1)
    clock.advance(LEASE_S / 2)
    before = contents()

    ROUND[method](ledger, owner)

    assert contents() != before


# --- Calls made again, because their answer was lost.


@pytest.mark.parametrize("method", ROUND)
def test_call_made_again_gives_the_same_answer_and_changes_nothing(ledger, owner, contents, method):
    run_up_to(method, ledger, owner)
    first = ROUND[method](ledger, owner)
    before = contents()

    assert ROUND[method](ledger, owner) == first

    assert contents() == before


def test_reserve_made_again_gives_what_was_taken_over_and_what_was_new(ledger, owner, contents):
    begin(ledger, owner, 2)
    other = ledger.enlist(1, 1).owner
    [held] = begin(ledger, other, 1)
    ledger.enlist(0, 1)
    first = ledger.reserve(other, 4, [held])
    before = contents()

    assert ledger.reserve(other, 4, [held]) == first

    assert contents() == before
    assert [(place.trial, place.start is None) for place in first] == [
        (1, False),
        (2, False),
        (4, True),
        (5, True),
    ]
    assert ledger.progress().num_begun == 5


def test_trials_whose_reservation_was_lost_come_again_before_new_ones_and_count_once(ledger, owner):
    lost = ledger.reserve(owner, 3)

    again = ledger.reserve(owner, 2)
    more = ledger.reserve(owner, 2, [place.trial for place in again])

    assert again + more[:1] == lost
    assert more[1:] == [Reservation(4, 1)]
    assert ledger.progress().num_begun == 4


def test_start_with_known_rewards_made_again_gives_the_same_stamps(ledger, owner, contents):
    record(ledger, owner, [completed(0.5)])
    ledger.reserve(owner, 3)
    starts = [start_of(2, size=1), start_of(3, size=7), start_of(4, size=1)]
    first = ledger.start(owner, starts, reuse=True)
    before = contents()

    assert ledger.start(owner, starts, reuse=True) == first

    assert contents() == before
    assert set(first) == {2, 4}


def test_open_push_made_again_keeps_the_first_gradient(ledger, owner, contents):
    trials = record(ledger, owner, [completed(0.5)] * 2)
    assert ledger.open_push(owner, trials, (4,), (3,), GRADIENT) == 1
    before = contents()

    assert ledger.open_push(owner, trials[::-1], (5,), (4,), OTHER_GRADIENT) == 1

    assert contents() == before


# --- What a new life takes over.


def test_first_life_of_a_replica_takes_over_nothing(ledger):
    record(ledger, ledger.enlist(1, 1).owner, [completed(0.5)])

    enlistment = ledger.enlist(0, 1)

    assert enlistment.owner == Owner(0, 1)
    assert (enlistment.open_push, enlistment.carried, enlistment.unpushed) == (None, [], [])


def test_new_life_takes_over_an_open_push_with_its_trials(ledger, owner):
    trials = record(ledger, owner, [completed(0.5), infeasible(), completed(0.25)])
    ledger.open_push(owner, trials[1:], (4, 7), (3, 6), GRADIENT)

    enlistment = ledger.enlist(0, 1)

    assert [enlistment.open_push] == ledger.pushes()
    assert enlistment.open_push.gradient == GRADIENT
    assert enlistment.carried == ledger.trials()[1:]
    assert enlistment.unpushed == ledger.trials()[:1]


def test_new_life_takes_over_a_push_as_it_was_replaced(ledger, owner):
    trials = record(ledger, owner, [completed(0.5)])
    ledger.open_push(owner, trials, (4, 7), (3, 6), GRADIENT)
    ledger.replace_push(owner, 1, (5, 2), (3, 2), OTHER_GRADIENT)

    push = ledger.enlist(0, 1).open_push

    assert (push.base_versions, push.sample_versions) == ([5, 2], [3, 2])
    assert push.gradient == OTHER_GRADIENT


def test_new_life_does_not_take_over_a_push_that_is_closed(ledger, owner):
    trials = record(ledger, owner, [completed(0.5)])
    ledger.close_push(
        owner, ledger.open_push(owner, trials, (4,), (4,), GRADIENT), (5,), (0,), (0,)
    )

    enlistment = ledger.enlist(0, 1)

    assert (enlistment.open_push, enlistment.carried, enlistment.unpushed) == (None, [], [])


def test_new_life_takes_over_unpushed_trials_in_the_order_of_their_results(ledger, owner):
    begin(ledger, owner, 4)
    for trial in (3, 1, 4):
        record_one(ledger, owner, trial, completed(trial / 4))
    record(ledger, ledger.enlist(1, 1).owner, [completed(0.5)])

    enlistment = ledger.enlist(0, 1)

    assert [trial.trial for trial in enlistment.unpushed] == [3, 1, 4]
    assert {trial.incarnation for trial in enlistment.unpushed} == {2}
    rows = {trial.trial: trial for trial in ledger.trials()}
    assert enlistment.unpushed == [rows[trial] for trial in (3, 1, 4)]
    assert ledger.open_push(enlistment.owner, [3, 1, 4], (0,), (0,), GRADIENT) == 1


def test_push_of_an_earlier_life_can_be_replaced_and_closed_by_the_next(ledger, owner):
    sequence = ledger.open_push(
        owner, record(ledger, owner, [completed(0.5)]), (0,), (0,), GRADIENT
    )
    newer = ledger.enlist(0, 1).owner

    ledger.replace_push(newer, sequence, (1,), (0,), OTHER_GRADIENT)
    assert ledger.pushes()[0].gradient == OTHER_GRADIENT
    ledger.close_push(newer, sequence, (2,), (0,), (1,))

    [push] = ledger.pushes()
    assert (push.incarnation, push.gradient, push.versions) == (1, None, [2])


# --- Leases.


@pytest.mark.parametrize("method", ROUND)
def test_every_call_of_a_replica_renews_its_lease(ledger, owner, clock, lease_until, method):
    run_up_to(method, ledger, owner)
    clock.advance(LEASE_S / 2)

    ROUND[method](ledger, owner)

    assert lease_until(0) == pytest.approx(clock() + LEASE_S, abs=0.1)


def test_enlisting_gives_a_lease(ledger, clock, lease_until):
    for _ in range(2):
        clock.advance(10 * LEASE_S)
        ledger.enlist(0, 1)
        assert lease_until(0) == pytest.approx(clock() + LEASE_S, abs=0.1)


def test_lease_is_not_written_in_every_call(ledger, owner, clock, lease_until):
    before = lease_until(0)
    clock.advance(1)

    ledger.renew(owner)

    assert lease_until(0) == before


@pytest.mark.parametrize("interval_s", [5, 14, 16, LEASE_S / 4, LEASE_S * 0.8])
def test_replica_that_gives_signs_keeps_its_trials_for_ever(ledger, owner, clock, interval_s):
    begin(ledger, owner, 2)
    other = ledger.enlist(1, 1).owner
    for _ in range(int(3 * LEASE_S / interval_s) + 1):
        clock.advance(interval_s)
        ledger.renew(owner)
        assert [place.trial for place in ledger.reserve(other, 1)] == [3]

    record_one(ledger, owner, 1, completed(0.5))
    record_one(ledger, owner, 2, completed(0.5))


def test_replica_keeps_its_trials_for_seven_eighths_of_a_lease_after_a_sign(ledger, owner, clock):
    begin(ledger, owner, 1)
    other = ledger.enlist(1, 1).owner
    clock.advance(LEASE_S / 8 - 1)
    ledger.renew(owner)

    clock.advance(LEASE_S * 7 / 8)
    assert [place.trial for place in ledger.reserve(other, 1)] == [2]
    clock.advance(2)
    assert next(place.trial for place in ledger.reserve(other, 9, [2])) == 1


# --- Trials whose owner is gone.


def sampled(trial):
    """Give what was sampled for a trial, in numbers that a rounding would change."""
    return Start(
        trial=trial,
        decisions=(("type", 1), ("anchors", 2**79 + trial)),
        log_probs=(-1 / 3, -0.1 * trial),
        architecture={"layers": [{"type": 1, "anchors": [trial, None]}], "name": "ü"},
        architecture_text=f"trial {trial}",
        seed=2**63 - 1 - trial,
        versions=(trial, 2**31 + trial),
    )


# How replica 0, whose trials are 1 to 4, loses them.
LOSSES = {
    "it has a new life": lambda ledger, owner, clock: ledger.enlist(0, 1),
    "its lease ended": lambda ledger, owner, clock: clock.advance(LEASE_S + 1),
    "it gave them back": lambda ledger, owner, clock: ledger.release(owner, [1, 2, 3, 4]),
    "the search has a new life": lambda ledger, owner, clock: ledger.begin_life(
        "there", 2, last=ledger.lives()[-1]
    ),
}


@pytest.mark.parametrize("replica", [0, 1])
@pytest.mark.parametrize("lose", LOSSES.values(), ids=LOSSES)
def test_trials_whose_owner_is_gone_are_reserved_first_with_what_was_sampled_for_them(
    ledger, owner, clock, lose, replica
):
    ledger.reserve(owner, 5)
    ledger.start(owner, [sampled(4), sampled(2), sampled(1), sampled(5)])
    record_one(ledger, owner, 5, completed(0.5))
    lose(ledger, owner, clock)
    newer = ledger.enlist(replica, ledger.lives()[-1].life).owner

    places = ledger.reserve(newer, 3)
    more = ledger.reserve(newer, 3, [place.trial for place in places])

    assert places == [
        Reservation(1, 1, sampled(1)),
        Reservation(2, 1, sampled(2)),
        Reservation(3, 1),
    ]
    assert more == [Reservation(4, 1, sampled(4)), Reservation(6, 1), Reservation(7, 1)]
    assert ledger.progress().num_begun == 7
    rows = {trial.trial: trial for trial in ledger.trials()}
    assert {(rows[t].replica, rows[t].incarnation) for t in (1, 2, 3, 4, 6, 7)} == {newer}
    assert (rows[5].replica, rows[5].state) == (0, "completed")


def test_trial_that_was_taken_over_is_recorded_by_its_new_owner_alone(ledger, owner, contents):
    begin(ledger, owner, 2)
    ledger.release(owner, [1, 2])
    other = ledger.enlist(1, 1).owner
    ledger.reserve(other, 1)
    before = contents()

    assert ledger.record(owner, {1: completed(0.5), 2: completed(0.5)}) == {}
    with pytest.raises(NotOwner, match=r"^trial 1 belongs to replica 1, incarnation 1; replica 0"):
        ledger.start(owner, [start_of(1)])
    with pytest.raises(NotOwner, match=r"^trial 2 belongs to replica 0, incarnation 0; replica 0"):
        ledger.start(owner, [start_of(2)])

    assert contents() == before
    assert record_one(ledger, other, 1, completed(0.25)) == Stamp(0.25, 0.0)


def test_replica_whose_lease_ended_keeps_what_nobody_has_taken(ledger, owner, clock):
    begin(ledger, owner, 2)
    other = ledger.enlist(1, 1).owner
    clock.advance(LEASE_S + 1)
    assert [place.trial for place in ledger.reserve(other, 1)] == [1]

    results = {1: completed(0.9), 2: completed(0.5)}
    assert ledger.record(owner, results) == {2: Stamp(0.5, 0.0)}
    assert ledger.record(owner, results) == {2: Stamp(0.5, 0.0)}


@pytest.mark.parametrize("num_trials", [1, 2, 9])
def test_trials_of_a_living_owner_are_not_given_to_another(ledger, owner, num_trials):
    begin(ledger, owner, 1)
    ledger.reserve(owner, 2, [1])
    other = ledger.enlist(1, 1).owner

    taken = [place.trial for place in ledger.reserve(other, num_trials)]

    assert taken == list(range(4, 11))[:num_trials]


def test_recorded_trials_are_not_reserved_again_whoever_is_gone(ledger, owner):
    record(ledger, owner, [completed(0.5), infeasible()])
    ledger.enlist(0, 1)

    newer = ledger.enlist(1, 1).owner

    assert [place.trial for place in ledger.reserve(newer, 2)] == [3, 4]


def test_release_gives_back_what_is_in_flight_and_ones_own_alone(ledger, owner, contents):
    trials = record(ledger, owner, [completed(0.5)])
    [started] = begin(ledger, owner, 1)
    [reserved] = [place.trial for place in ledger.reserve(owner, 1, [started])]
    other = ledger.enlist(1, 1).owner
    [theirs] = begin(ledger, other, 1)
    before = {row["trial"]: row for row in contents()["trials"]}

    ledger.release(owner, [*trials, started, reserved, theirs, 99])

    after = {row["trial"]: row for row in contents()["trials"]}
    assert {trial for trial in before if before[trial] != after[trial]} == {started, reserved}
    assert [place.trial for place in ledger.reserve(other, 2, [theirs])] == [started, reserved]


def test_trials_taken_over_leave_room_in_the_budget_for_as_many_fewer(ledger, owner):
    begin(ledger, owner, 9)
    newer = ledger.enlist(0, 1).owner

    assert len(ledger.reserve(newer, 20)) == 10

    assert ledger.progress().num_begun == 10


def test_trials_taken_over_when_the_budget_is_spent_are_all_that_is_given(ledger, owner):
    begin(ledger, owner, 10)
    other = ledger.enlist(1, 1).owner
    assert ledger.reserve(other, 3) == []

    ledger.release(owner, [7])

    assert [place.trial for place in ledger.reserve(other, 3)] == [7]
