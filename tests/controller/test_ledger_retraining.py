"""What was trained after the search is recorded once, by what it is of."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest
from support.children import completed, infeasible

from child.final_result import FinalResult
from controller.errors import WrongState
from controller.retraining import Training

IN_GRID = Training("grid", 1, {"layers": [[3, 3, 8]]}, {"training": {"learning_rate": 0.1}}, 2**62)
FINAL = replace(IN_GRID, stage="final")
TESTED = FinalResult("completed", (0.5, 0.25), True, 0.975, 42, 3.5)


@pytest.fixture
def searched(ledger):
    ledger.reserve(ledger.enlist(0, 1).owner, 2)
    return ledger


def test_training_is_recorded_as_it_was(searched, clock):
    result = completed(0.7)
    searched.record_training(IN_GRID, result)
    clock.advance(5)
    searched.record_training(FINAL, TESTED)

    grid, final = searched.trainings()
    assert (grid.stage, grid.trial, grid.seed) == ("grid", 1, 2**62)
    assert (grid.architecture, grid.settings) == (IN_GRID.architecture, IN_GRID.settings)
    assert (grid.reward, grid.validations) == (result.reward, list(result.validations))
    assert (grid.losses, grid.is_converged, grid.test) == (None, None, None)
    assert (final.losses, final.is_converged, final.test) == ([0.5, 0.25], True, 0.975)
    assert (final.reward, final.validations) == (None, None)
    assert 5 <= final.recorded_at - grid.recorded_at < 5.1


def test_training_that_is_recorded_again_keeps_its_first_record(searched):
    first = searched.record_training(FINAL, TESTED)
    again = searched.record_training(FINAL, replace(TESTED, test=0.99))

    assert again == first
    assert [row.test for row in searched.trainings()] == [0.975]


def test_network_that_could_not_be_trained_is_recorded_with_its_reason(searched):
    searched.record_training(IN_GRID, infeasible("the training loss of epoch 1 is nan"))
    [row] = searched.trainings()
    assert (row.state, row.reward) == ("infeasible", 0.0)
    assert row.reason == "the training loss of epoch 1 is nan"


@pytest.mark.parametrize(
    "other",
    [
        replace(IN_GRID, stage="final"),
        replace(IN_GRID, architecture={"layers": []}),
        replace(IN_GRID, settings={}),
        replace(IN_GRID, seed=3),
    ],
)
def test_trainings_of_something_else_have_another_name(other):
    assert other.sha256 != IN_GRID.sha256


def test_training_of_the_same_network_has_one_name_whatever_trial_it_is_of():
    turned = {"training": {"learning_rate": 0.1}}
    assert replace(IN_GRID, trial=2, settings=turned).sha256 == IN_GRID.sha256


def test_training_of_no_trial_is_refused(searched):
    with pytest.raises(WrongState, match="trial 7: must exist"):
        searched.record_training(replace(IN_GRID, trial=7), completed(0.7))
    assert searched.trainings() == []


def test_record_has_all_fields_of_the_row(searched):
    record = searched.record_training(IN_GRID, completed(0.7))
    assert [asdict(row) for row in searched.trainings()] == [asdict(record)]
