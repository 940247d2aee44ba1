"""Shares of choices and entropies, against figures calculated by hand."""

import math

import numpy as np
import pytest
from support.reported import trial, trials_of

from child.convolutional.space import ConvolutionalSpace
from child.convolutional.space_settings import ConvolutionalSettings
from child.recurrent.space import RecurrentSpace
from child.recurrent.space_settings import RecurrentSettings
from deploy.report.choices import entropies, shares_of_choices, shares_of_skips, uniform_entropies
from deploy.settings_file import load_settings

SPACE = ConvolutionalSpace(
    ConvolutionalSettings(
        filter_heights=(3, 7), filter_widths=(5,), num_filters=(8, 16, 24), skip_connections=False
    )
)
SKIPPING = ConvolutionalSpace(
    ConvolutionalSettings(filter_heights=(3,), filter_widths=(5,), num_filters=(8, 16))
)


def of(*decisions, number=1, **fields):
    return trial(number, decisions=list(decisions), **fields)


def layer(height, filters):
    return ("filter_height", height), ("num_filters", filters)


def test_shares_are_by_what_the_choices_stand_for():
    trials = [of(*layer(0, 2), *layer(1, 2)), of(*layer(1, 2), *layer(1, 0), number=2)]
    height, filters = shares_of_choices(trials, SPACE)
    assert (height.kind, height.options) == ("filter_height", ("3", "7"))
    assert height.shares.tolist() == [[0.25, 0.75]]
    assert (filters.kind, filters.options) == ("num_filters", ("8", "16", "24"))
    assert filters.shares.tolist() == [[0.25, 0, 0.75]]
    assert height.is_ordered


def test_shares_are_counted_in_windows_that_end_at_their_last_trial():
    trials = [of(*layer(int(n > 50), 0), number=n) for n in range(1, 101)]
    height, _ = shares_of_choices(trials, SPACE)
    assert height.ends == tuple(range(10, 101, 10))
    assert height.shares[:, 0].tolist() == [1] * 5 + [0] * 5


def test_windows_without_a_decision_are_left_out():
    trials = [of(*layer(0, 0)[: 1 + (n > 50)], number=n) for n in range(1, 101)]
    height, filters = shares_of_choices(trials, SPACE)
    assert len(height.ends) == 10
    assert filters.ends == (60, 70, 80, 90, 100)


def test_of_many_options_the_frequent_ones_stand_alone():
    space = RecurrentSpace(RecurrentSettings(base=8))
    trials = [of(("cell_index", n % 3), ("cell_index", n), number=n) for n in range(12)]
    [indices] = shares_of_choices(trials, space)
    assert indices.options == ("0", "1", "2", "3", "4", "5", "9 others")
    assert indices.shares.sum(axis=1) == pytest.approx(1)
    assert not indices.is_ordered


def test_skip_connections_are_counted_by_how_far_they_reach():
    # The third layer takes the image's side of bit 0, two back, and not bit 1, the one before.
    lists = [(0, 0b1, 0b01), (0, 0b0, 0b11)]
    trials = [
        of(*(step for bits in anchors for step in (("anchor", bits), ("num_filters", 0))),
           number=n, depth=3)
        for n, anchors in enumerate(lists, start=1)
    ]  # fmt: skip
    skips = shares_of_skips(trials, SKIPPING)
    assert skips.options == ("1", "2")
    assert skips.shares.tolist() == [[0.5, 1.0]]


def test_layers_that_are_chained_have_no_connection_from_the_one_before():
    space = ConvolutionalSpace(ConvolutionalSettings(is_chained=True, num_filters=(8, 16)))
    settings = load_settings("digits", [
        "space.skip_connections=true", "space.is_chained=true", "schedule.num_layers=4",
    ])  # fmt: skip
    trials = trials_of(settings, 30, lambda n: 0.5)
    assert shares_of_skips(trials, settings.task.space).options == ("2", "3")
    assert shares_of_skips([], space) is None


def test_space_without_anchor_points_has_no_skip_connections():
    assert shares_of_skips([of(*layer(0, 0))], SPACE) is None


def test_entropy_is_estimated_by_what_was_sampled():
    trials = [of(*layer(0, 0), log_probs=[-0.5, -1.25]), of(log_probs=[-2.0])]
    assert entropies(trials).tolist() == [1.75, 2.0]


def test_mean_of_the_estimates_is_the_entropy():
    probabilities = np.array([0.5, 0.3, 0.2])
    drawn = np.random.default_rng(4).choice(3, size=10_000, p=probabilities)
    trials = [of(log_probs=[math.log(probabilities[choice])]) for choice in drawn]
    expected = -sum(p * math.log(p) for p in probabilities)
    assert entropies(trials).mean() == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("digits", []),
        ("digits", ["space.skip_connections=true", "schedule.num_layers=5"]),
        ("digits", ["space.skip_connections=true", "space.is_chained=true",
                    "space.layer_types=[convolution, max_pooling]",
                    "space.learning_rates=[0.1, 0.2]"]),
        ("cells", []),
    ],
)  # fmt: skip
def test_random_search_has_the_entropy_of_uniform_choices(name, changes):
    settings = load_settings(name, changes)
    trials = trials_of(settings, 25, lambda n: 0.5)
    assert uniform_entropies(trials, settings.task.space) == pytest.approx(entropies(trials))


def test_uniform_entropy_is_the_logarithm_of_the_number_of_networks():
    trials = [of(*layer(0, 0), *layer(1, 1))]
    assert uniform_entropies(trials, SPACE) == pytest.approx([math.log(2 * 3 * 2 * 3)])
