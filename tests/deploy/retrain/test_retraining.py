"""Which trainings there are after a search, and what came of them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from support.children import completed, infeasible

from child.final_result import FinalResult
from controller.retraining import TrainingRecord
from controller.seeds import final_seed, grid_seed
from deploy.best_trials import best_trials
from deploy.retrain.loading import load_retrain_settings
from deploy.retrain.retraining import Retraining, outcome_of
from deploy.settings_file import load_settings

GRID = "grid={training: {learning_rate: [0.1, 0.2]}}"


def trial(number, reward, sha256, state="completed", first=1):
    """A trial of a network of three layers, whose first choice is given."""
    decisions = [("filter_height", first), *[("other", 0)] * 8]
    return SimpleNamespace(
        trial=number, reward=reward, architecture_sha256=sha256, state=state,
        decisions=decisions, depth=3,
    )  # fmt: skip


TWO = (trial(4, 0.9, "a"), trial(2, 0.8, "b", first=2))


def plan(*overrides, trials=TWO):
    chosen = load_settings("digits")
    return Retraining(chosen, load_retrain_settings(chosen, None, [GRID, *overrides]), trials)


def recorded(trainings, results):
    pairs = zip(trainings, results, strict=True)
    return {t.sha256: TrainingRecord.of(t, result, 0.0) for t, result in pairs}


def test_best_trials_are_those_of_the_highest_rewards_of_different_networks():
    trials = [
        trial(1, 0.5, "a"), trial(2, 0.9, "b"), trial(3, 0.7, "b"),
        trial(4, 0.95, "c", "infeasible"),
        trial(5, 0.9, "d"), trial(6, 0.1, "e"), trial(7, None, "f", "started"),
    ]  # fmt: skip
    assert [each.trial for each in best_trials(trials, 3)] == [2, 5, 1]
    assert [each.trial for each in best_trials(trials, 100)] == [2, 5, 1, 6]


def test_grid_is_every_network_at_every_point_with_every_seed():
    candidates = plan("num_grid_seeds=2").grid

    seen = [
        (c.trial.trial, c.point.settings.training.learning_rate, [t.seed for t in c.trainings])
        for c in candidates
    ]
    seeds = [grid_seed(0, 1), grid_seed(0, 2)]
    assert seen == [(4, 0.1, seeds), (4, 0.2, seeds), (2, 0.1, seeds), (2, 0.2, seeds)]
    names = {t.sha256 for c in candidates for t in c.trainings}
    assert len(names) == 8


def test_network_is_the_one_that_the_choices_write():
    first, *_ = plan().grid
    # Filter heights of the search are 1, 3 and 5.
    assert str(first.architecture).startswith("3x1,8 - ")
    assert first.trainings[0].architecture == first.architecture.to_json()


def test_settings_that_have_a_say_are_in_the_name():
    [training] = plan(trials=[trial(4, 0.9, "a")]).grid[0].trainings
    assert set(training.settings) == {"data", "training", "network"}
    assert training.settings["training"]["learning_rate"] == 0.1


def test_name_of_a_training_stays_when_more_is_asked_for():
    before = {t.sha256 for c in plan().grid for t in c.trainings}
    more = plan("num_grid_seeds=3", "grid.network.norm_epsilon=[1e-5,1e-3]").grid
    after = {t.sha256 for c in more for t in c.trainings}
    assert before < after


def test_best_is_the_one_of_the_best_mean_validation():
    trainings = [t for candidate in plan("num_grid_seeds=2").grid for t in candidate.trainings]
    rewards = [0.9, 0.1, 0.6, 0.6, 0.5, 0.5, 0.2, 0.8]
    records = recorded(trainings, map(completed, rewards))
    found = plan("num_grid_seeds=2").best(records)

    assert found[0].candidate.point.settings.training.learning_rate == 0.2
    assert [outcome.validation for outcome in found] == pytest.approx([0.6, 0.5, 0.5, 0.5])
    # Of equal ones that of the better trial comes first.
    assert [outcome.candidate.trial.trial for outcome in found] == [4, 4, 2, 2]


def test_best_of_language_models_is_the_one_of_the_lowest_figure():
    search = load_settings("cells")
    settings = load_retrain_settings(search, None, ["grid={training: {learning_rate: [0.1, 0.2]}}"])
    decisions = []
    while decision := search.task.space.next_decision([c for _, c in decisions], 8):
        decisions.append((decision.kind, 0))
    planned = Retraining(search, settings, [replace_decisions(trial(1, 0.9, "a"), decisions)])
    trainings = [t for candidate in planned.grid for t in candidate.trainings]
    records = recorded(trainings, [completed(2.5), completed(1.5)])
    assert [outcome.validation for outcome in planned.best(records)] == [1.5, 2.5]


def replace_decisions(trial, decisions):
    trial.decisions, trial.depth = decisions, 8
    return trial


def test_rate_that_was_decided_is_in_the_settings_of_a_training():
    search = load_settings("digits", ["space.learning_rates=[0.02, 0.08]"])
    decided = trial(1, 0.9, "a")
    decided.decisions = []
    while decision := search.task.space.next_decision([c for _, c in decided.decisions], 3):
        decided.decisions.append((decision.kind, 1 % decision.num_choices))
    settings = load_retrain_settings(search, None, [GRID])
    rates = [
        candidate.trainings[0].settings["training"]["learning_rate"]
        for candidate in Retraining(search, settings, [decided]).grid
    ]
    # 0.08 was decided; the search's own is 0.05, and the grid has 0.1 and 0.2.
    assert rates == pytest.approx([0.08 * 2, 0.08 * 4])


def test_network_that_one_seed_could_not_train_comes_last():
    grid = plan("num_grid_seeds=2").grid[:2]
    bad, good = (candidate.trainings for candidate in grid)
    results = [completed(1.0), infeasible(), completed(0.1), completed(0.1)]
    records = recorded([*bad, *good], results)
    found = plan("num_grid_seeds=2").best(records)
    assert [outcome.is_feasible for outcome in found] == [True, False]
    assert found[1].validation is None


def test_point_that_is_not_trained_yet_has_no_outcome():
    grid = plan("num_grid_seeds=2").grid
    records = recorded(grid[0].trainings[:1], [completed(1.0)])
    assert plan("num_grid_seeds=2").best(records) == []


def test_final_trainings_are_of_the_best_point_with_seeds_of_their_own():
    planned = plan("final.num_seeds=3", "final.num_epochs=30", "final.max_epochs=90")
    [candidate] = planned.final(planned.grid[1])

    assert [t.seed for t in candidate.trainings] == [final_seed(0, n) for n in (1, 2, 3)]
    settings = candidate.trainings[0].settings
    assert settings["training"]["learning_rate"] == 0.2
    assert settings["training"]["num_epochs"] == 30
    assert settings["max_epochs"] == 90
    assert settings["convergence"] == {"patience": 5, "min_improvement": 0.01}
    assert {t.stage for t in candidate.trainings} == {"final"}


def test_variant_with_more_filters_is_the_same_choices_with_more_filters():
    planned = plan("final.variants=[{}, {space: {extra_filters: 40}}]")
    plain, wide = planned.final(planned.grid[0])

    assert str(plain.architecture).startswith("3x1,8 - ")
    assert str(wide.architecture).startswith("3x1,48 - ")
    assert wide.trainings[0].architecture == wide.architecture.to_json()
    assert plain.trainings[0].sha256 != wide.trainings[0].sha256


def test_outcome_of_final_trainings_has_their_mean_and_spread():
    planned = plan("final.num_seeds=3")
    [candidate] = planned.final(planned.grid[0])
    results = [
        FinalResult("completed", (0.5, 0.1), True, 0.9, 10, 1.0),
        FinalResult("infeasible", (), False, None, 10, 1.0, "not finite"),
        FinalResult("completed", (0.5, 0.1), False, 0.96, 10, 1.0),
    ]
    outcome = outcome_of(candidate, recorded(candidate.trainings, results))
    assert outcome.tests == [0.9, 0.96]
    assert outcome.spread == pytest.approx(0.03 * 2**0.5)  # ((0.03**2 + 0.03**2) / 1) ** 0.5
    assert outcome_of(candidate, {}).spread is None


def test_summary_counts_what_is_trained():
    assert plan("num_grid_seeds=3").summary == (
        "12 trainings in the grid: 2 networks x 2 points x 3 seeds; then 5 to the end"
    )
