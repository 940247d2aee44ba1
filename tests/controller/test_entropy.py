"""The entropy of the policy, and the bonus for it, against enumeration and written-out formulas."""

from __future__ import annotations

import math
from collections import defaultdict

import numpy as np
import pytest
import torch
from support.spaces import ConditionalSpace, all_lists

from child.convolutional.space import ConvolutionalSpace
from child.convolutional.space_settings import ConvolutionalSettings
from controller.distributions import Bernoullis, Softmax
from controller.learning import LearningSettings
from controller.policy import Policy, PolicySettings
from controller.reinforce import Reinforce
from controller.rollout import Rollout

# Far from uniform, so that a wrong step shows.
SETTINGS = PolicySettings(hidden_size=6, embedding_size=4, init_range=1.0)
CONDITIONAL = ConditionalSpace()
SKIPS = ConvolutionalSpace(
    ConvolutionalSettings(filter_heights=(1, 3), filter_widths=(5,), num_filters=(2,))
)
SPACES = [
    pytest.param(CONDITIONAL, 2, id="conditional, 2 layers"),
    pytest.param(SKIPS, 3, id="skips, 3 layers"),
]


def make_policy(space, seed=0, **changed):
    settings = SETTINGS.model_copy(update=changed)
    return Policy(space, settings, 4, np.random.default_rng(seed))


def test_entropy_of_a_softmax_is_that_of_its_probabilities():
    logits = torch.tensor([[0.0, 1.0, -2.0], [0.3, 0.3, 0.3]], dtype=torch.float64)

    entropy = Softmax(logits).entropy()

    weights = [math.e**0, math.e**1, math.e**-2]
    expected = -sum(w / sum(weights) * math.log(w / sum(weights)) for w in weights)
    assert entropy.tolist() == pytest.approx([expected, math.log(3)])


def test_entropy_of_bits_is_that_of_all_their_combinations():
    logits = [0.7, -1.5, 3.0]
    ones = [1 / (1 + math.exp(-logit)) for logit in logits]

    entropy = Bernoullis(torch.tensor([logits], dtype=torch.float64)).entropy()

    probabilities = [
        math.prod(p if mask >> k & 1 else 1 - p for k, p in enumerate(ones)) for mask in range(8)
    ]
    assert sum(probabilities) == pytest.approx(1)
    assert entropy.tolist() == pytest.approx([-sum(p * math.log(p) for p in probabilities)])


@pytest.mark.parametrize("distribution", [Softmax, Bernoullis])
def test_entropy_of_what_is_certain_is_zero_and_so_is_its_gradient(distribution):
    logits = torch.tensor([[1e4, -1e4]], requires_grad=True)

    entropy = distribution(logits).entropy()

    assert entropy.tolist() == [0.0]
    assert torch.autograd.grad(entropy.sum(), logits)[0].tolist() == [[0.0, 0.0]]


def test_entropy_of_an_anchor_point_without_earlier_ones_is_zero():
    assert Bernoullis(torch.empty(2, 0)).entropy().tolist() == [0.0, 0.0]


def entropies_by_enumeration(policy, space, depth):
    """Give for every list the sum of the entropies on its way, from what follows each prefix."""
    lists = list(all_lists(space, depth))
    log_probs = policy.log_probs([depth] * len(lists), lists).detach().double().numpy()
    following = defaultdict(dict)  # of each prefix, the log-probability of each next choice
    for row, choices in zip(log_probs, lists, strict=True):
        for step, choice in enumerate(choices):
            following[choices[:step]][choice] = row[step]
    entropy = {
        prefix: -sum(math.exp(p) * p for p in each.values()) for prefix, each in following.items()
    }
    sums = [sum(entropy[choices[:step]] for step in range(len(choices))) for choices in lists]
    return lists, log_probs.sum(axis=1), np.array(sums)


@pytest.mark.parametrize("changed", [{}, {"temperature": 0.7, "tanh_constant": 1.5}], ids=str)
@pytest.mark.parametrize(("space", "depth"), SPACES)
def test_entropies_of_a_rollout_are_those_of_all_that_could_follow_each_prefix(
    space, depth, changed
):
    policy = make_policy(space, **changed)
    lists, whole, expected = entropies_by_enumeration(policy, space, depth)

    log_probs, entropies = policy.log_probs_and_entropies([depth] * len(lists), lists)

    assert torch.equal(log_probs, policy.log_probs([depth] * len(lists), lists))
    np.testing.assert_allclose(entropies.detach(), expected, atol=1e-5)
    # By the chain rule their mean is the entropy of the whole list.
    mean = (np.exp(whole) * entropies.detach().numpy()).sum()
    assert mean == pytest.approx(-(np.exp(whole) * whole).sum(), abs=1e-5)
    assert np.ptp(expected) > 0.02


