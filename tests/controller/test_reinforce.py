from __future__ import annotations

import numpy as np
import pytest
import torch
from support.spaces import ChainSpace, ConditionalSpace, all_lists

from controller.baseline import Baseline
from controller.policy import Policy, PolicySettings
from controller.reinforce import Reinforce
from controller.rollout import Rollout
from controller.strategy import UnusableGradient
from ps.errors import InvalidRequest
from ps.optimizer import AdamSettings
from ps.plan import ShardPlan, UpdateSettings
from ps.push import MAX_NORM, Push
from ps.store import Store

SETTINGS = PolicySettings(hidden_size=5, embedding_size=4, init_range=1.0)
DEEPEST = 3

PAIRS = ChainSpace({"color": 2, "shape": 3})
LISTS = list(all_lists(PAIRS, depth=1))  # all six
REWARDS = dict(zip(LISTS, [0.9, 0.1, 0.35, 0.0, 1.0, 0.2], strict=True))


def make_reinforce(space=PAIRS, seed=0, num_shards=2, settings=SETTINGS):
    policy = Policy(space, settings, DEEPEST, np.random.default_rng(seed))
    return Reinforce(policy, num_shards), policy


def rollout(choices):
    """Give a rollout that somebody else has drawn: its log-probabilities are not looked at."""
    return Rollout(tuple(choices), (np.nan,) * len(choices))


def exact_gradient(policy, rewards=REWARDS, depth=1):
    """Give the gradient of -E[R] by writing out the expectation, in the order of the layout."""
    probabilities = policy.log_probs([depth] * len(rewards), list(rewards)).sum(dim=1).exp()
    expected_reward = (probabilities * torch.tensor(list(rewards.values()))).sum()
    # The embedding of the last decision is the input of nothing: its gradient is zero.
    gradients = torch.autograd.grad(
        -expected_reward, tuple(policy.parameters()), materialize_grads=True
    )
    return torch.cat([gradient.flatten() for gradient in gradients]).numpy()


def probability(policy, choices, depth=1):
    return policy.log_probs([depth], [choices]).sum().exp().item()


# --- The gradient is that of the expected reward.


@pytest.mark.parametrize("baseline", [0.0, 0.4, -3.0])
def test_gradient_averaged_over_all_lists_is_exact_whatever_the_baseline(baseline):
    reinforce, policy = make_reinforce()

    mean = sum(
        probability(policy, choices)
        * reinforce.gradient([1], [rollout(choices)], [REWARDS[choices] - baseline])
        for choices in LISTS
    )

    exact = exact_gradient(policy)
    assert np.abs(exact).max() > 0.01
    np.testing.assert_allclose(mean, exact, atol=1e-6)


@pytest.mark.parametrize("sharing", ["kind", "position"])
def test_gradient_where_kinds_come_again_is_exact_however_weights_are_shared(sharing):
    settings = SETTINGS.model_copy(update={"sharing": sharing})
    reinforce, policy = make_reinforce(settings=settings)
    lists = list(all_lists(PAIRS, depth=2))  # 36
    rewards = dict(zip(lists, np.random.default_rng(1).random(len(lists)).tolist(), strict=True))

    mean = sum(
        probability(policy, choices, 2) * reinforce.gradient([2], [rollout(choices)], [reward])
        for choices, reward in rewards.items()
    )

    exact = exact_gradient(policy, rewards, 2)
    np.testing.assert_allclose(mean, exact, atol=1e-6)
    assert np.linalg.norm(exact) > 0.01


def test_gradient_by_position_leaves_the_steps_of_deeper_networks_alone():
    reinforce, _ = make_reinforce(settings=SETTINGS.model_copy(update={"sharing": "position"}))

    gradient = reinforce.gradient([2], [rollout((1, 2, 0, 1))], [1.0])

    tensors = reinforce.layout.unflatten(gradient)
    moved = {name for name, tensor in tensors.items() if name.startswith("soft") and tensor.any()}
    names = [f"at_{step}_of_{kind}" for step, kind in enumerate(["color", "shape"] * 2)]
    assert moved == {f"softmaxes.{name}.{part}" for name in names for part in ("weight", "bias")}
    assert "softmaxes.at_5_of_shape.weight" in tensors


