"""What a model leaves out in training, seen in what goes into its layers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.cells import FIGURE_5
from support.language import CELLS, NO_DROPOUT, ByHand, arrayed, model_of, tokens_of

from child.language.dropout import kept, masked
from child.language.layers import LSTM

STEPS, BATCH, UNITS, TOKENS = 6, 30, 20, 40
EACH_KIND = ("embedding", "input", "recurrent", "output")


@pytest.fixture(autouse=True)
def _seed():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


class Watched:
    """A model in training, and the masks of its last call.

    All values that it embeds are 1: the first mask of `inputs` has the embedding's in it.

    inputs: of each layer, (T, B, I). recurrent: of each layer, (B, U), or None. output: (T, B, U).
    """

    def __init__(self, architecture, dropout, **given):
        self.model = model_of(
            architecture, num_tokens=TOKENS, hidden_size=UNITS, dropout=dropout, **given
        ).train()
        with torch.no_grad():
            for weight in self.model.parameters():
                weight.mul_(0.2)  # so that no unit is saturated
            self.model.embedding.weight.fill_(1.0)
        for layer in self.model.layers:
            layer.register_forward_hook(self._see_layer)
        self.model.softmax.register_forward_pre_hook(self._see_output)

    def read(self, tokens):
        """Read them, and give what the model gives."""
        self.inputs, self.recurrent = [], []
        self._values = torch.ones(())
        return self.model(tokens)

    def _see_layer(self, _, given, result):
        values, _, recurrent_mask = given
        self.inputs.append(factors(values, self._values))
        self.recurrent.append(None if recurrent_mask is None else arrayed(recurrent_mask))
        self._values = result[0]

    def _see_output(self, _, given):
        self.output = factors(given[0], self._values)


def factors(products, values):
    """Give what values were multiplied with, 1 where they are 0 and it cannot be told."""
    products, values = np.broadcast_arrays(arrayed(products), arrayed(values))
    return np.divide(products, values, out=np.ones_like(products), where=values != 0)


def watched(architecture=FIGURE_5, is_variational=True, **rates):
    dropout = NO_DROPOUT.model_copy(update=rates | {"is_variational": is_variational})
    watch = Watched(architecture, dropout)
    watch.tokens = tokens_of(watch.model, STEPS, BATCH)
    watch.logits, watch.states = watch.read(watch.tokens)
    return watch


def assert_drawn(mask, rate):
    """See that it is 0 with this probability, else 1 / (1 - rate); few values are allowed to."""
    zeros = mask == 0
    np.testing.assert_allclose(mask[~zeros], 1 / (1 - rate), rtol=1e-12)
    deviation = (rate * (1 - rate) / mask.size) ** 0.5
    assert abs(zeros.mean() - rate) < 4 * deviation


def assert_all_different(masks):
    assert len({mask.tobytes() for mask in masks}) == len(masks)


# --- The masks themselves.


@pytest.mark.parametrize("dropped", [0.2, 0.5, 0.75])
def test_mask_is_zero_as_often_as_asked_for_and_keeps_the_mean(dropped):
    mask = kept((100, 200), dropped, torch.zeros((), dtype=torch.float64)).numpy()

    assert_drawn(mask, dropped)
    assert mask.mean() == pytest.approx(1.0, abs=4 * (dropped / (1 - dropped) / 20_000) ** 0.5)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_mask_has_the_format_of_what_it_is_for(dtype):
    assert kept((3, 2), 0.5, torch.zeros((), dtype=dtype)).dtype == dtype


def test_nothing_dropped_draws_nothing():
    before = torch.get_rng_state()
    values = torch.ones(3)

    assert kept((3,), 0.0, values) is None
    assert masked(values, None) is values
    assert torch.equal(torch.get_rng_state(), before)


# --- What is left out where.


@pytest.mark.parametrize("is_variational", [True, False])
@pytest.mark.parametrize(("architecture", "step"), CELLS, ids=["figure 5", "lstm"])
def test_model_computes_by_hand_what_its_masks_leave_of_it(architecture, step, is_variational):
    watch = watched(architecture, is_variational, **dict.fromkeys(EACH_KIND, 0.3))

    expected, ends = ByHand(watch.model, step).read(
        watch.tokens.numpy(),
        inputs=watch.inputs,
        recurrent=watch.recurrent,
        output=watch.output,
    )

    np.testing.assert_allclose(arrayed(watch.logits), expected, rtol=1e-9, atol=1e-9)
    for found, end in zip(watch.states, ends, strict=True):
        for value, hand in zip(found, end, strict=True):
            np.testing.assert_allclose(arrayed(value), hand, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", EACH_KIND)
def test_rate_acts_in_its_place_alone(kind):
    watch = watched(**{kind: 0.5})

    is_masked = {
        "first input": bool((watch.inputs[0] == 0).any()),
        "second input": bool((watch.inputs[1] == 0).any()),
        "recurrent": [mask is not None for mask in watch.recurrent],
        "output": bool((watch.output == 0).any()),
    }
    assert is_masked == {
        "first input": kind in ("embedding", "input"),
        "second input": kind == "input",
        "recurrent": [kind == "recurrent"] * 2,
        "output": kind == "output",
    }


def test_model_without_dropout_is_the_same_in_training_and_evaluation():
    watch = watched()

    torch.testing.assert_close(
        watch.model.eval()(watch.tokens), (watch.logits, watch.states), rtol=0, atol=0
    )


def test_inputs_and_outputs_are_drawn_once_for_all_steps_of_a_sequence():
    watch = watched(input=0.5, output=0.25)

    for mask, rate in ((watch.inputs[0], 0.5), (watch.inputs[1], 0.5), (watch.output, 0.25)):
        np.testing.assert_allclose(mask, np.broadcast_to(mask[:1], mask.shape), atol=1e-12)
        assert_drawn(mask[0].round(12), rate)
        assert_all_different(list(mask[0].round(12).transpose(0, 1)))
    assert_all_different([mask[0].round(12) for mask in watch.inputs])


def test_inputs_and_outputs_are_drawn_for_each_step_where_dropout_is_not_variational():
    watch = watched(is_variational=False, input=0.5, output=0.25)

    for mask, rate in ((watch.inputs[0], 0.5), (watch.inputs[1], 0.5), (watch.output, 0.25)):
        assert_drawn(mask.round(12), rate)
        assert_all_different(list(mask.round(12)))


@pytest.mark.parametrize("is_variational", [True, False])
def test_recurrent_masks_hold_for_a_sequence_and_differ_between_sequences_and_layers(
    is_variational,
):
    watch = watched(is_variational=is_variational, recurrent=0.4)

    assert [mask.shape for mask in watch.recurrent] == [(BATCH, UNITS)] * 2
    for mask in watch.recurrent:
        assert_drawn(mask, 0.4)
        assert_all_different(list(mask))
    assert_all_different(watch.recurrent)


@pytest.mark.parametrize("is_variational", [True, False])
def test_token_is_left_out_wherever_it_stands_or_nowhere(is_variational):
    watch = watched(is_variational=is_variational, embedding=0.3)

    mask, tokens = watch.inputs[0], watch.tokens.numpy()
    by_token = {token: np.unique(mask[tokens == token]) for token in set(tokens.flat)}
    assert all(len(values) == 1 for values in by_token.values())
    assert_drawn(np.array([values[0] for values in by_token.values()]), 0.3)


@pytest.mark.parametrize("kind", EACH_KIND)
def test_each_call_leaves_out_something_else(kind):
    watch = watched(**{kind: 0.5})

    again, _ = watch.read(watch.tokens)

    assert not torch.equal(again, watch.logits)


def test_what_is_left_out_depends_on_the_seed_of_torch_alone():
    rates = dict.fromkeys(EACH_KIND, 0.5)
    watch = watched(**rates)

    torch.manual_seed(5)
    one = watch.read(watch.tokens)
    torch.manual_seed(5)
    other = watch.read(watch.tokens)

    torch.testing.assert_close(other, one, rtol=0, atol=0)


def test_weights_that_are_left_out_get_no_gradient():
    watch = watched(LSTM, embedding=0.5)

    watch.logits.square().sum().backward()

    tokens, mask = watch.tokens.numpy(), watch.inputs[0]
    dropped = np.unique(tokens[mask[:, :, 0] == 0])
    moved = watch.model.embedding.weight.grad.abs().sum(dim=1).numpy()
    assert 0 < len(dropped) < TOKENS
    assert not moved[dropped].any()
    assert moved[np.setdiff1d(tokens, dropped)].all()
