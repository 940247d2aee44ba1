"""Rewards that a cost takes from, against MnasNet's equations as they are printed."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from pydantic import ValidationError

from child.measures import Measures
from child.objective import Objective
from child.result import MAX_REWARD, TrialResult

CHILD = TrialResult(
    "completed", 0.512, (0.7, 0.8), 0.8, num_parameters=400, seconds=3.0,
    metrics={"latency_s": 0.02, "joules": 7.0, "free": 0.0, "earned": -1.0},
)  # fmt: skip


def reward(child=CHILD, **objective):
    given = Objective(**objective).rewarded(child)
    assert given.state == "completed"
    return given.reward


def test_without_a_cost_the_reward_is_as_the_task_gives_it():
    assert Objective().rewarded(CHILD) is CHILD
    assert Objective(measures=["latency_s"]).rewarded(CHILD) is CHILD


@pytest.mark.parametrize(
    ("cost", "target", "below", "above", "expected"),
    [
        # Eq. 2 and 3: m * (T / T0) ** w, with w = alpha up to the target, beta above.
        ("num_parameters", 200, -0.07, -0.07, 0.512 / 2**0.07),
        ("num_parameters", 800, -0.07, -0.07, 0.512 * 2**0.07),
        ("num_parameters", 200, 0, -1, 0.512 / 2),
        ("num_parameters", 800, 0, -1, 0.512),
        ("num_parameters", 800, -0.5, -1, 0.512 * math.sqrt(2)),
        ("num_parameters", 400, -3, -5, 0.512),
        ("latency_s", 0.08, -0.5, 0, 0.512 * 2),
        ("joules", 3.5, 0, -2, 0.512 / 4),
    ],
)
def test_reward_is_that_of_the_equations(cost, target, below, above, expected):
    found = reward(cost=cost, target=target, exponent_below=below, exponent_above=above)
    assert found == pytest.approx(expected, rel=1e-12)


def test_twice_the_latency_for_five_percent_of_accuracy_earns_the_same_by_default():
    # How MnasNet chose its exponents: s3.1, after eq. 3.
    slow = replace(CHILD, reward=0.5 * 1.05, metrics={"latency_s": 0.04})
    fast = replace(CHILD, reward=0.5, metrics={"latency_s": 0.02})
    objective = {"cost": "latency_s", "target": 0.01}
    assert reward(slow, **objective) == pytest.approx(reward(fast, **objective), rel=1e-3)


def test_figures_stay_what_they_are():
    given = Objective(cost="num_parameters", target=100.0).rewarded(CHILD)
    assert replace(given, reward=0) == replace(CHILD, reward=0)


def test_infeasible_child_stays_infeasible_for_its_own_reason():
    child = TrialResult("infeasible", 0.0, (), None, 0, 1.0, reason="too large")
    assert Objective(cost="num_parameters", target=100.0).rewarded(child) is child


@pytest.mark.parametrize(
    ("child", "cost", "reason"),
    [
        (
            CHILD,
            "flops",
            "objective.cost=flops: must be what the trainer gives; it gave earned, free, joules, "
            "latency_s, num_parameters",
        ),
        (
            replace(CHILD, num_parameters=0, metrics={}),
            "num_parameters",
            "objective.cost=num_parameters: must be what the trainer gives; it gave a reward alone",
        ),
        (CHILD, "free", "objective.cost=free: is 0: must be > 0"),
        (CHILD, "earned", "objective.cost=earned: is -1: must be > 0"),
    ],
)
def test_child_without_the_cost_is_infeasible_and_says_why(child, cost, reason):
    given = Objective(cost=cost, target=1.0).rewarded(child)
    assert given.reason == reason
    assert (given.state, given.reward, given.validation) == ("infeasible", 0.0, None)
    assert given.validations == child.validations
    assert (given.metrics, given.seconds) == (child.metrics, 3.0)


@pytest.mark.parametrize("cost", [1e-300, 5e-324, 1e300])
@pytest.mark.parametrize("target", [1e-300, 1e300])
@pytest.mark.parametrize("exponent", [-100, -0.07, 0])
@pytest.mark.parametrize("before", [0.0, 1e-300, 1.0, 1e300])
def test_reward_is_within_its_bounds_whatever_the_cost(cost, target, exponent, before):
    objective = Objective(cost="c", target=target, exponent_below=exponent, exponent_above=exponent)
    given = objective.rewarded(replace(CHILD, reward=before, metrics={"c": cost}))
    assert 0 <= given.reward <= MAX_REWARD
    assert (given.state == "infeasible") == ("must be at most 1e+09" in given.reason)


@pytest.mark.parametrize(
    ("before", "cost", "exponent"), [(0.512, 1e-9, -100), (0.512, 1e-5, -2), (2e9, 1.0, 0)]
)
def test_reward_above_the_bound_is_refused_and_says_what_it_was_made_of(before, cost, exponent):
    given = Objective(cost="c", target=2.0, exponent_below=exponent).rewarded(
        replace(CHILD, reward=before, metrics={"c": cost})
    )
    assert (given.state, given.reward, given.validation) == ("infeasible", 0.0, None)
    assert given.reason == (
        f"objective.cost=c: is {cost:g}: the reward, {before:g} * ({cost:g} / 2) ** {exponent}, "
        "must be at most 1e+09; one like that would stay in the average that later ones are "
        "compared with; bring target nearer to such costs, or the exponent nearer to 0"
    )


def test_greatest_reward_is_taken():
    child = replace(CHILD, reward=MAX_REWARD / 4)
    assert reward(child, cost="num_parameters", target=800.0, exponent_below=-2) == MAX_REWARD


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ({}, ()),
        ({"measures": ["latency_s", "num_multiply_adds"]}, ("num_multiply_adds", "latency_s")),
        ({"cost": "latency_s", "target": 1.0}, ("latency_s",)),
        (
            {"cost": "latency_s", "target": 1.0, "measures": ["num_multiply_adds"]},
            ("num_multiply_adds", "latency_s"),
        ),
        ({"cost": "num_parameters", "target": 1.0}, ()),
    ],
)
def test_what_is_the_cost_or_asked_for_is_measured(given, names):
    assert Objective(**given).measured == Measures(names, 1)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"cost": "latency_s"}, "cost=latency_s: must have a target"),
        ({"target": 3.0}, "target=3: must be null, for there is no cost"),
        ({"cost": "latency_s", "target": 0.0}, "greater than 0"),
        ({"cost": "latency_s", "target": math.inf}, "finite"),
        ({"cost": "c", "target": 1.0, "exponent_above": 0.1}, "less than or equal to 0"),
        ({"measures": ["num_parameters"]}, "num_multiply_adds"),
    ],
)
def test_objective_that_means_nothing_is_refused(given, message):
    with pytest.raises(ValidationError, match=message):
        Objective(**given)
