"""The gradient of trials sampled at the same parameters, at several, or at some that are gone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.searches import make_reinforce
from support.spaces import ConditionalSpace

from controller.rollout import Rollout
from controller.sampled import Rewarded, Sampled, gradient_of, oldest
from controller.trial import Stamp
from ps.client import Pulled

SPACE = ConditionalSpace()
CHOICES = [(0, 1, 1), (1, 2), (2,), (0, 0, 0), (1, 0)]
STAMPS = [Stamp(r, b) for r, b in ((0.9, 0.2), (0.1, 0.5), (0.6, 0.4), (0.3, 0.6), (1.0, 0.3))]


def pulled(number):
    """Give the parameters of a version, far enough from the next that ratios are clipped."""
    values = make_reinforce(SPACE, seed=number).values * 5
    values.flags.writeable = False
    return Pulled(values, (number, number + 10))


def log_probs_at(values, choices):
    """Give the log-probability of each decision, (T,) with a gradient, and the policy."""
    learner = make_reinforce(SPACE)
    learner.load(values)
    return learner, learner._policy.log_probs([1], [choices])[0]


def rewarded_at(versions):
    """Give five trials, recorded, of which number i was sampled at versions[i]."""
    trials = []
    for i, version in enumerate(versions):
        parameters = pulled(version)
        _, log_probs = log_probs_at(parameters.values, CHOICES[i])
        then = tuple(log_probs[: len(CHOICES[i])].tolist())
        sampled = Sampled(i + 1, 1, Rollout(CHOICES[i], then), parameters.versions, parameters)
        trials.append(Rewarded(sampled, STAMPS[i]))
    # Trials that were sampled together have the same parameters, not equal ones.
    together = {version: trials[versions.index(version)].sampled.pulled for version in versions}
    return [
        Rewarded(
            Sampled(r.sampled.trial, 1, r.sampled.rollout, r.sampled.versions, together[v]), r.stamp
        )
        for r, v in zip(trials, versions, strict=True)
    ]


def gone(rewarded):
    """Give a trial as a later life knows it: the parameters are gone."""
    s = rewarded.sampled
    return Rewarded(Sampled(s.trial, s.depth, s.rollout, s.versions, None), rewarded.stamp)


def by_hand(values, rewarded, *, is_weighted):
    """Give the gradient of one trial's loss at some values, each decision weighted if so."""
    learner, log_probs = log_probs_at(values, rewarded.sampled.rollout.choices)
    then = np.array(rewarded.sampled.rollout.log_probs)
    now = log_probs.detach().numpy()[: len(then)]
    ratios = np.clip(np.exp(now) / np.exp(then), 0.8, 1.2) if is_weighted else np.ones_like(now)
    advantage = rewarded.stamp.reward - rewarded.stamp.baseline
    loss = -sum(float(w) * p for w, p in zip(ratios, log_probs, strict=False)) * advantage
    named = dict(learner._policy.named_parameters())
    gradients = torch.autograd.grad(loss, list(named.values()), materialize_grads=True)
    return learner.layout.flatten({n: g.numpy() for n, g in zip(named, gradients, strict=True)})


def mean(gradients):
    return np.mean(np.array(gradients, np.float64), axis=0)


def never():
    raise AssertionError("nothing was to be pulled")


def test_gradient_of_trials_sampled_together_is_the_strategys_bit_for_bit():
    rewarded = rewarded_at([3] * 5)
    learner = make_reinforce(SPACE)

    versions, gradient, _ = gradient_of(rewarded, learner, never, is_corrected=False)

    assert versions == (3, 13)
    learner.load(pulled(3).values)
    expected = learner.gradient(
        [1] * 5, [r.sampled.rollout for r in rewarded], [r.stamp.advantage for r in rewarded]
    )
    assert gradient.tobytes() == expected.tobytes()


