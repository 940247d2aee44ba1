"""The ledger's laws of lives: a search is run by one process at a time, and goes on in another."""

from __future__ import annotations

from dataclasses import replace

import pytest
import sqlalchemy as sql
from support.children import completed
from support.rounds import ROUND, at_once, begin, record, run_up_to

from child.metric import PERPLEXITY
from controller.baseline import Baseline
from controller.database import SEARCH
from controller.errors import LedgerUnavailable, StillAlive, Superseded, WrongState
from controller.ledger import Ledger
from controller.schedule import ScheduleSettings

NUM_THREADS = 8

# What a life of a search calls, told its own number.
CALLS = {
    "beat": lambda ledger, life: ledger.beat(life),
    "publish": lambda ledger, life: ledger.publish(life, 0, "elsewhere:1"),
    "enlist": lambda ledger, life: ledger.enlist(0, life),
    "enlist a new one": lambda ledger, life: ledger.enlist(9, life),
    "end": lambda ledger, life: ledger.end(life, "failed", "of old age"),
}


def begin_life_after_a_killed_one(ledger):
    """Begin a life as whoever has watched the newest one for long, and seen no sign."""
    return ledger.begin_life("there", 2, last=ledger.lives()[-1])


# --- One life at a time.


def test_first_life_of_a_search_is_1_and_says_whose_it_is(url, search, clock):
    with Ledger.create(url, search, clock) as ledger:
        assert ledger.lives() == []

        assert ledger.begin_life("host-1", 4321) == 1

        [life] = ledger.lives()
    assert (life.life, life.host, life.process, life.num_beats) == (1, "host-1", 4321, 0)
    assert life.began_at == life.beat_at > 1000
    assert life.ended_at is None
    assert str(life) == "process 4321 on host-1"


def test_life_while_the_one_before_has_not_ended_is_refused(ledger, contents):
    ledger.enlist(0, 1)
    before = contents()

    with pytest.raises(StillAlive, match=r"^the search is being run by process 1 on here$"):
        ledger.begin_life("there", 2)

    assert contents() == before


def test_life_may_begin_when_the_one_before_gave_no_sign_since_it_was_looked_at(ledger):
    ledger.beat(1)
    [last] = ledger.lives()

    assert ledger.begin_life("there", 2, last=last) == 2

    assert [(life.life, life.host, life.num_beats) for life in ledger.lives()] == [
        (1, "here", 1),
        (2, "there", 0),
    ]


def test_life_is_refused_when_one_beat_came_in_between(ledger, contents):
    [last] = ledger.lives()
    ledger.beat(1)
    before = contents()

    with pytest.raises(StillAlive, match=r"^the search is being run by process 1 on here$"):
        ledger.begin_life("there", 2, last=last)

    assert contents() == before


def test_life_is_refused_when_another_life_than_the_watched_one_is_the_newest(ledger, contents):
    [last] = ledger.lives()
    ledger.begin_life("there", 2, last=last)
    before = contents()

    with pytest.raises(StillAlive, match=r"^the search is being run by process 2 on there$"):
        ledger.begin_life("third", 3, last=last)

    assert contents() == before


def test_life_after_one_that_has_ended_begins_at_once(ledger):
    ledger.end(1, "stopped", "by hand")

    assert ledger.begin_life("there", 2) == 2

    progress = ledger.progress()
    assert (progress.state, progress.reason, progress.ended_at) == ("running", "", None)


