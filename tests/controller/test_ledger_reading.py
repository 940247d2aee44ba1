"""What readers of the ledger see, also while it is written."""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sql
from support.children import completed, infeasible, start_of
from support.clock import FakeClock
from support.rounds import GRADIENT, record, record_one
from support.rounds import begin as begin_trials

from controller.database import METADATA, READS_ONLY, TRIALS, connect
from controller.errors import LedgerUnavailable, Superseded
from controller.ledger import Ledger
from controller.ledger_reader import LedgerReader
from controller.population import Individual
from controller.records import Activity, ChildAtWork


@pytest.fixture
def begin(url):
    """Give a function that begins a transaction of somebody else; it is never committed."""
    engine = connect(url)
    with contextlib.ExitStack() as stack:
        stack.callback(engine.dispose)

        def start(**options):
            connection = stack.enter_context(engine.connect().execution_options(**options))
            connection.begin()
            return connection

        yield start


def test_database_without_tables_holds_no_search(empty_url):
    with LedgerReader(empty_url) as reader:
        assert not reader.is_begun
        with pytest.raises(LedgerUnavailable, match=r"^the database .*search"):
            reader.progress()


def test_trial_is_found_by_its_number(ledger):
    owner = ledger.enlist(0, 1).owner
    record(ledger, owner, [completed(0.25), completed(0.75)])

    assert ledger.trial(2) == ledger.trials()[1]
    assert (ledger.trial(0), ledger.trial(3)) == (None, None)


def test_newest_are_those_recorded_last_the_last_first(ledger):
    owner = ledger.enlist(0, 1).owner
    one, two, three, four, _ = begin_trials(ledger, owner, 5)
    record_one(ledger, owner, three, completed(0.25))
    record_one(ledger, owner, one, infeasible())
    record_one(ledger, owner, four, completed(0.75))

    # Another replica's is as good as any other.
    other = ledger.enlist(1, 1).owner
    [six] = begin_trials(ledger, other, 1)
    record_one(ledger, other, six, completed(0.5))

    choices = {trial: tuple(choice for _, choice in start_of(trial).decisions) for trial in (1, 3)}
    assert ledger.newest(9) == [
        Individual(1, choices[3], 0.5),
        Individual(1, choices[1], 0.75),
        Individual(1, choices[1], 0.0),
        Individual(1, choices[3], 0.25),
    ]
    assert ledger.newest(2) == ledger.newest(9)[:2]
    record_one(ledger, owner, two, completed(1.0))
    assert ledger.newest(1)[0].reward == 1.0


def test_newest_of_a_search_without_a_result_are_none(ledger):
    owner = ledger.enlist(0, 1).owner
    begin_trials(ledger, owner, 2)

    assert ledger.newest(5) == []


# --- Progress.


def test_progress_of_a_search_just_begun_has_no_rewards(ledger):
    progress = ledger.progress()

    assert (progress.state, progress.reason) == ("running", "")
    assert (progress.num_trials, progress.num_recorded, progress.num_infeasible) == (10, 0, 0)
    assert progress.best is None
    assert (progress.started_at, progress.ended_at) == (1000 + 2**-10, None)


def test_progress_counts_what_is_recorded_and_not_what_runs(ledger):
    owner = ledger.enlist(0, 1).owner
    record(ledger, owner, [completed(0.25), infeasible(), completed(0.75), completed(0.5)])
    ledger.reserve(owner, 2)
    ledger.start(owner, [start_of(5)])

    progress = ledger.progress()

    assert (progress.num_trials, progress.num_recorded, progress.num_infeasible) == (10, 4, 1)
    assert progress.num_in_flight == 2
    assert progress.best == ledger.trials()[2]


def test_activity_of_a_search_just_begun_is_nothing(ledger):
    assert ledger.activity() == Activity(curve=[], baseline=0.0)
    assert ledger.children() == []