@pytest.mark.parametrize("versions", [[3] * 5, [4, 3, 3, 5, 4], [5, 4, 3, 2, 1]])
def test_gradient_without_correction_is_the_mean_of_each_at_the_parameters_it_was_sampled_with(
    versions,
):
    rewarded = rewarded_at(versions)

    base, gradient, _ = gradient_of(rewarded, make_reinforce(SPACE), never, is_corrected=False)

    assert base == (min(versions), min(versions) + 10)
    expected = mean(
        [
            by_hand(pulled(v).values, r, is_weighted=False)
            for v, r in zip(versions, rewarded, strict=True)
        ]
    )
    assert np.abs(expected).max() > 1e-3
    np.testing.assert_allclose(gradient, expected, atol=2e-7)


@pytest.mark.parametrize("versions", [[3] * 5, [4, 3, 3, 5, 4]])
@pytest.mark.parametrize("are_gone", [False, True])
def test_gradient_with_correction_is_at_the_parameters_of_now_with_clipped_ratios(
    versions, are_gone
):
    rewarded = rewarded_at(versions)
    known = [gone(r) for r in rewarded] if are_gone else rewarded
    now = pulled(7)

    base, gradient, _ = gradient_of(known, make_reinforce(SPACE), lambda: now, is_corrected=True)

    assert base == (7, 17)
    expected = mean([by_hand(now.values, r, is_weighted=True) for r in rewarded])
    unweighted = mean([by_hand(now.values, r, is_weighted=False) for r in rewarded])
    assert np.abs(expected - unweighted).max() > 1e-3
    np.testing.assert_allclose(gradient, expected, atol=2e-7)


def test_ratios_of_these_trials_are_clipped_at_both_ends_and_not_all():
    ratios = []
    for r in rewarded_at([4, 3, 3, 5, 4]):
        _, log_probs = log_probs_at(pulled(7).values, r.sampled.rollout.choices)
        then = np.array(r.sampled.rollout.log_probs)
        ratios += list(np.exp(log_probs.detach().numpy()[: len(then)] - then))

    assert min(ratios) < 0.8
    assert max(ratios) > 1.2
    assert any(0.8 < ratio < 1.2 for ratio in ratios)


def test_trials_whose_parameters_are_gone_count_at_those_of_now_beside_the_others():
    rewarded = rewarded_at([4, 3, 3, 5, 4])
    mixed = [gone(r) if i in (0, 3) else r for i, r in enumerate(rewarded)]
    pulls = iter([pulled(7)])

    base, gradient, _ = gradient_of(
        mixed, make_reinforce(SPACE), lambda: next(pulls), is_corrected=False
    )

    assert base == (3, 13)
    expected = mean(
        [
            by_hand(pulled(7 if r.sampled.pulled is None else v).values, r, is_weighted=w)
            for r, v, w in zip(
                mixed, (4, 3, 3, 5, 4), (True, False, False, True, False), strict=True
            )
        ]
    )
    np.testing.assert_allclose(gradient, expected, atol=2e-7)
    assert next(pulls, None) is None


def test_trials_without_a_finite_gradient_count_as_zero_beside_the_others(caplog):
    rewarded = rewarded_at([4, 3, 3, 5, 4])
    huge = [
        Rewarded(r.sampled, Stamp(1e300, r.stamp.baseline)) if i == 2 else r
        for i, r in enumerate(rewarded)
    ]

    base, gradient, lost = gradient_of(huge, make_reinforce(SPACE), never, is_corrected=False)

    # Trials 2 and 3 were sampled together.
    assert lost == (2, 3)
    assert base == (3, 13)
    expected = mean(
        [
            by_hand(pulled(v).values, r, is_weighted=False) * (r.sampled.trial not in lost)
            for v, r in zip((4, 3, 3, 5, 4), rewarded, strict=True)
        ]
    )
    np.testing.assert_allclose(gradient, expected, atol=2e-7)
    [warning] = caplog.messages
    assert "the rewards of trials [2, 3] count for nothing, and the search goes on" in warning
    assert "their rewards are [0.1, 1e+300]" in warning


def test_gradient_of_trials_that_all_have_a_finite_one_has_lost_none():
    assert (
        gradient_of(
            rewarded_at([4, 3, 3, 5, 4]), make_reinforce(SPACE), never, is_corrected=False
        ).lost
        == ()
    )


def test_oldest_versions_are_those_of_each_shard():
    assert oldest([(3, 9), (5, 2), (4, 4)]) == (3, 2)
    assert oldest([[7]]) == (7,)
