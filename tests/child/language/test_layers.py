from __future__ import annotations

import numpy as np
import pytest
import torch
from support.cells import FIGURE_5, fill, numbers
from support.language import arrayed, figure_5, layer_by_hand, lstm
from torch import nn

from child.language.layers import LSTM, CellLayer, LstmLayer

STEPS, BATCH, INPUTS, UNITS = 6, 4, 3, 5


def cell_layer():
    return CellLayer(FIGURE_5, INPUTS, UNITS)


def lstm_layer():
    return LstmLayer(INPUTS, UNITS)


each_layer = pytest.mark.parametrize("build", [cell_layer, lstm_layer])


def filled(build):
    layer = build().double()
    fill(layer, seed=3)
    return layer


def assert_same(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def state():
    return numbers(1, BATCH, UNITS), numbers(2, BATCH, UNITS)


MASK = torch.tensor([0.0, 2.0, 0.5, 1.0, 0.0], dtype=torch.float64).repeat(BATCH, 1)
MASK[1:3] = numbers(5, 2, UNITS)


@pytest.mark.parametrize("mask", [None, MASK], ids=["all kept", "masked"])
@pytest.mark.parametrize("given", [None, state()], ids=["no state", "state"])
@pytest.mark.parametrize(("build", "step"), [(cell_layer, figure_5), (lstm_layer, lstm)])
def test_layer_computes_its_formula_with_what_it_put_out_masked_before_its_product(
    build, step, given, mask
):
    layer, inputs = filled(build), numbers(0, STEPS, BATCH, INPUTS)

    outputs, (h, c) = layer(inputs, given, mask)

    expected, (last_h, last_c) = layer_by_hand(
        step,
        [arrayed(weight) for weight in layer.parameters()],
        inputs.numpy(),
        None if given is None else tuple(arrayed(each) for each in given),
        1.0 if mask is None else mask.numpy(),
    )
    for found, hand in ((outputs, expected), (h, last_h), (c, last_c)):
        np.testing.assert_allclose(arrayed(found), hand, rtol=1e-12, atol=1e-12)


@each_layer
def test_layer_without_a_state_begins_with_zeros(build):
    layer, inputs = filled(build), numbers(0, STEPS, BATCH, INPUTS)
    zeros = torch.zeros(BATCH, UNITS, dtype=torch.float64)

    assert_same(layer(inputs, None, MASK), layer(inputs, (zeros, zeros), MASK))


def test_lstm_with_nothing_masked_is_torch_lstm_and_so_are_its_gradients():
    layer, inputs = filled(lstm_layer), numbers(0, STEPS, BATCH, INPUTS)
    theirs = nn.LSTM(INPUTS, UNITS, bias=False, dtype=torch.float64)
    theirs.load_state_dict(layer.lstm.state_dict())
    h_0, c_0 = state()

    outputs, (h, c) = layer(inputs, (h_0, c_0), torch.ones(BATCH, UNITS, dtype=torch.float64))
    expected, (last_h, last_c) = theirs(inputs, (h_0[None], c_0[None]))

    assert_same((outputs, h, c), (expected, last_h[0], last_c[0]))
    (outputs.square().sum() + c.sum()).backward()
    (expected.square().sum() + last_c.sum()).backward()
    for one, other in zip(layer.parameters(), theirs.parameters(), strict=True):
        assert_same(one.grad, other.grad)


@pytest.mark.parametrize("mask", [None, MASK.float()], ids=["all kept", "masked"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@each_layer
def test_layer_in_fewer_bits_is_near_and_does_not_round_its_state(build, dtype, mask):
    layer, inputs = filled(build).float(), numbers(0, STEPS, BATCH, INPUTS).float()
    exact, (exact_h, exact_c) = layer(inputs, None, mask)

    with torch.autocast("cpu", dtype=dtype):
        outputs, (h, c) = layer(inputs, None, mask)
        again = layer(inputs, (h, c), mask)[0]

    assert {each.dtype for each in (outputs, h, c, again)} == {torch.float32}
    for found, near in ((outputs, exact), (h, exact_h), (c, exact_c)):
        assert 0 < (found - near).abs().max() < 0.05 * near.abs().max()


@pytest.mark.parametrize(
    ("build", "num_blocks"), [(cell_layer, FIGURE_5.base), (lstm_layer, LSTM.base)]
)
def test_layer_has_its_blocks_of_weights_and_no_biases(build, num_blocks):
    shapes = [tuple(weight.shape) for weight in build().parameters()]

    assert shapes == [(num_blocks * UNITS, INPUTS), (num_blocks * UNITS, UNITS)]