@pytest.mark.parametrize("baseline", [0.0, 0.4])
def test_gradient_of_many_rollouts_agrees_with_the_exact_one(baseline):
    reinforce, policy = make_reinforce()
    number = 5000

    rollouts = reinforce.sample(
        [1] * number, [np.random.default_rng((2, i)) for i in range(number)]
    )
    advantages = [REWARDS[r.choices] - baseline for r in rollouts]
    mean = reinforce.gradient([1] * number, rollouts, advantages)

    singles = {
        choices: reinforce.gradient([1], [rollout(choices)], [REWARDS[choices] - baseline])
        for choices in LISTS
    }
    samples = np.stack([singles[r.choices] for r in rollouts])  # (number, P)
    standard_error = samples.std(axis=0, ddof=1) / np.sqrt(number)
    exact = exact_gradient(policy)
    # Six lists span five directions; in no direction at all is the error above 5 standard errors,
    # but for one seed in 7,000.
    assert np.all(np.abs(mean - exact) <= 5 * standard_error + 1e-6)
    # The errors are small beside the gradient, or the line above would prove nothing.
    assert np.linalg.norm(standard_error) < 0.1 * np.linalg.norm(exact)


def test_gradient_with_a_baseline_near_the_mean_reward_varies_less():
    reinforce, policy = make_reinforce()
    probabilities = {choices: probability(policy, choices) for choices in LISTS}
    mean_reward = sum(probabilities[choices] * REWARDS[choices] for choices in LISTS)

    def second_moment(baseline):
        return sum(
            probabilities[choices]
            * np.square(
                reinforce.gradient([1], [rollout(choices)], [REWARDS[choices] - baseline])
            ).sum()
            for choices in LISTS
        )

    assert second_moment(mean_reward) < second_moment(0.0) < second_moment(-1.0)


# --- Rollouts that were sampled with other parameters.

SWITCH = ChainSpace({"color": 3})


def sampled_elsewhere(policy, others, space_lists):
    """Give every list as a rollout of another policy, and that policy's probability of it."""
    log_probs = others.log_probs([1] * len(space_lists), space_lists).detach()
    rollouts = [
        Rollout(choices, tuple(row.tolist()))
        for choices, row in zip(space_lists, log_probs, strict=True)
    ]
    return rollouts, log_probs.sum(dim=1).exp().tolist()


def moved(policy, distance):
    """Give a policy near this one."""
    other = Policy(SWITCH, SETTINGS, DEEPEST, np.random.default_rng(0))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for mine, its in zip(other.parameters(), policy.parameters(), strict=True):
            mine.copy_(its + distance * torch.randn(its.shape, generator=generator))
    return other


def test_gradient_reweighted_is_on_average_that_of_the_expected_reward_at_the_new_parameters():
    reinforce, policy = make_reinforce(SWITCH)
    lists, rewards = [(0,), (1,), (2,)], [0.9, 0.1, 0.4]
    rollouts, probabilities = sampled_elsewhere(policy, moved(policy, 0.15), lists)
    now = [probability(policy, choices) for choices in lists]
    ratios = np.divide(now, probabilities)
    assert np.abs(ratios - 1).max() > 0.02, "the policies hardly differ"
    assert 0.8 < ratios.min() < ratios.max() < 1.2, "a ratio meets its bounds"

    mean = sum(
        p * reinforce.gradient([1], [r], [reward], is_reweighted=True)
        for p, r, reward in zip(probabilities, rollouts, rewards, strict=True)
    )

    exact = sum(
        p * reinforce.gradient([1], [r], [reward])
        for p, r, reward in zip(now, rollouts, rewards, strict=True)
    )
    np.testing.assert_allclose(mean, exact, atol=1e-6)
    unweighted = sum(
        p * reinforce.gradient([1], [r], [reward])
        for p, r, reward in zip(probabilities, rollouts, rewards, strict=True)
    )
    assert np.abs(unweighted - exact).max() > 1e-3, "the weights made no difference"


