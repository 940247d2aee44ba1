"""PPO, against its formula written out in NumPy, and against REINFORCE."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.searches import make_reinforce
from support.spaces import ChainSpace, ConditionalSpace, all_lists

from child.result import MAX_REWARD
from controller.learning import LearningSettings
from controller.policy import Policy, PolicySettings
from controller.ppo import Ppo
from controller.reinforce import Reinforce
from controller.rollout import Rollout
from controller.sampled import Rewarded, Sampled, gradient_of
from controller.strategy import UnusableGradient
from controller.trial import Stamp
from ps.client import Pulled

SPACE = ConditionalSpace()
SETTINGS = PolicySettings(hidden_size=5, embedding_size=4, init_range=1.0)
DEPTHS = [1, 2, 2, 1, 3]
ADVANTAGES = [0.9, -0.5, 0.25, -0.75, 0.1]
SINGLE = ChainSpace({"color": 3})


def learner(kind, space=SPACE, seed=0, **learning):
    policy = Policy(space, SETTINGS, 3, np.random.default_rng(seed))
    return kind(policy, 2, LearningSettings(**learning))


def sampled(strategy):
    return strategy.sample(DEPTHS, [np.random.default_rng((7, i)) for i in range(len(DEPTHS))])


def score(reinforce, depth, choices):
    """Give the log-probability of each choice, (T,), and the gradient of each, (T, P), float64."""
    log_probs = reinforce._policy.log_probs([depth], [choices])[0]
    named = dict(reinforce._policy.named_parameters())
    rows = []
    for log_prob in log_probs:
        found = torch.autograd.grad(
            log_prob, list(named.values()), retain_graph=True, materialize_grads=True
        )
        flat = {name: g.numpy() for name, g in zip(named, found, strict=True)}
        rows.append(reinforce.layout.flatten(flat).astype(np.float64))
    return log_probs.detach().double().numpy(), np.stack(rows)


def weight_of(ratio, advantage, clip):
    """Give what min(r A, clip(r) A) is multiplied with the gradient of log r, case by case."""
    if advantage > 0 and ratio > 1 + clip:
        return 0.0
    if advantage < 0 and ratio < 1 - clip:
        return 0.0
    return ratio * advantage


def by_hand(values, then, rollouts, clip):
    """Give the gradient of the clipped loss at some values, one decision after another.

    then: of each rollout the log-probabilities that it was sampled with.
    """
    reinforce = learner(Reinforce)
    reinforce.load(values)
    total, weights = 0.0, []
    for depth, rollout, before, advantage in zip(DEPTHS, rollouts, then, ADVANTAGES, strict=True):
        now, gradients = score(reinforce, depth, rollout.choices)
        for p, q, gradient in zip(now, before, gradients, strict=True):
            weights.append(weight_of(np.exp(p - q), advantage, clip))
            total = total - weights[-1] * gradient / len(rollouts)
    return total, weights


# --- One epoch.


def test_gradient_of_one_epoch_is_that_of_reinforce_bit_for_bit():
    ppo, reinforce = learner(Ppo, epochs=1), learner(Reinforce)
    rollouts = sampled(reinforce)

    gradient = ppo.gradient(DEPTHS, rollouts, ADVANTAGES)

    expected = reinforce.gradient(DEPTHS, rollouts, ADVANTAGES)
    assert np.abs(expected).max() > 0.01
    np.testing.assert_array_equal(gradient, expected)


def test_gradient_of_one_epoch_with_a_bonus_is_that_of_reinforce_with_it():
    learning = {"epochs": 1, "entropy_bonus": 0.25}
    ppo, reinforce = learner(Ppo, **learning), learner(Reinforce, **learning)
    rollouts = sampled(reinforce)

    gradient = ppo.gradient(DEPTHS, rollouts, ADVANTAGES)

    expected = reinforce.gradient(DEPTHS, rollouts, ADVANTAGES)
    np.testing.assert_array_equal(gradient, expected)
    assert np.abs(expected - learner(Reinforce).gradient(DEPTHS, rollouts, ADVANTAGES)).max() > 0.01


@pytest.mark.parametrize("clip", [0.1, 0.2])
@pytest.mark.parametrize("advantage", [0.7, -0.7])
@pytest.mark.parametrize("ratio", [0.5, 0.85, 1.0, 1.15, 3.0])
def test_clip_bites_where_a_decision_has_moved_enough_the_way_its_advantage_pulls(
    clip, advantage, ratio
):
    ppo, reinforce = learner(Ppo, SINGLE, epochs=1, clip=clip), learner(Reinforce, SINGLE)
    now = reinforce._policy.log_probs([1], [(1,)]).item()
    rollout = Rollout((1,), (now - np.log(ratio),))

    gradient = ppo.gradient([1], [rollout], [advantage], is_reweighted=True)

    plain = reinforce.gradient([1], [rollout], [advantage])
    assert np.abs(plain).max() > 0.01
    expected = weight_of(ratio, advantage, clip) / advantage * plain
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-7)


def test_bounds_of_the_clip_are_met_on_both_sides_in_the_test_before():
    table = {
        (ratio, advantage): weight_of(ratio, advantage, 0.2) != 0
        for ratio in (0.5, 3.0)
        for advantage in (0.7, -0.7)
    }

    assert table == {(0.5, 0.7): True, (0.5, -0.7): False, (3.0, 0.7): False, (3.0, -0.7): True}


def test_gradient_of_rollouts_sampled_elsewhere_is_that_of_the_formula():
    ppo, other = learner(Ppo, epochs=1), learner(Reinforce, seed=1)
    rollouts = sampled(other)

    gradient = ppo.gradient(DEPTHS, rollouts, ADVANTAGES, is_reweighted=True)

    then = [rollout.log_probs for rollout in rollouts]
    expected, weights = by_hand(ppo.values, then, rollouts, 0.2)
    assert 0 < weights.count(0.0) < len(weights)
    np.testing.assert_allclose(gradient, expected, atol=1e-6)


@pytest.mark.parametrize("then", [-25.0, -100.0, -1e30])
@pytest.mark.parametrize("sign", [1, -1])
def test_ratio_that_overflows_counts_for_nothing_and_takes_nothing_from_the_others(then, sign):
    ppo = learner(Ppo, SINGLE, epochs=1)
    now = ppo._policy.log_probs([1], [(2,)]).item()
    plain = Rollout((2,), (now,))

    both = ppo.gradient(
        [1, 1], [Rollout((1,), (then,)), plain], [sign * 0.9, 0.5], is_reweighted=True
    )

    alone = ppo.gradient([1], [plain], [0.5], is_reweighted=True)
    assert np.abs(alone).max() > 0.01
    np.testing.assert_allclose(both, alone / 2, rtol=1e-5, atol=1e-8)


def test_decision_that_moved_far_the_wrong_way_counts_in_full_up_to_the_bound():
    ppo, reinforce = learner(Ppo, SINGLE, epochs=1), learner(Reinforce, SINGLE)
    now = reinforce._policy.log_probs([1], [(1,)]).item()

    gradient = ppo.gradient([1], [Rollout((1,), (now - 19.0,))], [-0.5], is_reweighted=True)

    plain = reinforce.gradient([1], [Rollout((1,), (now,))], [-0.5])
    np.testing.assert_allclose(gradient, np.exp(19.0) * plain, rtol=1e-4)


@pytest.mark.parametrize("advantage", [MAX_REWARD, -MAX_REWARD])
@pytest.mark.parametrize("log_ratio", [-1e30, -200.0, 19.9, 20.1, 200.0])
def test_gradient_of_the_greatest_rewards_is_finite_whatever_the_ratio(advantage, log_ratio):
    ppo = learner(Ppo, SINGLE, epochs=1)
    now = ppo._policy.log_probs([1], [(1,)]).item()

    gradient = ppo.gradient(
        [1], [Rollout((1,), (now - log_ratio,))], [advantage], is_reweighted=True
    )

    assert np.isfinite(gradient).all()


# --- Several.


@pytest.mark.parametrize("is_reweighted", [False, True])
@pytest.mark.parametrize("epochs", [2, 4])
def test_gradient_is_the_mean_of_those_met_on_steps_of_a_fixed_length_along_them(
    epochs, is_reweighted
):
    clip, inner_step = 0.15, 0.25
    ppo = learner(Ppo, epochs=epochs, clip=clip, inner_step=inner_step)
    rollouts = sampled(learner(Reinforce, seed=1) if is_reweighted else ppo)

    gradient = ppo.gradient(DEPTHS, rollouts, ADVANTAGES, is_reweighted=is_reweighted)

    then = [rollout.log_probs for rollout in rollouts]
    values, met, clipped = ppo.values.astype(np.float64), [], []
    for _ in range(epochs):
        found, weights = by_hand(values.astype(np.float32), then, rollouts, clip)
        values = values - inner_step * found / np.linalg.norm(found)
        met.append(found)
        clipped.append(weights.count(0.0))
    np.testing.assert_allclose(gradient, np.mean(met, axis=0), atol=1e-5)
    assert np.abs(gradient - met[0]).max() > 1e-2
    assert clipped[-1] > 0


def test_ratios_of_rollouts_sampled_with_the_loaded_parameters_are_to_those():
    ppo = learner(Ppo, epochs=3)
    rollouts = sampled(ppo)
    unknown = [Rollout(r.choices, (np.nan,) * len(r.choices)) for r in rollouts]

    # The figures of another batch may differ in the last bit.
    np.testing.assert_array_equal(
        ppo.gradient(DEPTHS, unknown, ADVANTAGES), ppo.gradient(DEPTHS, rollouts, ADVANTAGES)
    )


@pytest.mark.parametrize("advantages", [ADVANTAGES, [0.0] * 5])
def test_gradient_changes_no_parameter(advantages):
    ppo = learner(Ppo, epochs=3)
    before, rollouts = ppo.values, sampled(ppo)

    ppo.gradient(DEPTHS, rollouts, advantages)

    np.testing.assert_array_equal(ppo.values, before)


def test_gradient_that_fails_after_some_steps_changes_no_parameter():
    ppo = learner(Ppo, epochs=3, inner_step=0.5)
    before, rollouts = ppo.values, sampled(ppo)
    descent, calls = ppo._descent, []

    def failing(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise UnusableGradient("the second")
        return descent(*arguments)

    ppo._descent = failing
    with pytest.raises(UnusableGradient, match="the second"):
        ppo.gradient(DEPTHS, rollouts, ADVANTAGES)

    np.testing.assert_array_equal(ppo.values, before)


def test_gradient_of_rewards_as_expected_is_zero():
    ppo = learner(Ppo, epochs=3)

    assert not ppo.gradient(DEPTHS, sampled(ppo), [0.0] * 5).any()


def test_gradient_grows_with_the_scale_of_rewards_and_turns_with_nothing():
    ppo = learner(Ppo, epochs=4)
    rollouts = sampled(ppo)

    once = ppo.gradient(DEPTHS, rollouts, ADVANTAGES)
    larger = ppo.gradient(DEPTHS, rollouts, [1024 * each for each in ADVANTAGES])

    np.testing.assert_allclose(larger, 1024 * once, rtol=1e-3, atol=1e-2)


def test_advantage_that_is_not_finite_is_refused():
    ppo = learner(Ppo)

    with pytest.raises(UnusableGradient, match=r"^advantages="):
        ppo.gradient([1], [Rollout((2,), (-1.0,))], [float("inf")])


# --- In a search.


def test_gradient_of_trials_whose_parameters_are_gone_is_taken_at_those_of_now():
    now = Pulled(make_reinforce(SPACE, seed=7).values * 5, (7, 17))
    ppo = Ppo(make_reinforce(SPACE)._policy, 2, LearningSettings(epochs=1))
    then = (np.log(0.1), np.log(0.2))
    trials = [
        Rewarded(Sampled(1, 1, Rollout((1, 2), then), (3, 13), None), Stamp(0.9, 0.2)),
        Rewarded(Sampled(2, 1, Rollout((1, 0), then), (3, 13), None), Stamp(0.1, 0.5)),
    ]

    found = gradient_of(trials, ppo, lambda: now, is_corrected=False)

    reinforce = make_reinforce(SPACE)
    reinforce.load(now.values)
    expected = 0.0
    for choices, advantage in (((1, 2), 0.7), ((1, 0), -0.4)):
        log_probs, gradients = score(reinforce, 1, choices)
        for p, q, gradient in zip(log_probs, then, gradients, strict=True):
            expected = expected - weight_of(np.exp(p - q), advantage, 0.2) * gradient / 2
    assert found.versions == (7, 17)
    np.testing.assert_allclose(found.values, expected, atol=1e-6)


def test_steps_along_gradients_of_ppo_find_the_best_list():
    space = ChainSpace({"color": 2, "shape": 3})
    rewards = dict(zip(all_lists(space, 1), [0.9, 0.1, 0.35, 0.0, 1.0, 0.2], strict=True))
    ppo = learner(Ppo, space)
    for number in range(150):
        rollouts = ppo.sample([1] * 8, [np.random.default_rng((number, i)) for i in range(8)])
        advantages = [rewards[rollout.choices] - 0.5 for rollout in rollouts]
        step = ppo.gradient([1] * 8, rollouts, advantages)
        ppo.load(ppo.values - np.float32(0.3) * step)

    best = ppo._policy.log_probs([1], [(1, 1)]).sum().exp().item()
    second = ppo._policy.log_probs([1], [(0, 0)]).sum().exp().item()
    assert best + second > 0.9
