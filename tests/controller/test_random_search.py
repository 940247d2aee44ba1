from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from support.spaces import ChainSpace, ConditionalSpace

from child.convolutional.space import ConvolutionalSpace
from child.convolutional.space_settings import ConvolutionalSettings
from controller.random_search import RandomSearch

CONDITIONAL = ConditionalSpace()
SKIPS = ConvolutionalSpace(
    ConvolutionalSettings(filter_heights=(3,), filter_widths=(3,), num_filters=(4,))
)


def generators(number):
    return [np.random.default_rng((3, i)) for i in range(number)]


@pytest.mark.parametrize(
    ("space", "depth", "probability"),
    [
        (ChainSpace({"color": 2, "shape": 3}), 1, lambda choices: 1 / 6),
        # Of a type each choice is as probable as another, not each architecture.
        (CONDITIONAL, 1, lambda choices: (1 / 18, 1 / 9, 1 / 3)[choices[0]]),
        (SKIPS, 3, lambda choices: 1 / 8),
    ],
    ids=["chain", "conditional", "skips"],
)
def test_choices_are_uniform(space, depth, probability):
    number = 6000

    rollouts = RandomSearch(space, 5).sample([depth] * number, generators(number))

    found = Counter(rollout.choices for rollout in rollouts)
    expected = {choices: number * probability(choices) for choices in found}
    assert sum(expected.values()) == pytest.approx(number), "some list was never drawn"
    statistic = sum((found[c] - expected[c]) ** 2 / expected[c] for c in found)
    freedom = len(found) - 1
    assert statistic < freedom + 4 * np.sqrt(2 * freedom)


def test_log_probs_are_those_of_uniform_choices():
    depths = [1, 2, 3, 1, 2]

    rollouts = RandomSearch(CONDITIONAL, 5).sample(depths, generators(5))

    for depth, rollout in zip(depths, rollouts, strict=True):
        assert len(CONDITIONAL.decode(rollout.choices, depth).layers) == depth
        num_choices = [
            CONDITIONAL.next_decision(rollout.choices[:step], depth).num_choices
            for step in range(len(rollout.choices))
        ]
        assert rollout.log_probs == pytest.approx([-np.log(n) for n in num_choices])


def test_rollout_is_a_function_of_its_generator_alone():
    search = RandomSearch(CONDITIONAL, 5)
    depths = [3] * 20

    together = search.sample(depths, generators(20))
    backwards = search.sample(depths, generators(20)[::-1])[::-1]
    search.load(np.ones(5, np.float32))
    again = search.sample(depths, generators(20))

    assert together == backwards == again
    assert len(set(together)) > 10


@pytest.mark.parametrize("num_parameters", [1, 5, 1234])
def test_gradient_is_zero_and_of_the_length_of_the_parameters(num_parameters):
    search = RandomSearch(CONDITIONAL, num_parameters)
    rollouts = search.sample([1, 2], generators(2))

    gradient = search.gradient([1, 2], rollouts, [1.0, -0.5])

    assert gradient.dtype == np.float32
    assert gradient.shape == (num_parameters,)
    assert not gradient.any()


def test_anchor_point_with_more_bits_than_a_machine_word_is_drawn():
    rollout = RandomSearch(SKIPS, 5).sample([80], generators(1))[0]

    assert len(rollout.choices) == 80
    assert 2**70 < rollout.choices[-1] < 2**79
    assert rollout.log_prob == pytest.approx(-np.log(2) * 79 * 80 / 2)
    assert len(SKIPS.decode(rollout.choices, 80).layers) == 80
