"""The trials that no other is better than, against all pairs."""

from __future__ import annotations

import random

import pytest
from support.reported import trial

from child.metric import ACCURACY, PERPLEXITY
from deploy.pareto import UnknownCost, pareto_trials


def numbers(trials, cost="num_parameters", metric=ACCURACY):
    return [found.trial for found in pareto_trials(trials, cost, metric)]


def of(number, figure, cost, **changes):
    return trial(number, validation=figure, num_parameters=cost, **changes)


def test_trial_that_another_is_better_than_is_left_out():
    trials = [of(1, 0.9, 300), of(2, 0.8, 200), of(3, 0.85, 300), of(4, 0.8, 250), of(5, 0.7, 100)]
    assert numbers(trials) == [5, 2, 1]


def test_figure_that_is_better_when_lower_is_taken_so():
    trials = [of(1, 90.0, 300), of(2, 120.0, 100), of(3, 130.0, 200)]
    assert numbers(trials, metric=PERPLEXITY) == [2, 1]


@pytest.mark.parametrize("metric", [ACCURACY, PERPLEXITY], ids=["accuracy", "perplexity"])
@pytest.mark.parametrize("seed", range(20))
def test_trials_are_those_that_no_other_of_all_is_better_than(seed, metric):
    draw, sign = random.Random(seed), 1 if metric.is_higher_better else -1
    trials = [of(n, draw.randint(1, 9) / 10, draw.randint(1, 9)) for n in range(1, 40)]

    def is_better(one, other):
        figures = sign * one.validation, sign * other.validation
        costs = one.num_parameters, other.num_parameters
        return (figures[0] >= figures[1] and costs[0] <= costs[1]) and (
            figures[0] > figures[1] or costs[0] < costs[1]
        )

    expected = {one.trial for one in trials if not any(is_better(other, one) for other in trials)}
    found = pareto_trials(trials, "num_parameters", metric)
    assert {one.trial for one in found} == expected
    assert [one.num_parameters for one in found] == sorted(one.num_parameters for one in found)


def test_architecture_is_there_once_by_its_best_figure():
    same = {"architecture_sha256": "same"}
    trials = [
        of(1, 0.7, 5, seconds=1.0, **same),
        of(2, 0.9, 5, seconds=3.0, **same),
        of(3, 0.8, 5, seconds=2.0),
    ]
    assert numbers(trials, "seconds") == [3, 2]
    # And the first of two that are alike.
    assert numbers([of(4, 0.7, 5, **same), of(5, 0.7, 5, **same)]) == [4]


def test_different_architectures_that_are_as_good_and_as_cheap_are_all_there():
    assert numbers([of(1, 0.7, 5), of(2, 0.7, 5), of(3, 0.6, 5)]) == [1, 2]


def test_trial_whose_result_was_reused_took_no_time_and_is_left_out():
    reused = of(2, 0.7, 5, seconds=0.0, reused_from=1, architecture_sha256="sha of 1")
    assert numbers([of(1, 0.7, 5, seconds=9.0), reused], "seconds") == [1]


def test_metric_is_a_cost_and_trials_without_it_are_left_out():
    trials = [
        of(1, 0.9, 5, metrics={"joules": 7.0}),
        of(2, 0.95, 5, metrics={}),
        of(3, 0.95, 5, metrics=None),
        of(4, 0.8, 5, metrics={"joules": 2.0}),
        of(5, None, 5, metrics={"joules": 1.0}, state="infeasible", reward=0.0),
    ]
    assert numbers(trials, "joules") == [4, 1]


def test_parameters_that_a_trainer_did_not_count_are_no_cost():
    with pytest.raises(UnknownCost, match=r"^num_parameters: .* they have seconds, joules$"):
        numbers([of(1, 0.9, 0, metrics={"joules": 7.0})])


def test_unknown_cost_is_refused_with_those_there_are():
    with pytest.raises(UnknownCost, match=r"^flops: .* they have num_parameters, seconds$"):
        numbers([of(1, 0.9, 5)], "flops")


def test_nothing_is_the_cheapest_of_a_search_that_has_completed_nothing():
    with pytest.raises(UnknownCost, match="none, for no trial is completed yet"):
        numbers([of(1, None, 5, state="infeasible", reward=0.0)])


def test_metric_by_the_name_of_a_column_is_not_taken_for_it():
    own = {"seconds": 1.0, "num_parameters": 1.0}
    trials = [of(1, 0.9, 7, seconds=3.0, metrics=own), of(2, 0.8, 5, seconds=2.0, metrics={})]
    assert numbers(trials, "seconds") == [2, 1]
    assert numbers(trials) == [2, 1]
