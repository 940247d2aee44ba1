"""The ledger's laws of rewards that are known: an architecture is trained once, if one likes."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest
from support.children import completed, infeasible, start_of
from support.rounds import record, record_one

from controller.trial import Stamp


@pytest.fixture
def owner(ledger):
    return ledger.enlist(0, 1).owner


def run(ledger, owner, size, result):
    """Train an architecture, and give its trial."""
    [place] = ledger.reserve(owner, 1)
    ledger.start(owner, [start_of(place.trial, size)])
    record_one(ledger, owner, place.trial, result)
    return place.trial


def test_reward_of_an_architecture_that_was_trained_is_taken_with_the_baseline_of_now(
    ledger, owner
):
    run(ledger, owner, 5, completed(0.8))
    run(ledger, owner, 6, completed(0.4))
    [place] = ledger.reserve(owner, 1)

    stamps = ledger.start(owner, [start_of(place.trial, 5)], reuse=True)

    assert stamps == {3: Stamp(0.8, pytest.approx(0.75 * 0.8 + 0.25 * 0.4))}
    # And it has moved it.
    [place] = ledger.reserve(owner, 1)
    ledger.start(owner, [start_of(place.trial, 7)], reuse=True)
    stamp = record_one(ledger, owner, place.trial, completed(0.1))
    assert stamp.baseline == pytest.approx(0.75 * 0.7 + 0.25 * 0.8)


def test_row_of_a_reused_trial_has_the_result_of_the_one_that_was_trained(ledger, owner):
    measured = {"latency_s": 0.25, "num_multiply_adds": 1234}
    trained = run(ledger, owner, 5, replace(completed(0.8), metrics=measured))
    ledger.reserve(owner, 1)

    ledger.start(owner, [start_of(2, 5)], reuse=True)

    before, row = ledger.trials()
    assert row.reused_from == trained
    assert before.reused_from is None
    same = ("state", "reward", "validations", "validation", "num_parameters", "reason")
    for name in (*same, "architecture", "architecture_text", "architecture_sha256"):
        assert getattr(row, name) == getattr(before, name), name
    assert row.state == "completed"
    assert row.metrics == before.metrics == measured
    assert row.validations == [0.4, 0.8]
    assert (before.seconds, row.seconds) == (0.5, 0.0)
    assert (row.seed, row.versions) == (2**63 - 2, [2, 3])
    assert before.recorded_at < row.started_at < row.recorded_at
    assert row.record_number == 2
    assert (row.push_replica, row.push_sequence) == (None, None)


def test_reused_trials_are_counted_and_are_in_the_budget(ledger, owner):
    run(ledger, owner, 5, completed(0.8))
    ledger.reserve(owner, 3)
    ledger.start(owner, [start_of(trial, 5) for trial in (2, 3)], reuse=True)

    progress = ledger.progress()

    assert (progress.num_reused, progress.num_recorded, progress.num_in_flight) == (2, 3, 1)
    assert progress.num_unpushed == 3
    assert [place.trial for place in ledger.reserve(owner, 9, [4])] == [5, 6, 7, 8, 9, 10]


def test_trials_begun_together_each_take_the_reward_of_their_own_architecture(ledger, owner):
    run(ledger, owner, 5, completed(0.8))
    run(ledger, owner, 6, completed(0.4))
    ledger.reserve(owner, 4)

    starts = [start_of(trial, size) for trial, size in zip((3, 4, 5, 6), (6, 9, 5, 6), strict=True)]
    stamps = ledger.start(owner, starts, reuse=True)

    # By hand, b <- 0.75 b + 0.25 R, from 0.7 on.
    assert stamps == {
        3: Stamp(0.4, pytest.approx(0.7)),
        5: Stamp(0.8, pytest.approx(0.625)),
        6: Stamp(0.4, pytest.approx(0.66875)),
    }
    assert [trial.reused_from for trial in ledger.trials()] == [None, None, 2, None, 1, 2]
    assert ledger.trials()[3].state == "started"
    assert ledger.start(owner, starts, reuse=True) == stamps


def test_reward_is_not_reused_unless_that_is_asked_for(ledger, owner):
    run(ledger, owner, 5, completed(0.8))
    ledger.reserve(owner, 1)

    assert ledger.start(owner, [start_of(2, 5)]) == {}

    assert ledger.trials()[1].state == "started"
    assert ledger.progress().num_reused == 0


def test_reused_trial_is_never_itself_reused(ledger, owner):
    trained = run(ledger, owner, 5, completed(0.8))
    ledger.reserve(owner, 3)
    for trial in (2, 3, 4):
        ledger.start(owner, [start_of(trial, 5)], reuse=True)

    assert [trial.reused_from for trial in ledger.trials()] == [None, trained, trained, trained]


def test_trained_trial_is_reused_though_a_reused_one_has_a_lower_number(ledger, owner):
    ledger.reserve(owner, 3)
    ledger.start(owner, [start_of(2, 5)])
    record_one(ledger, owner, 2, completed(0.8))

    for trial in (1, 3):
        ledger.start(owner, [start_of(trial, 5)], reuse=True)

    assert [trial.reused_from for trial in ledger.trials()] == [2, None, 2]


def test_reward_is_of_the_first_that_was_trained(ledger, owner):
    ledger.reserve(owner, 2)
    ledger.start(owner, [start_of(1, 5), start_of(2, 5)])
    record_one(ledger, owner, 2, completed(0.25))
    [place] = ledger.reserve(owner, 1, [1])
    stamps = ledger.start(owner, [start_of(place.trial, 5)], reuse=True)
    assert stamps[3].reward == 0.25
    record_one(ledger, owner, 1, completed(0.75))

    [place] = ledger.reserve(owner, 1)
    stamps = ledger.start(owner, [start_of(place.trial, 5)], reuse=True)

    assert stamps[4].reward == 0.75
    assert [trial.reused_from for trial in ledger.trials()] == [None, None, 2, 1]


def test_architecture_that_was_infeasible_is_trained_again(ledger, owner):
    run(ledger, owner, 5, infeasible("CUDA out of memory"))
    ledger.reserve(owner, 1)

    assert ledger.start(owner, [start_of(2, 5)], reuse=True) == {}

    assert record_one(ledger, owner, 2, completed(0.5)) == Stamp(0.5, 0.0)


def test_architecture_that_is_in_training_is_trained_beside_it(ledger, owner):
    ledger.reserve(owner, 3)

    assert ledger.start(owner, [start_of(1, 5)], reuse=True) == {}
    assert ledger.start(owner, [start_of(2, 5), start_of(3, 5)], reuse=True) == {}

    assert [trial.state for trial in ledger.trials()] == ["started"] * 3


def test_other_architectures_are_trained(ledger, owner):
    run(ledger, owner, 5, completed(0.5))
    ledger.reserve(owner, 2)

    stamps = ledger.start(owner, [start_of(2, 6), start_of(3, 5)], reuse=True)

    assert set(stamps) == {3}
    assert [trial.state for trial in ledger.trials()] == ["completed", "started", "completed"]


def test_reward_that_another_replica_and_another_life_recorded_is_reused(ledger, owner):
    record(ledger, ledger.enlist(1, 1).owner, [completed(0.5)])
    ledger.end(1, "stopped")
    owner = ledger.enlist(2, ledger.begin_life("there", 2)).owner
    ledger.reserve(owner, 1)

    stamps = ledger.start(owner, [start_of(2, 1)], reuse=True)

    assert stamps == {2: Stamp(0.5, 0.5)}


def test_reused_trial_is_pushed_like_any_other(ledger, owner):
    trained = run(ledger, owner, 5, completed(0.8))
    ledger.reserve(owner, 1)
    ledger.start(owner, [start_of(2, 5)], reuse=True)

    ledger.open_push(owner, [trained, 2], (0,), (0,), b"1234")

    assert ledger.pushes()[0].trials == (1, 2)


def test_architecture_is_the_same_in_whatever_order_its_json_is_written(ledger, owner):
    run(ledger, owner, 5, completed(0.8))
    ledger.reserve(owner, 1)
    start = start_of(2, 5)
    turned = {"layers": [dict(reversed(start.architecture["layers"][0].items()))]}
    assert list(turned["layers"][0]) != list(start.architecture["layers"][0])

    stamps = ledger.start(
        owner, [type(start)(**asdict(start) | {"architecture": turned})], reuse=True
    )

    assert set(stamps) == {2}
