from __future__ import annotations

import numpy as np
import pytest
import torch
from support.cells import FIGURE_5, numbers
from support.language import CELLS, ByHand, arrayed, figure_5, model_of, tokens_of

from child.language.layers import LSTM
from child.language.model import LanguageModel, detached
from child.language.model_settings import DropoutSettings, LanguageModelSettings
from child.language.size import ModelSize
from child.zoo import NAS_CELL

STEPS, BATCH = 6, 3

each_cell = pytest.mark.parametrize(("architecture", "step"), CELLS, ids=["figure 5", "lstm"])
each_architecture = pytest.mark.parametrize(
    "architecture", [FIGURE_5, LSTM], ids=["figure 5", "lstm"]
)


def states_of(model, seed=1):
    """Give a state of each layer, as a batch has it in the middle of a text."""
    shape = BATCH, model.size.hidden_size
    return [
        (numbers(seed + 2 * layer, *shape), numbers(seed + 2 * layer + 1, *shape))
        for layer in range(model.size.num_layers)
    ]


def assert_states(found, expected):
    assert len(found) == len(expected)
    for state, hand in zip(found, expected, strict=True):
        for value, by_hand in zip(state, hand, strict=True):
            np.testing.assert_allclose(arrayed(value), by_hand, rtol=1e-11, atol=1e-11)


# --- What a model computes.


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"is_tied": True},
        {"num_layers": 1, "embedding_size": 4},
        {"num_layers": 3, "embedding_size": 2},
        {"num_layers": 3, "is_tied": True, "hidden_size": 1},
    ],
    ids=str,
)
@each_cell
def test_logits_and_states_are_those_by_hand(architecture, step, given):
    model = model_of(architecture, **given)
    tokens, states = tokens_of(model, STEPS, BATCH), states_of(model)
    by_hand = ByHand(model, step)

    logits, new_states = model(tokens, states)
    from_zeros, _ = model(tokens)

    expected, ends = by_hand.read(
        tokens.numpy(), [tuple(arrayed(each) for each in state) for state in states]
    )
    np.testing.assert_allclose(arrayed(logits), expected, rtol=1e-11, atol=1e-11)
    assert_states(new_states, ends)
    np.testing.assert_allclose(
        arrayed(from_zeros), by_hand.read(tokens.numpy())[0], rtol=1e-11, atol=1e-11
    )


@each_architecture
def test_text_read_in_two_halves_is_that_read_at_once(architecture):
    model = model_of(architecture)
    tokens = tokens_of(model, 2 * STEPS, BATCH)

    once, end = model(tokens)
    first, middle = model(tokens[:STEPS])
    second, last = model(tokens[STEPS:], middle)

    torch.testing.assert_close(torch.cat([first, second]), once, rtol=1e-12, atol=1e-12)
    assert_states(last, [tuple(arrayed(each) for each in state) for state in end])


@each_architecture
def test_no_state_is_a_state_of_zeros(architecture):
    model = model_of(architecture)
    tokens = tokens_of(model, STEPS, BATCH)
    zeros = [(torch.zeros_like(h), torch.zeros_like(c)) for h, c in states_of(model)]

    torch.testing.assert_close(model(tokens), model(tokens, zeros), rtol=0, atol=0)


@each_architecture
def test_sequences_of_a_batch_do_not_see_each_other(architecture):
    model = model_of(architecture)
    tokens, states = tokens_of(model, STEPS, BATCH), states_of(model)

    logits, _ = model(tokens, states)

    for place in range(BATCH):
        alone = [(h[place : place + 1], c[place : place + 1]) for h, c in states]
        expected, _ = model(tokens[:, place : place + 1], alone)
        torch.testing.assert_close(logits[:, place : place + 1], expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("is_tied", "num_matrices"), [(False, 2), (True, 1)])
def test_tied_weights_are_one_parameter(is_tied, num_matrices):
    model = model_of(FIGURE_5, num_tokens=7, is_tied=is_tied)

    shapes = [tuple(weight.shape) for weight in model.parameters()]
    assert shapes.count((7, 3)) == num_matrices


def test_tied_weights_have_the_gradient_of_both_uses():
    model, tokens = model_of(FIGURE_5, is_tied=True), np.array([[0, 1], [2, 0]])
    by_hand = ByHand(model, figure_5)

    model(torch.from_numpy(tokens))[0].square().sum().backward()

    expected = by_hand.gradient(lambda: (by_hand.read(tokens)[0] ** 2).sum())
    for weight, derivative in zip(model.parameters(), expected, strict=True):
        np.testing.assert_allclose(weight.grad, derivative, rtol=1e-6, atol=1e-6)


def test_detached_states_have_the_same_values_and_no_gradient():
    model = model_of(LSTM)
    _, states = model(tokens_of(model, STEPS, BATCH))

    free = detached(states)

    assert all(each.requires_grad for state in states for each in state)
    assert not any(each.requires_grad for state in free for each in state)
    torch.testing.assert_close(free, states, rtol=0, atol=0)


# --- How a model begins.


@pytest.mark.parametrize("is_tied", [False, True])
@pytest.mark.parametrize("init_range", [0.05, 0.3])
@pytest.mark.parametrize("architecture", [NAS_CELL, LSTM], ids=["nas", "lstm"])
def test_matrices_begin_uniform_in_the_range_and_biases_at_zero(architecture, init_range, is_tied):
    settings = LanguageModelSettings(
        num_parameters=None, hidden_size=40, init_range=init_range, is_tied=is_tied
    )
    size = ModelSize.of(settings, 100, architecture.base)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LanguageModel(architecture, size, settings)

    *matrices, bias = model.parameters()
    assert not bias.any()
    assert bias.ndim == 1
    for matrix in matrices:
        # Of uniform numbers the standard deviation is half the width over the root of 3.
        assert 0.99 * init_range < matrix.abs().max() <= init_range
        assert matrix.std().item() == pytest.approx(init_range / 3**0.5, rel=0.05)
        assert abs(matrix.mean().item()) < 0.05 * init_range


def test_matrices_begin_with_numbers_of_their_own():
    settings = LanguageModelSettings(num_parameters=None, hidden_size=4)
    model = LanguageModel(FIGURE_5, ModelSize.of(settings, 8, FIGURE_5.base), settings)

    beginnings = {tuple(weight.flatten()[:8].tolist()) for weight in model.parameters()}
    assert len(beginnings) == len([*model.parameters()]) == 7


# --- Evaluation.


@each_cell
def test_nothing_is_left_out_in_evaluation(architecture, step):
    rates = DropoutSettings(embedding=0.5, input=0.5, recurrent=0.5, output=0.5)
    model = model_of(architecture, dropout=rates).eval()
    tokens = tokens_of(model, STEPS, BATCH)

    before = torch.get_rng_state()
    logits, _ = model(tokens)

    expected, _ = ByHand(model, step).read(tokens.numpy())
    np.testing.assert_allclose(arrayed(logits), expected, rtol=1e-11, atol=1e-11)
    assert torch.equal(torch.get_rng_state(), before)
