from __future__ import annotations

import numpy as np
import pytest
from network_table import NetworkTable, TableSpace
from simulated_search import Setup, simulate
from table_search import REWARD_EXPONENT, Course, Layout, reward_of, search

from child.result import TrialResult
from controller import seeds
from controller.policy import PolicySettings
from controller.random_search import RandomSearch
from controller.reinforce import Reinforce
from controller.rounds import RoundSettings
from controller.schedule import ScheduleSettings
from ps.optimizer import AdamSettings, SgdSettings

SPACE = TableSpace(["size", "color", "size"], {"size": (1, 3, 5), "color": ("red", "blue")})
SETTINGS = PolicySettings(hidden_size=5, embedding_size=4, init_range=1.0)
SEED = 7


def reward(trial, choices):
    """Reward large sizes, and no trial as much as another."""
    return (choices[0] + 2 * choices[2]) / 10 + trial / 1000


def make_reinforce():
    return Reinforce.untrained(SPACE, SETTINGS, SEED, num_shards=1, deepest=1)


def searched(num_trials=41, layout=Layout(), seed=SEED):  # noqa: B008  # it is frozen
    strategy = make_reinforce()
    return search(strategy, strategy.values, reward, num_trials, layout, seed)


@pytest.mark.parametrize("correction", ["none", "clip"])
@pytest.mark.parametrize(("num_replicas", "per_replica"), [(1, 1), (1, 4), (3, 2)])
def test_search_is_that_of_replicas_ledger_and_store(num_replicas, per_replica, correction):
    strategy = make_reinforce()

    def train(child):
        choices = [SPACE.options(kind).index(option) for kind, option in child.architecture.chosen]
        earned = reward(child.trial, choices)
        return TrialResult("completed", earned, (earned,), earned, 1, seconds=1.0)

    outcome = simulate(
        Setup(
            RoundSettings(correction=correction),
            num_replicas,
            per_replica,
            num_trials=41,
            schedule=ScheduleSettings(num_layers=1, increase=0),
            seed=SEED,
            learning_rate=0.05,
            baseline_decay=0.8,
        ),
        SPACE,
        strategy,
        strategy.layout,
        strategy.values,
        train,
    )
    course = searched(
        41,
        Layout(
            num_replicas, per_replica, 0.8, correction == "clip", AdamSettings(learning_rate=0.05)
        ),
    )

    trials = sorted(outcome.trials, key=lambda trial: trial.record_number)
    assert course.choices == [tuple(choice for _, choice in t.decisions) for t in trials]
    assert course.rewards == [trial.reward for trial in trials]
    assert len(set(course.choices)) > 1


def test_first_step_of_a_search_is_calculated_by_hand():
    rate = 0.5
    course = searched(2, Layout(optimizer=SgdSettings(learning_rate=rate, momentum=0.0)))

    strategy = make_reinforce()
    [first] = strategy.sample([1], [seeds.rollout_generator(SEED, 1)])
    # The baseline is 0 before the first reward.
    gradient = strategy.gradient([1], [first], [reward(1, first.choices)])
    strategy.load(strategy.values - np.float32(rate) * gradient)
    [second] = strategy.sample([1], [seeds.rollout_generator(SEED, 2)])

    assert course.choices == [first.choices, second.choices]


def test_search_learns_what_is_rewarded():
    course = searched(300, Layout(optimizer=AdamSettings(learning_rate=0.05)))

    # Of the choices alone: 0.3 in the mean over all networks, 0.6 at best.
    assert np.mean([reward(0, choices) for choices in course.choices[-50:]]) > 0.5


def test_budget_is_exact_where_batches_do_not_fit_in():
    assert len(searched(41, Layout(num_replicas=3, per_replica=4)).rewards) == 41


def test_search_of_few_trials_is_the_beginning_of_a_longer_one():
    layout = Layout(num_replicas=2, per_replica=3, optimizer=AdamSettings(learning_rate=0.05))

    assert searched(20, layout).choices == searched(50, layout).choices[:20]


def test_random_search_does_not_depend_on_the_layout():
    courses = [
        search(RandomSearch(SPACE, 1), np.zeros(1, np.float32), reward, 30, layout, SEED)
        for layout in (Layout(), Layout(num_replicas=4, per_replica=8))
    ]

    assert courses[0].choices == courses[1].choices


def test_reward_is_the_cube_of_an_accuracy_that_the_seed_of_the_child_draws():
    table = NetworkTable("two", SPACE, {(0, 0, 0): (0.5, 1.0)}, {(0, 0, 0): 0.75})
    rewards = [reward_of(table, SEED)(trial, (0, 0, 0)) for trial in range(1, 101)]

    assert set(rewards) == {0.5**REWARD_EXPONENT, 1.0}
    assert 25 < rewards.count(1.0) < 75
    assert rewards == [reward_of(table, SEED)(trial, (0, 0, 0)) for trial in range(1, 101)]


def test_best_are_the_different_networks_of_the_highest_rewards_so_far():
    course = Course([(0,), (1,), (2,), (1,), (3,)], [0.1, 0.5, 0.5, 0.6, 0.9])

    assert course.best(3) == [(1,)]
    assert course.best(4, 3) == [(1,), (2,), (0,)]
    assert course.best(5) == [(3,)]


def test_newest_trials_come_last_first():
    course = Course([(0,), (1,), (2,)], [0.1, 0.5, 0.9])

    assert [(one.choices, one.reward) for one in course.newest(2)] == [((2,), 0.9), ((1,), 0.5)]
    assert len(course.newest(5)) == 3