def test_activity_has_the_baseline_that_the_next_reward_is_compared_with(ledger):
    owner = ledger.enlist(0, 1).owner
    record(ledger, owner, [completed(0.5), completed(0.9)])
    assert ledger.activity().baseline == pytest.approx(0.75 * 0.5 + 0.25 * 0.9)


def test_activity_is_of_the_last_hundred_trials_and_pushes(create_ledger, clock):
    ledger = create_ledger(num_trials=1000)
    owner = ledger.enlist(0, 1).owner
    for number in range(110):
        clock.advance(2)
        [trial] = record(ledger, owner, [completed(number / 110)])
        sequence = ledger.open_push(owner, [trial], (0, 0), (0, 0), GRADIENT)
        ledger.close_push(owner, sequence, (sequence,) * 2, (number, 0), (0, 0))
    ledger.reserve(owner, 3)
    ledger.start(owner, [start_of(111)])

    activity = ledger.activity()

    assert activity.mean_reward == pytest.approx(sum(range(10, 110)) / 100 / 110)
    assert activity.last_reward == pytest.approx(109 / 110)
    assert activity.trials_per_s == pytest.approx(0.5, rel=0.01)
    assert activity.pushes_per_s == pytest.approx(0.5, rel=0.01)
    assert activity.mean_staleness == sum(range(10, 110)) / 200
    assert activity.max_staleness == 109
    assert (activity.num_training, activity.num_reserved) == (1, 2)
    # 110 trials in 24 parts are 5 in each.
    parts = [range(first, first + 5) for first in range(0, 110, 5)]
    assert activity.curve == pytest.approx([sum(part) / 5 / 110 for part in parts])


def test_curve_of_few_trials_has_four_in_each_part(ledger):
    record(ledger, ledger.enlist(0, 1).owner, [completed(reward / 8) for reward in range(6)])
    assert ledger.activity().curve == pytest.approx([1.5 / 8, 4.5 / 8])


def test_children_are_those_that_the_search_told_last_as_long_as_it_runs(ledger):
    children = [ChildAtWork(0, 3, "host: cuda 1", 2.5), ChildAtWork(1, 4, "host: cpu", 0.0)]
    ledger.publish_children(1, [])
    ledger.publish_children(1, children)
    assert ledger.children() == children
    ledger.end(1, "stopped")
    assert ledger.children() == []


def test_life_that_is_over_tells_of_no_children(ledger):
    ledger.end(1, "stopped")
    ledger.begin_life("there", 2)
    with pytest.raises(Superseded):
        ledger.publish_children(1, [ChildAtWork(0, 3, "host: cpu", 2.5)])


def test_progress_of_infeasible_trials_alone_has_no_best(ledger):
    record(ledger, ledger.enlist(0, 1).owner, [infeasible(), infeasible()])

    progress = ledger.progress()

    assert (progress.num_recorded, progress.num_infeasible) == (2, 2)
    assert progress.best is None


def test_mean_reward_is_that_of_the_last_100_that_arrived_whatever_the_clock_says(
    create_ledger, url
):
    create_ledger(num_trials=110)
    with Ledger(url, FakeClock(step=0.0)) as ledger:
        owner = ledger.enlist(0, 1).owner
        trials = [reservation.trial for reservation in ledger.reserve(owner, 110)]
        ledger.start(owner, [start_of(trial) for trial in trials])
        for trial in reversed(trials):
            record_one(ledger, owner, trial, completed(trial / 110))

        activity = ledger.activity()
        assert activity.mean_reward == pytest.approx(sum(range(1, 101)) / 100 / 110)
        assert activity.trials_per_s is None


@pytest.mark.parametrize("state", ["finished", "stopped", "failed"])
def test_progress_of_a_search_that_has_ended_says_how(ledger, open_ledger, state):
    ledger.end(1, state, reason="the reason")

    progress = open_ledger().progress()

    assert (progress.state, progress.reason) == (state, "the reason")
    assert progress.started_at < progress.ended_at


# --- The best trials.


