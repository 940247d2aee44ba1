"""How a text is cut and read, and what is told of it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.cells import FIGURE_5
from support.language import (
    CELLS,
    Bigram,
    ByHand,
    Scripted,
    cross_entropies,
    model_of,
    passes_of,
    settings_of,
    text_of,
    text_trainer,
)

from child.language.layers import LSTM
from child.language.model_settings import DropoutSettings

LENGTHS, PARTS, STEPS = st.integers(2, 70), st.integers(1, 9), st.integers(1, 8)


def nothing():
    pass


def train(network, data, **given):
    passes = passes_of(settings_of(**given), data)
    return passes.train(passes.learner(network), 1.0, nothing)


def go_over(kind, network, stream, **given):
    """Take a network over a text in one of the three ways."""
    passes = passes_of(settings_of(**given), text_of(stream, stream))
    match kind:
        case "train":
            return passes.train(passes.learner(network), 1e-12, nothing)
        case "validate":
            return passes.validate(network)
        case "test":
            other = passes_of(settings_of(**given), text_of([0, 1], [1, 0]))
            return other.test(network, np.array(stream))


each_way = st.sampled_from(["train", "validate", "test"])
TEXT = np.random.default_rng(0).integers(0, 5, 50).tolist()


def test_loop_of_the_cells_is_compiled_before_anybody_counts_the_time(monkeypatch):
    devices = []
    monkeypatch.setattr("child.language.passes.prepare", devices.append)
    passes_of(settings_of(), text_of(TEXT))
    assert devices == [torch.device("cpu")]


# --- The cutting.


def parts_read(length, parts):
    """Give the length of each part, and how many there are of a text that may be short for them."""
    part_length = math.ceil((length - 1) / min(parts, length - 1))
    return part_length, math.ceil((length - 1) / part_length)


@settings(deadline=None, max_examples=60)
@given(LENGTHS, PARTS, STEPS)
def test_every_token_but_the_first_is_predicted_from_the_one_before_once(length, parts, steps):
    network = Bigram(length)

    train(network, text_of(range(length)), batch_size=parts, num_steps=steps)

    # The gradient of a row that is read once, and nowhere else is there any: the probabilities,
    # which are all equal, less 1 for what comes next.
    num_parts = parts_read(length, parts)[1]
    moved = (np.eye(length, k=1) - 1 / length)[: length - 1] / num_parts
    found = network.table.detach().numpy()
    np.testing.assert_allclose(found[:-1], moved, atol=1e-6)
    assert not found[-1].any()


@settings(deadline=None, max_examples=60)
@given(each_way, LENGTHS, PARTS, STEPS)
def test_parts_are_read_side_by_side_in_order_and_the_state_goes_on(kind, length, parts, steps):
    network = Bigram(length)

    go_over(
        kind, network, range(length), batch_size=parts, evaluation_batch_size=parts, num_steps=steps
    )

    pieces = [tokens for tokens, *_ in network.calls]
    read = np.concatenate(pieces).T.flatten()
    part_length, num_parts = parts_read(length, parts)
    assert read[: length - 1].tolist() == list(range(length - 1))
    assert len(read) == part_length * num_parts
    assert len(read) - (length - 1) < part_length, "each part has something to predict"
    assert [len(piece) for piece in pieces[:-1]] == [steps] * ((part_length - 1) // steps)
    states = [state for _, state, *_ in network.calls]
    assert states == [None, *np.cumsum([len(piece) for piece in pieces[:-1]])]


def test_parts_of_the_evaluation_are_those_of_its_own_setting():
    data = text_of(range(21), range(21))
    passes = passes_of(settings_of(batch_size=2, evaluation_batch_size=5, num_steps=4), data)
    network = Bigram(21)

    passes.train(passes.learner(network), 1.0, nothing)
    passes.validate(network)
    passes.test(network, np.arange(16))

    shapes = [tokens.shape for tokens, *_ in network.calls]
    assert shapes == [(4, 2), (4, 2), (2, 2), (4, 5), (3, 5)]


@pytest.mark.parametrize("parts", [1, 3, 200])
def test_each_pass_begins_at_the_beginning_without_a_state(parts):
    passes = passes_of(settings_of(batch_size=parts, evaluation_batch_size=parts), text_of(TEXT))
    network = Bigram(5)
    learner = passes.learner(network)

    passes.train(learner, 1.0, nothing)
    half = len(network.calls)
    passes.train(learner, 1.0, nothing)

    for first, second in zip(network.calls[:half], network.calls[half:], strict=True):
        np.testing.assert_array_equal(first[0], second[0])
        assert first[1:] == second[1:]


def test_network_is_trained_in_training_mode_and_validated_in_evaluation_mode():
    network = Bigram(5)

    text_trainer(settings_of(num_epochs=2), text_of(TEXT, TEXT)).train(lambda: network, seed=0)

    # 49 tokens are 17 of each of 3 parts, 25 of each of 2; in steps of 4.
    modes = [call[2:] for call in network.calls]
    assert modes == ([(True, True)] * 5 + [(False, False)] * 7) * 2


def test_step_is_announced_before_it_is_taken():
    passes, network = passes_of(settings_of(), text_of(TEXT)), Bigram(5)
    announced = []

    passes.train(
        passes.learner(network), 1.0, before_step=lambda: announced.append(len(network.calls))
    )

    assert announced == [0, 1, 2, 3, 4]


# --- Figures.


@settings(deadline=None, max_examples=60)
@given(each_way, LENGTHS, PARTS, STEPS)
def test_figure_is_the_mean_over_all_tokens_whatever_the_cutting(kind, length, parts, steps):
    rng = np.random.default_rng(length)
    table, stream = rng.standard_normal((6, 6)), rng.integers(0, 6, length)
    expected = cross_entropies(table[stream[:-1]], stream[1:]).mean()

    found = go_over(
        kind,
        Bigram(6, table),
        [*stream],
        batch_size=parts,
        evaluation_batch_size=parts,
        num_steps=steps,
    )

    assert found == pytest.approx({"train": expected}.get(kind, np.exp(expected)), rel=1e-5)


@pytest.mark.parametrize(("unit", "figure"), [("words", 8.0), ("characters", 3.0)])
def test_network_that_knows_nothing_is_as_unsure_as_there_are_tokens(unit, figure):
    data = text_of(range(8), [3, 1, 4, 1, 5])
    passes = passes_of(settings_of(reward_scale=80.0), data, unit)

    found = passes.validate(Bigram(8))

    assert found == pytest.approx(figure, rel=1e-6)
    assert passes.test(Bigram(8), np.array([7, 0, 2])) == pytest.approx(figure, rel=1e-6)
    assert passes.reward(found) == pytest.approx(80 / 8**2, rel=1e-5)


@pytest.mark.parametrize(
    ("unit", "figure", "scale", "reward"),
    [
        ("words", 1.0, 80.0, 80.0),
        ("words", 100.0, 80.0, 0.008),
        ("words", 10.0, 1.0, 0.01),
        ("characters", 0.0, 80.0, 80.0),
        ("characters", 1.5, 80.0, 10.0),
        ("characters", 2.0, 1.0, 1 / 16),
    ],
)
def test_reward_is_c_over_the_perplexity_squared(unit, figure, scale, reward):
    passes = passes_of(settings_of(reward_scale=scale), text_of(TEXT), unit)

    assert passes.reward(figure) == pytest.approx(reward, rel=1e-12)


@pytest.mark.parametrize(("reward_epochs", "counted"), [(1, 3.0), (3, 1.5), (9, 1.25)])
def test_lowest_of_the_last_figures_counts(reward_epochs, counted):
    perplexities = [1.25, 2.0, 1.5, 3.0]
    settings = settings_of(num_epochs=4, reward_epochs=reward_epochs)
    nats = np.log(perplexities).tolist()

    result = text_trainer(settings, text_of([0, 1])).train(lambda: Scripted(nats), seed=0)

    assert result.validations == pytest.approx(perplexities, rel=1e-6)
    assert result.validation == pytest.approx(counted, rel=1e-6)
    assert result.reward == pytest.approx(80 / counted**2, rel=1e-5)


@pytest.mark.parametrize("unit", ["words", "characters"])
@pytest.mark.parametrize(("architecture", "step"), CELLS, ids=["figure 5", "lstm"])
def test_figure_of_a_model_is_that_of_parts_read_in_one_go_and_without_dropout(
    architecture, step, unit
):
    model = model_of(architecture, dropout=DropoutSettings())
    # 51 - 1 tokens in 2 parts, and 5 at a time.
    stream = np.random.default_rng(4).integers(0, 5, 51)
    passes = passes_of(settings_of(num_steps=5), text_of(TEXT, stream), unit)

    found = passes.validate(model)

    inputs, targets = (each.reshape(2, 25).T for each in (stream[:-1], stream[1:]))
    logits, _ = ByHand(model, step).read(inputs)
    nats = cross_entropies(logits, targets).mean()
    expected = {"words": np.exp(nats), "characters": nats / np.log(2)}[unit]
    assert found == pytest.approx(expected, rel=1e-5)
    assert passes.test(model, stream) == found


@pytest.mark.parametrize("kind", ["train", "validate", "test"])
def test_figure_of_answers_in_fewer_bits_is_computed_in_float32(kind):
    class InFewerBits(Bigram):
        def forward(self, tokens, states):
            logits, states = super().forward(tokens, states)
            return logits.bfloat16(), states

    table = np.random.default_rng(2).integers(-4, 5, (5, 5)) / 2  # exact in few bits

    found = go_over(kind, InFewerBits(5, table), TEXT)

    nats = cross_entropies(table[TEXT[:-1]], np.array(TEXT[1:])).mean()
    assert found == pytest.approx({"train": nats}.get(kind, np.exp(nats)), rel=1e-5)


def test_figure_of_a_long_text_keeps_its_digits():
    # Each of 2,000 steps is wrong by as many nats; summed up in float32 they lose 1e-5 of them.
    nats = np.float32(300.1)
    passes = passes_of(
        settings_of(num_steps=1, evaluation_batch_size=1), text_of([0, 1]), "characters"
    )

    found = passes.test(Bigram(2, np.array([[0, 0], [nats, 0]])), np.ones(2001, np.int64))

    assert found == pytest.approx(float(nats) / math.log(2), rel=1e-12)


# --- The same again.


@pytest.mark.parametrize("architecture", [FIGURE_5, LSTM], ids=["figure 5", "lstm"])
def test_child_of_the_same_seed_is_the_same_bit_for_bit_whatever_came_before(architecture):
    data, children = text_of(TEXT, TEXT), []
    settings = settings_of(num_epochs=2)

    def build():
        children.append(model_of(architecture, dropout=DropoutSettings()).float())
        return children[-1]

    one = text_trainer(settings, data)
    results = [one.train(build, seed=3), one.train(build, seed=4), one.train(build, seed=3)]
    torch.rand(1000)
    results.append(text_trainer(settings, data).train(build, seed=3))

    first, other, *same = [replace(result, seconds=0.0) for result in results]
    assert same == [first, first]
    assert other != first
    first_bits, other_bits, *same_bits = [
        [weight.detach().numpy().tobytes() for weight in child.parameters()] for child in children
    ]
    assert same_bits == [first_bits, first_bits]
    assert other_bits != first_bits


@pytest.mark.parametrize("parts", [1, 3])
def test_text_that_may_not_be_written_to_is_left_alone(parts):
    class Greedy(Bigram):
        def forward(self, tokens, states):
            answer = super().forward(tokens.clone(), states)
            tokens.zero_()
            return answer

    data = text_of(TEXT, TEXT[:20])
    before = data.train.tobytes(), data.validation.tobytes()
    settings = settings_of(num_epochs=2, batch_size=parts, evaluation_batch_size=parts)

    text_trainer(settings, data).train(lambda: Greedy(5), seed=0)

    assert (data.train.tobytes(), data.validation.tobytes()) == before
