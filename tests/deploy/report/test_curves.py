"""Curves of a report, against what is calculated by brute force."""

import random

import numpy as np
import pytest
from support.reported import trial

from deploy.report.curves import moving_mean, parts, percentiles, thinned, top_means


def some_trials(seed, number=60):
    """Give trials of few architectures, some infeasible, with figures that follow the rewards."""
    dice = random.Random(seed)
    made = []
    for n in range(1, number + 1):
        reward = dice.randrange(1, 20) / 20
        fate = {"state": "infeasible", "reward": 0.0, "validation": None} if n % 7 == 3 else {
            "reward": reward, "validation": reward / 2,
        }  # fmt: skip
        made.append(trial(n, architecture_sha256=f"sha of {dice.randrange(25)}", **fate))
    return made


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("k", [1, 5, 15])
def test_top_mean_is_that_of_the_best_results_of_unique_architectures(k, seed):
    trials = some_trials(seed)
    means = top_means(trials, k)
    for end in range(1, len(trials) + 1):
        best = {}
        for one in trials[:end]:
            if one.state == "completed":
                best[one.architecture_sha256] = max(
                    one.validation, best.get(one.architecture_sha256, 0)
                )
        top = sorted(best.values(), reverse=True)[:k]
        expected = sum(top) / k if len(top) == k else np.nan
        assert means[end - 1] == pytest.approx(expected, nan_ok=True), end
    assert np.isnan(means[0]) == (k > 1)


def test_architecture_that_does_better_again_counts_with_its_best_result_alone():
    trials = [
        trial(n, architecture_sha256=sha, reward=reward, validation=reward)
        for n, (sha, reward) in enumerate([("a", 0.2), ("b", 0.4), ("a", 0.8), ("a", 0.1)], 1)
    ]
    assert top_means(trials, 2)[1:].tolist() == pytest.approx([0.3, 0.6, 0.6])


def test_lower_figures_are_the_better_ones_where_their_rewards_are_higher():
    trials = [trial(n, reward=1 / n, validation=10.0 * n) for n in (3, 1, 2)]
    assert top_means(trials, 1).tolist() == [30.0, 10.0, 10.0]


def test_moving_mean_is_that_of_the_last_ones():
    dice = random.Random(1)
    figures = [dice.random() for _ in range(50)]
    expected = [np.mean(figures[max(0, n - 6) : n + 1]) for n in range(50)]
    assert moving_mean(figures, 7) == pytest.approx(expected)


@pytest.mark.parametrize(("number", "at_most"), [(0, 5), (1, 5), (7, 3), (100, 7), (5, 5)])
def test_parts_are_all_of_it_once_and_as_good_as_equal(number, at_most):
    cut = parts(number, at_most)
    assert [n for part in cut for n in range(number)[part]] == list(range(number))
    sizes = {part.stop - part.start for part in cut}
    assert len(cut) == min(number, at_most)
    assert not sizes or max(sizes) - min(sizes) <= 1 <= min(sizes)


def test_thinned_curve_keeps_its_ends():
    assert thinned(3, 10).tolist() == [0, 1, 2]
    assert thinned(1000, 10)[[0, -1]].tolist() == [0, 999]
    assert len(thinned(1000, 10)) == 10
    assert thinned(0, 10).tolist() == []


def test_percentiles_leave_out_what_is_not_finite():
    assert percentiles([1.0, np.inf, 3.0, np.nan], (50,)) == [2.0]
    assert np.isnan(percentiles([np.inf], (50,))[0])
