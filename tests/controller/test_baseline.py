from __future__ import annotations

import pytest

from controller.baseline import Baseline


def test_baseline_of_the_first_reward_is_0():
    assert Baseline(decay=0.9).stamp == 0.0


@pytest.mark.parametrize("start", [0.3, -2.0, 1.5])
def test_baseline_of_the_first_reward_is_where_it_starts_and_of_the_others_does_not_know(start):
    baseline = Baseline(decay=0.75, start=start)

    assert baseline.stamp == start
    assert baseline.moved_by(0.5) == Baseline(0.75, start, average=0.5)
    assert baseline.moved_by(0.5).moved_by(0.9).stamp == pytest.approx(0.6)


def test_baseline_after_the_first_reward_is_that_reward():
    assert Baseline(decay=0.9).moved_by(0.7).stamp == 0.7


def test_baseline_after_a_first_reward_of_0_is_a_baseline_and_not_none():
    baseline = Baseline(decay=0.75).moved_by(0.0)

    assert baseline.average == 0.0
    assert baseline.moved_by(0.8).stamp == pytest.approx(0.25 * 0.8)


def test_baseline_moves_by_decay_times_itself_and_the_rest_of_the_reward():
    baseline = Baseline(decay=0.75)

    stamps = []
    for reward in (0.5, 0.9, 0.1, 0.0):
        stamps.append(baseline.stamp)
        baseline = baseline.moved_by(reward)

    assert stamps == pytest.approx(
        [0.0, 0.5, 0.75 * 0.5 + 0.25 * 0.9, 0.75 * (0.75 * 0.5 + 0.25 * 0.9) + 0.25 * 0.1]
    )
    assert baseline.stamp == pytest.approx(0.75 * (0.75 * 0.6 + 0.025))


@pytest.mark.parametrize("reward", [0.0, 0.3, 1.0])
def test_baseline_never_contains_the_reward_it_judges(reward):
    baseline = Baseline(decay=0.5).moved_by(0.4).moved_by(0.6)
    stamp = baseline.stamp

    baseline.moved_by(reward)

    assert baseline.stamp == stamp == pytest.approx(0.5)


def test_baseline_without_decay_is_the_last_reward():
    assert Baseline(decay=0.0).moved_by(0.4).moved_by(0.6).stamp == 0.6
