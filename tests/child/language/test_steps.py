"""What a step of the training does to the weights."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from support.cells import FIGURE_5
from support.language import (
    CELLS,
    Bigram,
    ByHand,
    arrayed,
    cross_entropies,
    model_of,
    passes_of,
    settings_of,
    text_of,
    text_trainer,
)

from child.language.layers import LSTM
from child.schedule import LearningRateSchedule

TEXT = np.random.default_rng(0).integers(0, 5, 41)
TABLE = np.random.default_rng(1).standard_normal((5, 5))

# 41 - 1 tokens in 4 parts, all in one step.
ONE_STEP = {"batch_size": 4, "num_steps": 10}


def train(network, settings, learning_rate=1.0, stream=TEXT):
    passes = passes_of(settings, text_of(stream, [0, 4]))
    return passes.train(passes.learner(network), learning_rate, before_step=lambda: None)


def bigram_gradient(table, stream=TEXT, num_parts=4):
    """Give that of the sum over a part's tokens, the mean over the parts."""
    gradient = np.zeros_like(table)
    for token, target in itertools.pairwise(stream):
        odds = np.exp(table[token])
        gradient[token] += (odds / odds.sum() - np.eye(len(table))[target]) / num_parts
    return gradient


# --- The gradient.


@pytest.mark.parametrize("num_parts", [1, 4, 7, 40])
def test_step_descends_the_sum_over_the_steps_and_the_mean_over_the_parts(num_parts):
    network = Bigram(5, TABLE)

    train(network, settings_of(batch_size=num_parts, num_steps=40), learning_rate=0.25)

    expected = TABLE - 0.25 * bigram_gradient(TABLE, num_parts=num_parts)
    np.testing.assert_allclose(arrayed(network.table), expected, atol=1e-5)