@pytest.mark.parametrize(("factor", "weight"), [(0.5, 0.8), (0.9, 0.9), (1.1, 1.1), (3.0, 1.2)])
def test_decision_is_reweighted_by_its_own_ratio_within_bounds(factor, weight):
    reinforce, policy = make_reinforce(SWITCH)
    then = np.log(probability(policy, (1,)) / factor)

    weighted = reinforce.gradient([1], [Rollout((1,), (float(then),))], [0.7], is_reweighted=True)

    np.testing.assert_allclose(
        weighted, weight * reinforce.gradient([1], [rollout((1,))], [0.7]), rtol=1e-4, atol=1e-7
    )


def test_decisions_of_one_rollout_have_weights_of_their_own():
    reinforce, policy = make_reinforce()
    log_probs = policy.log_probs([1], [(1, 2)])[0].tolist()

    def gradient(first, second):
        then = (log_probs[0] - np.log(first), log_probs[1] - np.log(second))
        return reinforce.gradient([1], [Rollout((1, 2), then)], [1.0], is_reweighted=True)

    plain = reinforce.gradient([1], [rollout((1, 2))], [1.0])
    # The gradient is the sum of two parts, of which each has its weight.
    np.testing.assert_allclose(gradient(1.1, 0.9) + gradient(0.9, 1.1), 2 * plain, atol=1e-6)
    assert np.abs(gradient(1.1, 0.9) - gradient(0.9, 1.1)).max() > 1e-3


def test_gradient_of_several_rollouts_is_the_mean_of_their_own():
    space = ConditionalSpace()
    reinforce, _ = make_reinforce(space)
    depths = [1, 2, 3, 2, 1]
    rollouts = reinforce.sample(depths, [np.random.default_rng(i) for i in range(5)])
    advantages = [0.5, -0.25, 1.0, 0.0, -0.75]

    together = reinforce.gradient(depths, rollouts, advantages)
    singles = [
        reinforce.gradient([depth], [one], [advantage])
        for depth, one, advantage in zip(depths, rollouts, advantages, strict=True)
    ]

    np.testing.assert_allclose(together, np.mean(singles, axis=0), atol=1e-6)


def test_gradient_grows_with_the_advantage():
    reinforce, _ = make_reinforce()

    once = reinforce.gradient([1], [rollout((1, 2))], [0.25])
    four_times = reinforce.gradient([1], [rollout((1, 2))], [1.0])

    np.testing.assert_allclose(four_times, 4 * once, atol=1e-6)


def test_first_gradient_of_a_search_is_not_zero():
    reinforce, _ = make_reinforce()

    gradient = reinforce.gradient([1], [rollout((1, 2))], [0.2 - Baseline(0.9).stamp])

    assert np.abs(gradient).max() > 1e-3


def test_gradient_of_a_kind_that_no_rollout_met_is_zero():
    space = ConditionalSpace()
    reinforce, _ = make_reinforce(space)

    gradient = reinforce.layout.unflatten(
        reinforce.gradient([1, 1], [rollout((1, 2)), rollout((2,))], [1.0, 0.5])
    )

    met = {name for name, part in gradient.items() if np.abs(part).sum() > 0}
    assert {"softmaxes.of_type.weight", "softmaxes.of_size.bias", "first_input"} <= met
    assert not any("color" in name for name in met)


@pytest.mark.parametrize("choices", LISTS, ids=str)
def test_descent_makes_a_rollout_better_than_the_baseline_more_probable(choices):
    reinforce, policy = make_reinforce()
    values, before = reinforce.values, probability(policy, choices)
    gradient = reinforce.gradient([1], [rollout(choices)], [0.5])

    reinforce.load(values - np.float32(0.05) * gradient)

    assert probability(policy, choices) > before * 1.005


@pytest.mark.parametrize("choices", LISTS, ids=str)
def test_descent_makes_a_rollout_worse_than_the_baseline_less_probable(choices):
    reinforce, policy = make_reinforce()
    values, before = reinforce.values, probability(policy, choices)
    gradient = reinforce.gradient([1], [rollout(choices)], [-0.5])

    reinforce.load(values - np.float32(0.05) * gradient)

    assert probability(policy, choices) < before * 0.995


