"""The ledger's laws of trials: the budget, who owns a trial, its result, its stamp."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
from support.children import completed, infeasible, start_of
from support.rounds import at_once, begin, record_one

from child.metric import ACCURACY
from child.result import MAX_REWARD
from controller.baseline import Baseline
from controller.errors import NotOwner, Superseded, WrongState
from controller.ledger import Ledger
from controller.records import SearchRecord
from controller.schedule import ScheduleSettings
from controller.trial import Owner, Reservation, Stamp

NUM_THREADS = 8


# --- Beginning.


def test_ledger_created_again_is_refused_and_as_it_was(ledger, url, contents):
    begin(ledger, ledger.enlist(0, 1).owner, 2)
    before = contents()

    with pytest.raises(
        WrongState, match=r"^\w+(\+\w+)?://.* holds a search already; a new one needs"
    ):
        Ledger.create(url, SearchRecord(5, Baseline(0.5), ScheduleSettings(), ACCURACY, {}, {}))

    assert contents() == before


def test_ledger_created_by_many_at_once_is_created_by_one(create_ledger):
    def create():
        try:
            return create_ledger()
        except WrongState as error:
            return error

    made = at_once([create] * NUM_THREADS)

    assert [type(one) for one in made].count(Ledger) == 1
    assert [type(one) for one in made].count(WrongState) == NUM_THREADS - 1


def test_ledger_just_created_has_nothing_in_it(ledger):
    assert ledger.trials() == []
    assert ledger.trials(top=3) == []
    assert ledger.pushes() == []
    assert ledger.tests() == {}


# --- The budget.


def test_reservations_are_numbered_from_1_until_the_budget_is_spent(ledger):
    owner = ledger.enlist(0, 1).owner

    held, taken = [], []
    for _ in range(4):
        taken.append([place.trial for place in ledger.reserve(owner, 4, held)])
        held += taken[-1]

    assert taken == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10], []]


def test_reservations_have_the_depth_of_their_trial(create_ledger):
    ledger = create_ledger(schedule=ScheduleSettings(num_layers=2, increase=3, increase_every=2))
    one, other = ledger.enlist(0, 1).owner, ledger.enlist(1, 1).owner

    assert ledger.reserve(one, 3) == [Reservation(1, 2), Reservation(2, 2), Reservation(3, 5)]
    assert ledger.reserve(other, 3) == [Reservation(4, 5), Reservation(5, 8), Reservation(6, 8)]
    assert [trial.depth for trial in ledger.trials()] == [2, 2, 5, 5, 8, 8]


def test_reservation_is_in_the_ledger_before_anything_else_is_known(ledger):
    owner = ledger.enlist(7, 1).owner

    ledger.reserve(owner, 1)

    [trial] = ledger.trials()
    assert (trial.trial, trial.state, trial.replica, trial.incarnation) == (1, "reserved", 7, 1)
    assert trial.reserved_at > 1000
    assert (trial.started_at, trial.recorded_at, trial.decisions) == (None, None, None)
    assert (trial.reward, trial.baseline, trial.push_replica, trial.reason) == (None,) * 3 + ("",)


def test_reservations_by_many_at_once_are_exactly_the_budget(create_ledger, open_ledger):
    num_trials = 100
    ledgers = [create_ledger(num_trials), open_ledger()]

    def reserve_all(replica):
        ledger = ledgers[replica % 2]
        owner = ledger.enlist(replica, 1).owner
        held = []
        for places in iter(lambda held=held: ledger.reserve(owner, 3, held), []):
            held += [place.trial for place in places]
        return owner, held

    reserved = at_once([lambda replica=i: reserve_all(replica) for i in range(NUM_THREADS)])

    assert sorted(trial for _, taken in reserved for trial in taken) == list(range(1, 101))
    owners = {trial: owner for owner, taken in reserved for trial in taken}
    assert {t.trial: (t.replica, t.incarnation) for t in ledgers[0].trials()} == owners


def test_trials_run_by_many_at_once_are_recorded_each_once(create_ledger, open_ledger):
    num_trials = 60
    ledgers = [create_ledger(num_trials), open_ledger()]

    def run_all(replica):
        ledger = ledgers[replica % 2]
        owner = ledger.enlist(replica, 1).owner
        stamps = {}
        for trials in itertools.islice(iter(lambda: begin(ledger, owner, 2), []), num_trials):
            for trial in trials:
                stamps[trial] = record_one(ledger, owner, trial, completed(trial / num_trials))
            ledger.close_push(
                owner, ledger.open_push(owner, trials, [0], [0], b"1234"), [1], [0], [0]
            )
        return stamps

    stamps = {}
    for of_thread in at_once([lambda replica=i: run_all(replica) for i in range(NUM_THREADS)]):
        stamps |= of_thread

    rows = ledgers[1].trials()
    assert [row.trial for row in rows] == list(range(1, num_trials + 1))
    assert {row.state for row in rows} == {"completed"}
    assert {row.trial: Stamp(row.reward, row.baseline) for row in rows} == stamps
    # The clock is read inside each transaction: it too says in which order they came.
    in_order = sorted(rows, key=lambda row: row.recorded_at)
    assert [row.record_number for row in in_order] == list(range(1, num_trials + 1))
    average = None
    for row in in_order:
        assert row.baseline == pytest.approx(average or 0.0, rel=1e-12)
        average = row.reward if average is None else 0.75 * average + 0.25 * row.reward
    carried = [trial for push in ledgers[0].pushes() for trial in push.trials]
    assert sorted(carried) == list(range(1, num_trials + 1))


# --- Whose trial it is.


def test_enlisting_again_gives_growing_incarnations(ledger, open_ledger):
    other = open_ledger()

    owners = [
        ledger.enlist(4, 1).owner,
        other.enlist(4, 1).owner,
        ledger.enlist(5, 1).owner,
        ledger.enlist(4, 1).owner,
    ]

    assert owners == [Owner(4, 1), Owner(4, 2), Owner(5, 1), Owner(4, 3)]


def test_enlisting_at_once_gives_each_life_its_own_incarnation(ledger):
    owners = at_once([lambda: ledger.enlist(4, 1).owner] * NUM_THREADS)

    assert sorted(owners) == [Owner(4, i) for i in range(1, NUM_THREADS + 1)]


def test_life_of_a_replica_that_never_enlisted_is_refused(ledger):
    with pytest.raises(Superseded, match=r"^replica 3, incarnation 1: must be the newest, None"):
        ledger.reserve(Owner(3, 1), 1)


def test_trial_of_another_replica_cannot_be_started_or_recorded(ledger, contents):
    owner, other = ledger.enlist(0, 1).owner, ledger.enlist(1, 1).owner
    [started] = begin(ledger, owner, 1)
    ledger.reserve(owner, 1, [started])
    before = contents()

    whose = "belongs to replica 0, incarnation 1; replica 1, incarnation 1, must not"
    with pytest.raises(NotOwner, match=f"^trial 2 {whose} start it$"):
        ledger.start(other, [start_of(2)])
    assert ledger.record(other, {started: completed(0.5)}) == {}

    assert contents() == before


def test_trial_of_an_earlier_life_cannot_be_started_or_recorded(ledger, contents):
    earlier = ledger.enlist(0, 1).owner
    [started] = begin(ledger, earlier, 1)
    ledger.reserve(earlier, 1, [started])
    owner = ledger.enlist(0, 1).owner
    before = contents()

    whose = "belongs to replica 0, incarnation 1; replica 0, incarnation 2, must not"
    with pytest.raises(NotOwner, match=f"^trial 2 {whose} start it$"):
        ledger.start(owner, [start_of(2)])
    assert ledger.record(owner, {started: completed(0.5)}) == {}

    assert contents() == before


# --- Starting.


def test_start_writes_down_all_that_the_child_is_trained_from(ledger):
    owner = ledger.enlist(0, 1).owner
    ledger.reserve(owner, 3)
    start = start_of(2)

    ledger.start(owner, [start])

    trial = ledger.trials()[1]
    assert trial.state == "started"
    assert trial.reserved_at < trial.started_at
    assert trial.decisions == list(start.decisions)
    assert trial.log_probs == list(start.log_probs)
    assert trial.architecture == start.architecture
    assert trial.seed == 2**63 - 2
    assert trial.versions == [2, 3]
    assert [t.state for t in ledger.trials()] == ["reserved", "started", "reserved"]


def test_start_of_a_trial_that_was_started_with_another_architecture_is_refused(ledger, contents):
    owner = ledger.enlist(0, 1).owner
    begin(ledger, owner, 1)
    before = contents()

    with pytest.raises(WrongState, match=r"^trial 1 is started: must be reserved to start it$"):
        ledger.start(owner, [start_of(1, size=2)])

    assert contents() == before


def test_start_of_several_with_one_that_was_not_reserved_starts_none(ledger, contents):
    owner = ledger.enlist(0, 1).owner
    ledger.reserve(owner, 2)
    before = contents()

    with pytest.raises(WrongState, match=r"^trial 3: must exist to start it; it does not$"):
        ledger.start(owner, [start_of(1), start_of(2), start_of(3)])

    assert contents() == before


# --- Recording.


def test_record_writes_down_the_result(ledger):
    owner = ledger.enlist(0, 1).owner
    begin(ledger, owner, 2)

    record_one(ledger, owner, 1, completed(0.5))
    record_one(ledger, owner, 2, infeasible("CUDA out of memory"))

    good, bad = ledger.trials()
    assert (good.state, good.reward, good.validations) == ("completed", 0.5, [0.25, 0.5])
    assert (good.validation, good.num_parameters, good.seconds) == (0.5, 10, 0.5)
    assert good.reason == ""
    assert good.started_at < good.recorded_at < bad.recorded_at
    assert (bad.state, bad.reward, bad.validations) == ("infeasible", 0.0, [])
    assert (bad.validation, bad.reason) == (None, "CUDA out of memory")


def test_record_keeps_figures_that_are_not_finite_and_numbers_that_are_large(ledger):
    owner = ledger.enlist(0, 1).owner
    begin(ledger, owner, 1)
    figures = (math.inf, -math.inf, 1e308, 0.1 + 0.2)

    record_one(
        ledger, owner, 1, replace(completed(0.5), validations=figures, num_parameters=2**53 + 1)
    )

    [trial] = ledger.trials()
    assert trial.validations == list(figures)
    assert trial.num_parameters == 2**53 + 1


def test_stamp_is_the_average_of_the_rewards_recorded_before(ledger):
    owner = ledger.enlist(0, 1).owner
    begin(ledger, owner, 6)
    results = {
        3: completed(0.8),
        1: completed(0.4),
        6: infeasible(),
        2: completed(1.0),
        5: infeasible(),
        4: completed(0.5),
    }

    stamps = [record_one(ledger, owner, trial, result) for trial, result in results.items()]

    # By hand, b <- 0.75 b + 0.25 R: the first reward becomes the average; infeasible counts as 0.
    baselines = [0.0, 0.8, 0.7, 0.525, 0.64375, 0.4828125]
    assert [stamp.baseline for stamp in stamps] == pytest.approx(baselines, rel=1e-12)
    assert [stamp.reward for stamp in stamps] == [0.8, 0.4, 0.0, 1.0, 0.0, 0.5]
    assert [stamp.advantage for stamp in stamps] == pytest.approx(
        [0.8, -0.4, -0.7, 0.475, -0.64375, 0.0171875]
    )
    rows = sorted(ledger.trials(), key=lambda trial: trial.record_number)
    assert [row.trial for row in rows] == list(results)
    assert [row.record_number for row in rows] == [1, 2, 3, 4, 5, 6]
    assert [Stamp(row.reward, row.baseline) for row in rows] == stamps


def test_baseline_after_first_rewards_of_0_is_0_and_moves_slowly(ledger):
    owner = ledger.enlist(0, 1).owner
    begin(ledger, owner, 3)

    stamps = [
        record_one(ledger, owner, 1, infeasible()),
        record_one(ledger, owner, 2, completed(0.8)),
    ]

    assert [stamp.baseline for stamp in stamps] == [0.0, 0.0]
    assert record_one(ledger, owner, 3, completed(0.5)).baseline == pytest.approx(0.25 * 0.8)


def test_baseline_starts_where_the_search_says_and_moves_on_from_the_first_reward(create_ledger):
    ledger = create_ledger(baseline=Baseline(0.75, start=0.3))
    owner = ledger.enlist(0, 1).owner
    begin(ledger, owner, 3)

    stamps = [record_one(ledger, owner, trial, completed(0.8)) for trial in (2, 1, 3)]

    assert [stamp.baseline for stamp in stamps] == pytest.approx([0.3, 0.8, 0.8])
    assert record_one(ledger, owner, 2, completed(0.8)) == stamps[0]


def test_baseline_that_has_moved_already_goes_on_from_there(create_ledger):
    ledger = create_ledger(baseline=Baseline(0.75, start=0.3).moved_by(0.4))
    owner = ledger.enlist(0, 1).owner
    begin(ledger, owner, 2)

    stamps = [record_one(ledger, owner, trial, completed(0.8)) for trial in (1, 2)]

    assert [stamp.baseline for stamp in stamps] == pytest.approx([0.4, 0.5])


def test_baseline_is_in_the_database_and_not_in_the_ledger_that_moved_it(ledger, open_ledger):
    other = open_ledger()
    one_owner, other_owner = ledger.enlist(0, 1).owner, other.enlist(1, 1).owner
    begin(ledger, one_owner, 1)
    begin(other, other_owner, 2)

    record_one(ledger, one_owner, 1, completed(0.5))
    assert record_one(other, other_owner, 2, completed(0.9)).baseline == 0.5
    assert record_one(open_ledger(), other_owner, 3, completed(0.1)).baseline == pytest.approx(0.6)


@pytest.mark.parametrize(
    "again", [completed(0.5), completed(0.9), infeasible()], ids=["same", "better", "infeasible"]
)
def test_record_again_gives_the_first_stamp_and_changes_nothing(ledger, contents, again):
    owner = ledger.enlist(0, 1).owner
    begin(ledger, owner, 3)
    record_one(ledger, owner, 1, completed(0.3))
    first = record_one(ledger, owner, 2, completed(0.5))
    before = contents()

    assert record_one(ledger, owner, 2, again) == first == Stamp(0.5, 0.3)

    assert contents() == before
    assert record_one(ledger, owner, 3, completed(0.1)).baseline == pytest.approx(0.35)


def test_record_of_an_infeasible_trial_again_gives_the_first_stamp(ledger, contents):
    owner = ledger.enlist(0, 1).owner
    begin(ledger, owner, 1)
    first = record_one(ledger, owner, 1, infeasible())
    before = contents()

    assert record_one(ledger, owner, 1, completed(1.0)) == first == Stamp(0.0, 0.0)
    assert contents() == before


def test_record_of_a_trial_that_was_not_started_is_refused(ledger, contents):
    owner = ledger.enlist(0, 1).owner
    ledger.reserve(owner, 1)
    before = contents()

    with pytest.raises(WrongState, match=r"^trial 1 is reserved: must be started to record it$"):
        record_one(ledger, owner, 1, completed(0.5))
    with pytest.raises(WrongState, match=r"^trial 2: must exist to record it; it does not$"):
        record_one(ledger, owner, 2, completed(0.5))

    assert contents() == before


def test_results_recorded_together_are_as_if_recorded_one_after_the_other(create_ledger):
    results = {3: completed(0.8), 1: infeasible("diverged"), 4: completed(0.25), 2: completed(0.5)}
    together, apart = create_ledger(), create_ledger(file="apart")
    stamps = []
    for ledger in (together, apart):
        owner = ledger.enlist(0, 1).owner
        begin(ledger, owner, 4)
        if ledger is together:
            stamps.append(list(ledger.record(owner, results).items()))
        else:
            each = [(trial, record_one(ledger, owner, trial, results[trial])) for trial in results]
            stamps.append(each)

    assert stamps[0] == stamps[1]
    assert [stamp.baseline for _, stamp in stamps[0]] == pytest.approx([0.0, 0.8, 0.6, 0.5125])
    same = ("state", "reward", "validations", "validation", "reason", "baseline", "record_number")
    for one, other in zip(together.trials(), apart.trials(), strict=True):
        for name in same:
            assert getattr(one, name) == getattr(other, name), name


def test_results_of_which_some_are_recorded_already_move_the_baseline_once_each(ledger):
    owner = ledger.enlist(0, 1).owner
    begin(ledger, owner, 3)
    first = ledger.record(owner, {2: completed(0.8)})

    stamps = ledger.record(owner, {1: completed(0.4), 2: completed(0.1), 3: completed(0.2)})

    assert stamps == {
        1: Stamp(0.4, 0.8),
        2: first[2],
        3: Stamp(0.2, pytest.approx(0.7)),
    }


def test_results_of_which_one_cannot_be_recorded_leave_all_unrecorded(ledger, contents):
    owner = ledger.enlist(0, 1).owner
    begin(ledger, owner, 1)
    ledger.reserve(owner, 1, [1])
    before = contents()

    with pytest.raises(WrongState, match=r"^trial 2 is reserved"):
        ledger.record(owner, {1: completed(0.5), 2: completed(0.5)})
    with pytest.raises(ValueError, match=r"^trial 2: reward=nan"):
        ledger.record(owner, {1: completed(0.5), 2: completed(math.nan)})

    assert contents() == before


@pytest.mark.parametrize("reward", [float("nan"), float("inf"), float("-inf")])
def test_record_of_a_reward_that_is_not_finite_is_refused(ledger, contents, reward):
    owner = ledger.enlist(0, 1).owner
    begin(ledger, owner, 1)
    before = contents()

    with pytest.raises(ValueError, match=f"^trial 1: reward={reward}: must be finite"):
        record_one(ledger, owner, 1, completed(reward))

    assert contents() == before


def test_record_of_a_reward_above_the_bound_is_refused(ledger, contents):
    owner = ledger.enlist(0, 1).owner
    begin(ledger, owner, 2)
    before = contents()

    with pytest.raises(ValueError, match=r"^trial 2: reward=1.1e\+09: must be at most 1e\+09; the"):
        ledger.record(owner, {1: completed(MAX_REWARD), 2: completed(1.1e9)})
    assert contents() == before

    ledger.record(owner, {1: completed(MAX_REWARD)})
    assert ledger.trials()[0].reward == MAX_REWARD


# --- Tests of trained networks.


def test_record_test_a_second_time_is_refused_and_the_first_stays(ledger, open_ledger):
    owner = ledger.enlist(0, 1).owner
    begin(ledger, owner, 2)
    record_one(ledger, owner, 1, completed(0.5))

    ledger.record_test(1, 0.875)
    with pytest.raises(WrongState, match=r"^trial 1: must exist, and is tested at most once$"):
        open_ledger().record_test(1, 0.99)

    assert ledger.tests() == {1: 0.875}


def test_record_test_again_with_the_same_figure_changes_nothing(ledger, contents):
    begin(ledger, ledger.enlist(0, 1).owner, 1)
    ledger.record_test(1, 0.1 + 0.2)
    before = contents()

    ledger.record_test(1, 0.1 + 0.2)

    assert contents() == before


def test_record_test_of_many_trials_keeps_each(ledger):
    owner = ledger.enlist(0, 1).owner
    begin(ledger, owner, 3)

    ledger.record_test(3, 0.25)
    ledger.record_test(1, 0.5)

    assert ledger.tests() == {1: 0.5, 3: 0.25}


def test_record_test_of_a_trial_that_does_not_exist_is_refused(ledger):
    ledger.reserve(ledger.enlist(0, 1).owner, 1)

    with pytest.raises(WrongState, match=r"^trial 2: must exist"):
        ledger.record_test(2, 0.5)

    assert ledger.tests() == {}
