from __future__ import annotations

import numpy as np
import pytest
import torch
from support.cells import fill, numbers

import child.recurrent
from child.recurrent import NAS, NASCell
from child.recurrent.cell import RecurrentCell
from child.recurrent.space import RecurrentSpace
from child.recurrent.space_settings import RecurrentSettings

BATCH, INPUTS, UNITS = 6, 3, 4
OPTIONS = [(False, 0), (True, 0), (False, 2), (True, 5)]  # bias, proj_size

# The list that the paper's cell is, PAPER.md s8, in words.
PAPER = """
    add sigmoid  add relu  add sigmoid  elem_mult relu  add tanh  add sigmoid  add tanh  add sigmoid
    elem_mult tanh  add tanh  elem_mult tanh  add sigmoid  elem_mult identity  add tanh
    elem_mult tanh  add tanh  12 8
"""


def sigmoid(value):
    return 1 / (1 + np.exp(-value))


def relu(value):
    return np.maximum(value, 0)


def tensorflow_cell(x, c_prev, m_prev, kernel, recurrent_kernel, bias, projection):
    """Compute tf.contrib.rnn.NASCell as it is specified; give (c, m), its order."""
    u = np.split(x @ kernel, 8, axis=1)
    v = np.split(m_prev @ recurrent_kernel + bias, 8, axis=1)
    a0, a1 = sigmoid(u[0] + v[0]), relu(u[1] + v[1])
    a2, a3 = sigmoid(u[2] + v[2]), relu(u[3] * v[3])
    a4, a5 = np.tanh(u[4] + v[4]), sigmoid(u[5] + v[5])
    a6, a7 = np.tanh(u[6] + v[6]), sigmoid(u[7] + v[7])
    p, q = np.tanh(a0 * a1), np.tanh(a2 + a3)
    r, s = np.tanh(a4 * a5), sigmoid(a6 + a7)
    c = np.tanh(p + c_prev) * q
    m = np.tanh(c * np.tanh(r + s))
    return c, m if projection is None else m @ projection


def make(bias, proj_size):
    cell = NASCell(INPUTS, UNITS, bias, proj_size, dtype=torch.float64)
    fill(cell, seed=3)
    h, c = numbers(1, BATCH, proj_size or UNITS), numbers(2, BATCH, UNITS)
    return cell, numbers(0, BATCH, INPUTS), (h, c)


@pytest.mark.parametrize(("bias", "proj_size"), OPTIONS)
def test_cell_written_by_hand_computes_tensorflow_s_formulas(bias, proj_size):
    cell, x, (h, c) = make(bias, proj_size)
    weights = {name: weight.numpy().T for name, weight in cell.state_dict().items()}

    new_c, m = tensorflow_cell(
        x.numpy(), c.numpy(), h.numpy(), weights["weight_ih"], weights["weight_hh"],
        weights.get("bias_hh", 0), weights.get("weight_hr"),
    )  # fmt: skip

    found_h, found_c = cell(x, (h, c))
    np.testing.assert_allclose(found_h.detach().numpy(), m, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(found_c.detach().numpy(), new_c, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("bias", "proj_size"), OPTIONS)
def test_cell_written_by_hand_computes_what_the_decoded_list_does(bias, proj_size):
    cell, x, state = make(bias, proj_size)
    settings = RecurrentSettings()
    options = {"combination": settings.combinations, "activation": settings.activations}
    space, choices = RecurrentSpace(settings), []
    for word in PAPER.split():
        kind = space.next_decision(choices, 8).kind
        choices.append(int(word) if kind == "cell_index" else options[kind].index(word))
    decoded = RecurrentCell(
        space.decode(choices, 8), INPUTS, UNITS, bias, proj_size, dtype=torch.float64
    )
    decoded.load_state_dict(cell.state_dict())

    torch.testing.assert_close(cell(x, state), decoded(x, state), rtol=1e-12, atol=1e-12)
    assert cell.architecture == decoded.architecture


def test_cell_of_float32_learns():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        cell = NASCell(INPUTS, UNITS, bias=True)
        x = torch.randn(BATCH, INPUTS)
    h, c = cell(x, cell(x))

    (h.sum() + c.sum()).backward()

    assert all(p.grad.isfinite().all() and p.grad.any() for p in cell.parameters())


def test_exported_cell_computes_the_same():
    cell, x, state = make(True, 2)

    exported = torch.export.export(cell, (x, state)).module()

    assert all(map(torch.equal, exported(x, state), cell(x, state)))


def test_package_gives_the_two_layers_that_people_use_and_no_others():
    assert child.recurrent.__all__ == ["NAS", "NASCell"]
    assert (NASCell.__name__, NAS.__name__) == ("NASCell", "NAS")
    with pytest.raises(AttributeError, match=r"'child\.recurrent' has no attribute 'NASCel'"):
        _ = child.recurrent.NASCel