def test_gradient_of_a_rollout_as_good_as_the_baseline_is_zero():
    reinforce, _ = make_reinforce()

    assert not reinforce.gradient([1], [rollout((1, 2))], [0.0]).any()


# --- What is not finite stays in the replica.


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), float("-inf")])
def test_advantage_that_is_not_finite_is_refused(wrong):
    reinforce, _ = make_reinforce()

    with pytest.raises(UnusableGradient, match=rf"^advantages=\[0.5, {wrong}\]: must be finite$"):
        reinforce.gradient([1, 1], [rollout((0, 0)), rollout((1, 1))], [0.5, wrong])


def test_gradient_that_is_not_finite_is_refused():
    reinforce, _ = make_reinforce()
    reinforce.load(np.full_like(reinforce.values, np.inf))

    with pytest.raises(UnusableGradient, match=r"^the norm of the policy gradient is nan: must be"):
        reinforce.gradient([1], [rollout((0, 0))], [0.5])


def test_gradient_may_be_as_large_as_a_shard_takes_and_no_larger():
    reinforce, _ = make_reinforce(num_shards=1)
    one = reinforce.gradient([1], [rollout((0, 0))], [1.0])
    limit = MAX_NORM / np.linalg.norm(one.astype(np.float64))
    store = Store(ShardPlan(reinforce.layout, 0, AdamSettings(), UpdateSettings()))

    large = reinforce.gradient([1], [rollout((0, 0))], [0.99 * limit])
    store.check_gradient(Push(0, 1, 1, 0, large))

    with pytest.raises(InvalidRequest, match="norm"):
        store.check_gradient(Push(0, 1, 1, 0, one * np.float32(1.01 * limit)))
    with pytest.raises(UnusableGradient, match=r"must be at most 1e\+18"):
        reinforce.gradient([1], [rollout((0, 0))], [1.01 * limit])


# --- Parameters come in and go out.


def test_values_are_the_parameters_of_the_policy_in_the_order_of_the_layout():
    reinforce, policy = make_reinforce(num_shards=3)

    assert reinforce.layout.num_shards == 3
    assert [name for name, _ in reinforce.layout.shapes] == [
        n for n, _ in policy.named_parameters()
    ]
    expected = np.concatenate([p.detach().numpy().ravel() for p in policy.parameters()])
    np.testing.assert_array_equal(reinforce.values, expected)
    assert reinforce.values.dtype == np.float32


def test_values_loaded_make_another_policy_the_same():
    one, policy = make_reinforce(seed=0)
    other, other_policy = make_reinforce(seed=1)

    other.load(one.values)

    np.testing.assert_array_equal(other.values, one.values)
    assert probability(other_policy, (1, 2)) == probability(policy, (1, 2))
    gradients = [r.gradient([1], [rollout((1, 2))], [1.0]) for r in (one, other)]
    np.testing.assert_array_equal(*gradients)


def test_values_given_and_taken_are_copies():
    reinforce, _ = make_reinforce()
    before = reinforce.values

    reinforce.values[:] = 7.0
    np.testing.assert_array_equal(reinforce.values, before)

    loaded = before.copy()
    reinforce.load(loaded)
    loaded[:] = 7.0
    np.testing.assert_array_equal(reinforce.values, before)


def test_values_that_may_not_be_written_to_are_loaded():
    reinforce, _ = make_reinforce()
    values = np.frombuffer((reinforce.values + 1).tobytes(), np.float32)

    reinforce.load(values)

    np.testing.assert_array_equal(reinforce.values, values)


def test_values_of_another_length_are_refused():
    reinforce, _ = make_reinforce()

    with pytest.raises(ValueError, match=r"^flat.shape="):
        reinforce.load(reinforce.values[:-1])


def test_gradient_changes_no_parameter():
    reinforce, _ = make_reinforce()
    before = reinforce.values

    reinforce.gradient([1], [rollout((1, 2))], [1.0])

    np.testing.assert_array_equal(reinforce.values, before)