def test_entropies_in_a_batch_of_mixed_depths_are_those_alone():
    policy, depths = make_policy(CONDITIONAL), [3, 1, 2]
    lists = [r.choices for r in policy.sample(depths, [np.random.default_rng(i) for i in range(3)])]

    together = policy.log_probs_and_entropies(depths, lists)[1].tolist()

    alone = [
        policy.log_probs_and_entropies([depth], [choices])[1].item()
        for depth, choices in zip(depths, lists, strict=True)
    ]
    assert together == pytest.approx(alone, abs=1e-6)


@pytest.mark.parametrize(("space", "depth"), SPACES)
def test_gradient_of_entropies_agrees_with_finite_differences(space, depth):
    policy = make_policy(space, tanh_constant=2.5).double()
    lists = [
        rollout.choices
        for rollout in policy.sample([depth] * 3, [np.random.default_rng(i) for i in range(3)])
    ]

    def mean_entropy():
        return policy.log_probs_and_entropies([depth] * 3, lists)[1].mean()

    gradients = torch.autograd.grad(mean_entropy(), tuple(policy.parameters()))
    generator, largest = np.random.default_rng(0), 0.0
    for (name, parameter), gradient in zip(policy.named_parameters(), gradients, strict=True):
        for element in generator.integers(parameter.numel(), size=3):
            at = np.unravel_index(element, parameter.shape)
            difference = 0.0
            with torch.no_grad():
                for sign in (+1, -1):
                    parameter[at] += sign * 1e-5
                    difference += sign * mean_entropy().item()
                    parameter[at] -= sign * 1e-5
            expected = difference / 2e-5
            assert gradient[at].item() == pytest.approx(expected, rel=1e-5, abs=1e-8), (name, at)
            largest = max(largest, abs(expected))
    assert largest > 0.01


# --- The bonus.

CHOICES = [(0, 1, 1), (1, 2), (2,)]
ROLLOUTS = [Rollout(choices, (-1.0,) * len(choices)) for choices in CHOICES]
ADVANTAGES = [0.5, -0.25, 0.125]


def gradient(bonus, advantages=ADVANTAGES, **options):
    policy = make_policy(CONDITIONAL)
    reinforce = Reinforce(policy, 2, LearningSettings(entropy_bonus=bonus))
    return reinforce.gradient([1] * 3, ROLLOUTS, advantages, **options)


def entropy_gradient():
    """Give the gradient of the mean entropy, from the probabilities of all that could follow."""
    policy = make_policy(CONDITIONAL)
    following = {
        (): [(0, 0, 0), (1, 0), (2,)],
        (0,): [(0, size, 0) for size in range(3)],
        (0, 1): [(0, 1, color) for color in range(2)],
        (1,): [(1, size) for size in range(3)],
    }
    total = 0
    for choices in CHOICES:
        for step in range(len(choices)):
            lists = following[choices[:step]]
            log_probs = policy.log_probs([1] * len(lists), lists)[:, step]
            total = total - (log_probs.exp() * log_probs).sum() / 3
    named = dict(policy.named_parameters())
    found = torch.autograd.grad(total, list(named.values()), materialize_grads=True)
    layout = Reinforce(policy, 2).layout
    return layout.flatten({n: g.numpy() for n, g in zip(named, found, strict=True)})


@pytest.mark.parametrize("is_reweighted", [False, True])
@pytest.mark.parametrize("bonus", [0.01, 3.0])
def test_gradient_with_a_bonus_is_less_by_the_bonus_times_that_of_the_mean_entropy(
    bonus, is_reweighted
):
    plain = gradient(0.0, is_reweighted=is_reweighted)

    with_bonus = gradient(bonus, is_reweighted=is_reweighted)

    expected = entropy_gradient()
    assert np.abs(expected).max() > 0.05
    np.testing.assert_allclose(with_bonus, plain - bonus * expected, atol=1e-6)


def test_bonus_counts_where_all_rewards_are_as_expected():
    assert not gradient(0.0, [0.0] * 3).any()
    np.testing.assert_allclose(gradient(0.5, [0.0] * 3), -0.5 * entropy_gradient(), atol=1e-6)


def test_descent_with_nothing_but_a_bonus_makes_the_policy_undecided():
    policy = make_policy(CONDITIONAL)
    reinforce = Reinforce(policy, 2, LearningSettings(entropy_bonus=1.0))

    def entropy():
        _, whole, _ = entropies_by_enumeration(policy, CONDITIONAL, 1)
        return -(np.exp(whole) * whole).sum()

    before = entropy()
    for number in range(150):
        rollouts = reinforce.sample([1] * 8, [np.random.default_rng((number, i)) for i in range(8)])
        step = reinforce.gradient([1] * 8, rollouts, [0.0] * 8)
        reinforce.load(reinforce.values - np.float32(0.1) * step)

    # Each decision gets uniform; that is not the most that ten lists could have, ln 10.
    uniform = math.log(3) + (math.log(3) + math.log(2)) / 3 + math.log(3) / 3
    assert before < uniform - 0.1
    assert entropy() == pytest.approx(uniform, abs=0.02)


def test_settings_by_default_leave_the_paper_as_it_is():
    settings = LearningSettings()

    assert settings.entropy_bonus == 0
    assert PolicySettings().tanh_constant is None