@pytest.mark.parametrize(
    ("top", "numbers"),
    [(0, []), (1, [3]), (2, [3, 6]), (3, [3, 6, 1]), (4, [3, 6, 1, 5]), (9, [3, 6, 1, 5])],
)
def test_top_trials_are_the_completed_ones_of_the_highest_reward(ledger, top, numbers):
    owner = ledger.enlist(0, 1).owner
    rewards = [completed(reward) for reward in (0.5, 0.75, 0.25, 0.75)]
    record(ledger, owner, [rewards[0], infeasible(), rewards[1], infeasible(), *rewards[2:]])
    ledger.reserve(owner, 1)

    assert [trial.trial for trial in ledger.trials(top=top)] == numbers


def test_trials_are_given_by_number_in_whatever_order_they_were_recorded(ledger):
    owner, other = ledger.enlist(0, 1).owner, ledger.enlist(1, 1).owner
    ledger.reserve(owner, 2)
    record(ledger, other, [completed(0.5), completed(0.25)])

    assert [(trial.trial, trial.state) for trial in ledger.trials()] == [
        (1, "reserved"),
        (2, "reserved"),
        (3, "completed"),
        (4, "completed"),
    ]


# --- While somebody writes.

READERS = {
    "is begun": lambda ledger: int(ledger.is_begun),
    "progress": lambda ledger: ledger.progress().num_recorded,
    "trials": lambda ledger: len(ledger.trials()),
    "top trials": lambda ledger: len(ledger.trials(top=5)),
    "pushes": lambda ledger: len(ledger.pushes()),
    "test accuracies": lambda ledger: len(ledger.tests()),
    "lives": lambda ledger: len(ledger.lives()),
    "addresses": lambda ledger: len(ledger.addresses()),
    "unsettled replicas": lambda ledger: len(ledger.unsettled_replicas()),
}


@pytest.mark.timeout(20)  # a reader that waits for the writer waits for 30 s
@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_reader_does_not_wait_for_a_writer_and_sees_what_was_committed(ledger, url, begin, read):
    owner = ledger.enlist(0, 1).owner
    trials = record(ledger, owner, [completed(0.5)])
    ledger.open_push(owner, trials, (0,), (0,), b"1234")
    ledger.record_test(1, 0.5)
    ledger.publish(1, 0, "a:1")
    writer = begin()
    for table in reversed(METADATA.sorted_tables):
        writer.execute(table.delete())

    seen = read(ledger)
    with Ledger(url) as fresh:
        seen_by_a_fresh_one = read(fresh)

    assert (seen, seen_by_a_fresh_one) == (1, 1)


@pytest.mark.timeout(20)  # a writer that waits for a reader waits for 30 s
def test_writer_does_not_wait_for_a_reader_who_goes_on_to_see_what_was(ledger, begin):
    owner = ledger.enlist(0, 1).owner
    reader = begin(**READS_ONLY)
    count = sql.select(sql.func.count()).select_from(TRIALS)
    assert reader.execute(count).scalar() == 0

    assert len(ledger.reserve(owner, 3)) == 3

    assert reader.execute(count).scalar() == 0


def test_writer_that_waits_for_long_is_told_and_may_try_again(url, ledger, begin, monkeypatch):
    owner = ledger.enlist(0, 1).owner
    monkeypatch.setattr("controller.database.LOCK_TIMEOUT_S", 0.5)
    with Ledger(url) as impatient:
        writer = begin()
        with pytest.raises(LedgerUnavailable, match=r"^the database .*: .*lock"):
            impatient.reserve(owner, 3)
        writer.rollback()

        assert len(impatient.reserve(owner, 3)) == 3


def test_writers_wait_for_each_other(ledger, begin):
    owner = ledger.enlist(0, 1).owner
    writer = begin()

    with ThreadPoolExecutor() as threads:
        reserved = threads.submit(ledger.reserve, owner, 3)
        with pytest.raises(TimeoutError):
            reserved.result(timeout=0.3)
        writer.rollback()

        assert len(reserved.result(timeout=10)) == 3