def test_lives_that_begin_at_once_are_one(ledger, open_ledger):
    [last] = ledger.lives()
    ledgers = [ledger, open_ledger()] * (NUM_THREADS // 2)

    def begin_life(one, process):
        try:
            return one.begin_life("there", process, last=last)
        except StillAlive:
            return None

    begun = at_once([lambda a=a: begin_life(*a) for a in zip(ledgers, range(2, 10), strict=True)])

    assert sorted(begun, key=str) == [2] + [None] * (NUM_THREADS - 1)
    assert [life.life for life in ledger.lives()] == [1, 2]


# --- What a past life may still do: nothing.


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_past_life_of_a_search_is_refused_and_changes_nothing(ledger, contents, call):
    begin(ledger, ledger.enlist(0, 1).owner, 2)
    begin_life_after_a_killed_one(ledger)
    before = contents()

    refused = r"^life 1 of the search: must be the newest, 2; the search was resumed elsewhere"
    with pytest.raises(Superseded, match=refused):
        call(ledger, 1)

    assert contents() == before


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_newest_life_of_a_search_is_served(ledger, contents, call):
    life = begin_life_after_a_killed_one(ledger)
    before = contents()

    call(ledger, life)

    assert contents() != before


@pytest.mark.parametrize("method", ROUND)
def test_replica_of_a_past_life_of_the_search_is_refused_and_changes_nothing(
    ledger, contents, method
):
    owner = ledger.enlist(0, 1).owner
    run_up_to(method, ledger, owner)
    begin_life_after_a_killed_one(ledger)
    before = contents()

    with pytest.raises(Superseded, match=r"^replica 0, incarnation 1: must be the newest, 2; this"):
        ROUND[method](ledger, owner)

    assert contents() == before


def test_replica_of_a_new_life_has_a_higher_incarnation_and_goes_on_with_its_sequence(ledger):
    owner = ledger.enlist(0, 1).owner
    trials = record(ledger, owner, [completed(0.5)])
    ledger.close_push(owner, ledger.open_push(owner, trials, (0,), (0,), b"1234"), (1,), (0,), (0,))
    life = begin_life_after_a_killed_one(ledger)

    newer = ledger.enlist(0, life).owner

    assert newer.incarnation > owner.incarnation
    trials = record(ledger, newer, [completed(0.5)])
    assert ledger.open_push(newer, trials, (1,), (1,), b"1234") == 2


# --- What a new life may change.


def test_new_life_may_have_another_schedule_other_settings_and_other_code(ledger, search):
    owner = ledger.enlist(0, 1).owner
    assert [place.depth for place in ledger.reserve(owner, 2)] == [1, 1]
    assert ledger.code_versions() == {"nasrl": "0.1.0"}
    ledger.end(1, "stopped")

    schedule = ScheduleSettings(num_layers=3, increase=0)
    changed = replace(search, schedule=schedule, settings={"seed": 4}, code_versions={"nasrl": "9"})
    owner = ledger.enlist(0, ledger.begin_life("there", 2, search=changed)).owner

    # Those that were reserved keep their depth.
    assert [place.depth for place in ledger.reserve(owner, 4)] == [1, 1, 3, 3]
    assert ledger.code_versions() == {"nasrl": "9"}


def test_new_life_keeps_baseline_metric_and_start_of_the_search(ledger, search, contents):
    owner = ledger.enlist(0, 1).owner
    record(ledger, owner, [completed(0.5)])
    [before] = contents()["search"]
    ledger.end(1, "stopped")

    changed = replace(search, num_trials=20, baseline=Baseline(0.1, 0.9, 0.7), metric=PERPLEXITY)
    ledger.begin_life("there", 2, search=changed)

    [after] = contents()["search"]
    assert after == before | {"num_trials": 20, "life": 2}


@pytest.mark.parametrize(("num_trials", "taken"), [(4, 0), (5, 1), (12, 8)])
def test_budget_of_a_new_life_may_grow_or_shrink_down_to_what_has_begun(
    ledger, search, num_trials, taken
):
    owner = ledger.enlist(0, 1).owner
    record(ledger, owner, [completed(0.5)])
    ledger.reserve(owner, 3)
    ledger.end(1, "stopped")

    life = ledger.begin_life("there", 2, search=replace(search, num_trials=num_trials))

    assert ledger.progress().num_trials == num_trials
    owner = ledger.enlist(0, life).owner
    assert [place.trial for place in ledger.reserve(owner, 99)] == [2, 3, 4, *range(5, 5 + taken)]


def test_budget_of_a_new_life_below_what_has_begun_is_refused(ledger, search, contents):
    owner = ledger.enlist(0, 1).owner
    record(ledger, owner, [completed(0.5)])
    ledger.reserve(owner, 3)
    ledger.end(1, "stopped")
    before = contents()

    with pytest.raises(WrongState, match=r"^num_trials=3: must be at least 4, the trials that"):
        ledger.begin_life("there", 2, search=replace(search, num_trials=3))

    assert contents() == before


# --- How long the search ran, how it ends, and who asks it to.


def test_seconds_of_a_search_are_those_of_all_its_lives(ledger, clock):
    began = ledger.lives()[0].began_at
    clock.advance(100 - (clock() - began))
    ledger.beat(1)
    assert ledger.progress().seconds == pytest.approx(100, abs=0.1)
    clock.advance(1000)  # it was killed: nobody ran the search
    life = begin_life_after_a_killed_one(ledger)
    clock.advance(20)
    ledger.end(life, "stopped")
    clock.advance(5000)
    life = ledger.begin_life("third", 3)
    clock.advance(7)
    assert ledger.progress().seconds == pytest.approx(120, abs=0.1)

    ledger.beat(life)

    assert ledger.progress().seconds == pytest.approx(127, abs=0.1)


def test_beats_of_a_life_are_counted(ledger, clock):
    [before] = ledger.lives()
    clock.advance(5)
    for _ in range(3):
        ledger.beat(1)

    [life] = ledger.lives()
    assert life == replace(before, num_beats=3, beat_at=clock() - 2**-10)


def test_life_that_ended_says_when(ledger, clock):
    clock.advance(50)

    ledger.end(1, "finished", "all done")

    [life] = ledger.lives()
    progress = ledger.progress()
    assert life.ended_at == life.beat_at == progress.ended_at > 1050
    assert (progress.state, progress.reason) == ("finished", "all done")


def test_stop_is_requested_of_the_life_that_runs_and_not_of_the_next(ledger):
    assert not ledger.progress().is_stop_requested

    ledger.request_stop()
    ledger.request_stop()

    assert ledger.progress().is_stop_requested
    begin_life_after_a_killed_one(ledger)
    assert not ledger.progress().is_stop_requested


def test_changes_are_asked_for_until_the_search_has_seen_to_all_of_them(ledger):
    assert ledger.progress().requested_changes is None
    ledger.request_changes({"num_replicas": 4, "children.per_gpu": 2})
    ledger.request_changes({"children.per_gpu": None})
    asked = ledger.progress().requested_changes
    assert asked == {"num_replicas": 4, "children.per_gpu": None}

    ledger.answer_changes(1, {"num_replicas": 4, "children.per_gpu": 2}, {"num_replicas": 4})
    assert ledger.progress().requested_changes == asked  # more was asked for meanwhile
    ledger.answer_changes(1, asked, None)

    assert ledger.progress().requested_changes is None
    with ledger._read() as connection:
        assert connection.execute(sql.select(SEARCH.c.settings)).scalar() == {"num_replicas": 4}


def test_changes_are_asked_of_the_life_that_runs_and_not_of_the_next(ledger):
    ledger.request_changes({"num_replicas": 4})
    begin_life_after_a_killed_one(ledger)
    assert ledger.progress().requested_changes is None


def test_life_that_is_over_answers_no_changes(ledger, contents):
    begin_life_after_a_killed_one(ledger)
    ledger.request_changes({"num_replicas": 4})
    before = contents()
    with pytest.raises(Superseded):
        ledger.answer_changes(1, {"num_replicas": 4}, {"num_replicas": 4})
    assert contents() == before


@pytest.mark.parametrize("state", ["finished", "stopped", "failed"])
def test_changes_of_a_search_that_has_ended_are_refused(ledger, contents, state):
    ledger.end(1, state)
    before = contents()
    with pytest.raises(WrongState, match=f"^the search is {state}: there is nothing to change$"):
        ledger.request_changes({"num_replicas": 4})
    assert contents() == before


@pytest.mark.parametrize("state", ["finished", "stopped", "failed"])
def test_stop_of_a_search_that_has_ended_is_refused(ledger, contents, state):
    ledger.end(1, state)
    before = contents()

    with pytest.raises(WrongState, match=f"^the search is {state}: there is nothing to stop$"):
        ledger.request_stop()

    assert contents() == before


# --- Where the shards listen.


def test_address_of_a_shard_is_the_last_one_published(ledger, open_ledger):
    ledger.publish(1, 0, "a:1")
    ledger.publish(1, 1, "b:1")
    ledger.publish(1, 0, "a:2")
    ledger.publish(1, 0, "a:2")

    assert open_ledger().addresses() == {0: "a:2", 1: "b:1"}


def test_addresses_of_a_past_life_are_gone(ledger):
    ledger.publish(1, 0, "a:1")
    life = begin_life_after_a_killed_one(ledger)
    assert ledger.addresses() == {}

    ledger.publish(life, 1, "b:1")

    assert ledger.addresses() == {1: "b:1"}


# --- Whose rewards are not all acknowledged.


def test_unsettled_replicas_have_recorded_rewards_that_no_push_or_an_open_one_carries(ledger):
    owners = [ledger.enlist(replica, 1).owner for replica in range(5)]
    trials = [record(ledger, owner, [completed(0.5)]) for owner in owners[:4]]
    begin(ledger, owners[4], 1)
    for replica in (1, 2):
        ledger.open_push(owners[replica], trials[replica], (0,), (0,), b"1234")
    ledger.close_push(owners[2], 1, (1,), (0,), (0,))

    assert ledger.unsettled_replicas() == [0, 1, 3]
    begin_life_after_a_killed_one(ledger)
    assert ledger.unsettled_replicas() == [0, 1, 3]


def test_progress_counts_as_unpushed_what_is_in_no_push_or_an_open_one(ledger):
    owner, other = ledger.enlist(0, 1).owner, ledger.enlist(1, 1).owner
    trials = record(ledger, owner, [completed(0.5)] * 5)
    ledger.close_push(
        owner, ledger.open_push(owner, trials[:2], (0,), (0,), b"1234"), (1,), (0,), (0,)
    )
    sequence = ledger.open_push(owner, trials[2:4], (0,), (0,), b"1234")
    rest = record(ledger, other, [completed(0.5)] * 5)
    progress = ledger.progress()
    assert (progress.num_recorded, progress.num_unpushed) == (10, 8)
    assert not progress.is_complete

    ledger.close_push(owner, sequence, (2,), (0,), (0,))
    for one, unpushed in ((owner, trials[4:]), (other, rest)):
        sequence = ledger.open_push(one, unpushed, (0,), (0,), b"1234")
        assert not ledger.progress().is_complete
        ledger.close_push(one, sequence, (3,), (0,), (0,))

    progress = ledger.progress()
    assert (progress.num_recorded, progress.num_unpushed) == (10, 0)
    assert progress.is_complete


def test_ledger_without_a_database_is_unavailable(tmp_path):
    with (
        Ledger(f"sqlite:///{tmp_path / 'nowhere' / 'ledger.sqlite'}") as ledger,
        pytest.raises(LedgerUnavailable, match="unable to open database file"),
    ):
        ledger.beat(1)