@pytest.mark.parametrize("is_tied", [False, True])
@pytest.mark.parametrize(("architecture", "step"), CELLS, ids=["figure 5", "lstm"])
def test_steps_are_those_of_finite_differences_and_gradients_end_where_a_step_begins(
    architecture, step, is_tied
):
    stream = np.array([0, 2, 1, 3, 3, 0, 1, 2, 0])  # 2 parts of 4 tokens, 2 at a time
    model = model_of(architecture, num_tokens=4, hidden_size=2, is_tied=is_tied)
    by_hand = ByHand(model, step)

    train(model, settings_of(batch_size=2, num_steps=2), learning_rate=0.5, stream=stream)

    inputs, targets = (each.reshape(2, 4).T for each in (stream[:-1], stream[1:]))
    states = None
    for steps in (slice(0, 2), slice(2, 4)):
        reached = states

        def loss(steps=steps, reached=reached):
            logits, _ = by_hand.read(inputs[steps], reached)
            return cross_entropies(logits, targets[steps]).sum() / 2

        gradient = by_hand.gradient(loss)
        _, states = by_hand.read(inputs[steps], reached)
        for weight, derivative in zip(by_hand.weights, gradient, strict=True):
            weight -= 0.5 * derivative
    for found, expected in zip(model.parameters(), by_hand.weights, strict=True):
        np.testing.assert_allclose(arrayed(found), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("limit", [0.01, 0.5])
def test_gradient_that_is_too_long_is_shortened_to_the_norm(limit, precision):
    network, free = Bigram(5, TABLE), Bigram(5, TABLE)
    gradient = bigram_gradient(TABLE)
    assert np.linalg.norm(gradient) > limit

    train(network, settings_of(max_gradient_norm=limit, precision=precision, **ONE_STEP))
    train(free, settings_of(**ONE_STEP))

    moved = arrayed(network.table) - TABLE
    assert np.linalg.norm(moved) == pytest.approx(limit, rel=1e-4)
    np.testing.assert_allclose(moved, -gradient * limit / np.linalg.norm(gradient), atol=1e-5)
    np.testing.assert_allclose(arrayed(free.table) - TABLE, -gradient, atol=1e-5)


def test_gradient_within_the_norm_is_left_as_it_is():
    network = Bigram(5, TABLE)
    norm = np.linalg.norm(bigram_gradient(TABLE))

    train(network, settings_of(max_gradient_norm=1.01 * norm, **ONE_STEP))

    expected = TABLE - bigram_gradient(TABLE)
    np.testing.assert_allclose(arrayed(network.table), expected, atol=1e-5)


@pytest.mark.parametrize("architecture", [FIGURE_5, LSTM], ids=["figure 5", "lstm"])
def test_norm_is_that_of_all_weights_together(architecture):
    model = model_of(architecture)
    before = [arrayed(weight).copy() for weight in model.parameters()]

    train(model, settings_of(max_gradient_norm=0.1, **ONE_STEP))

    after = [arrayed(weight) for weight in model.parameters()]
    moved = [now - then for now, then in zip(after, before, strict=True)]
    assert np.linalg.norm([np.linalg.norm(each) for each in moved]) == pytest.approx(0.1, rel=1e-4)
    assert all(each.any() for each in moved)


# --- The optimizer.


def by_sgd(table, gradients, rates, decay):
    for rate in rates:
        table = table - rate * (gradients(table) + decay * table)
    return table


def by_adam(table, gradients, rates, decay):
    mean, square = np.zeros_like(table), np.zeros_like(table)
    for count, rate in enumerate(rates, start=1):
        gradient = gradients(table) + decay * table
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.999 * square + 0.001 * gradient**2
        change = mean / (1 - 0.9**count) / (np.sqrt(square / (1 - 0.999**count)) + 1e-8)
        table = table - rate * change
    return table


@pytest.mark.parametrize(
    ("optimizer", "rate", "decay", "by_hand"),
    [("sgd", 0.1, 0.0, by_sgd), ("sgd", 0.1, 0.05, by_sgd), ("adam", 0.01, 0.05, by_adam)],
)
def test_child_is_trained_by_its_optimizer_at_the_rate_of_the_epoch(
    optimizer, rate, decay, by_hand
):
    network = Bigram(5, TABLE)
    settings = settings_of(
        num_epochs=9, learning_rate=rate, optimizer=optimizer, weight_decay=decay,
        schedule=LearningRateSchedule(kind="exponential", constant_epochs=6, factor=0.8),
        **ONE_STEP,
    )  # fmt: skip

    result = text_trainer(settings, text_of(TEXT)).train(lambda: network, seed=0)

    assert result.state == "completed"
    rates = [rate] * 6 + [0.8 * rate, 0.64 * rate, 0.512 * rate]
    expected = by_hand(TABLE, bigram_gradient, rates, decay)
    np.testing.assert_allclose(arrayed(network.table), expected, atol=2e-5)


def test_weights_decay_after_the_gradient_was_shortened():
    network = Bigram(5, TABLE)

    train(network, settings_of(max_gradient_norm=1e-9, weight_decay=0.25, **ONE_STEP))

    np.testing.assert_allclose(arrayed(network.table), 0.75 * TABLE, atol=1e-6)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_learner_has_the_network_itself_and_all_its_weights(optimizer):
    passes = passes_of(settings_of(optimizer=optimizer), text_of(TEXT))
    model = model_of(FIGURE_5, is_tied=True)

    learner = passes.learner(model)

    assert learner.network is model
    given = [weight for group in learner.optimizer.param_groups for weight in group["params"]]
    assert [id(weight) for weight in given] == [id(weight) for weight in model.parameters()]


# --- Number formats.


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@pytest.mark.parametrize("architecture", [FIGURE_5, LSTM], ids=["figure 5", "lstm"])
def test_child_in_fewer_bits_ends_near_the_one_in_float32(architecture, precision):
    ends = []
    for each in ("float32", precision):
        model = model_of(architecture).float()
        start = [arrayed(weight).copy() for weight in model.parameters()]
        passes = passes_of(settings_of(precision=each), text_of(TEXT))
        learner = passes.learner(model)
        for _ in range(5):
            passes.train(learner, 0.01, before_step=lambda: None)
        assert {weight.dtype for weight in model.parameters()} == {torch.float32}
        ends.append(np.concatenate([arrayed(weight).flatten() for weight in model.parameters()]))

    exact, near = ends
    moved = np.abs(exact - np.concatenate([weight.flatten() for weight in start])).max()
    assert 0 < np.abs(near - exact).max() < 0.2 * moved
