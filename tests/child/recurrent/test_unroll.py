from __future__ import annotations

import pytest
import torch
from support.cells import FIGURE_5, numbers, random_cell

from child.recurrent.step import step
from child.recurrent.unroll import unroll

STEPS, BATCH, INPUTS, UNITS = 3, 3, 4, 2


def arguments(seed, base, bias=False, proj_size=0, masked=False):
    width = proj_size or UNITS
    return (
        random_cell(seed, base),
        numbers(0, STEPS, BATCH, INPUTS),
        numbers(7, base * UNITS, INPUTS),
        numbers(1, base * UNITS, width),
        numbers(2, base * UNITS) if bias else None,
        numbers(3, proj_size, UNITS) if proj_size else None,
        numbers(4, BATCH, width),
        numbers(5, BATCH, UNITS),
        numbers(6, BATCH, width) if masked else None,
    )


@pytest.mark.parametrize(
    ("bias", "proj_size", "masked"), [(False, 0, False), (True, 0, True), (True, 3, True)]
)
@pytest.mark.parametrize("base", [1, 3, 8])
def test_unrolled_cell_computes_one_step_after_the_other(base, bias, proj_size, masked):
    given = arguments(base, base, bias, proj_size, masked)
    cell, inputs, weight_ih, weight_hh, bias_hh, weight_hr, h, c, mask = given
    outputs, h_last, c_last = unroll(*given)

    for step_number in range(STEPS):
        product = (h if mask is None else h * mask) @ weight_hh.T
        product = product if bias_hh is None else product + bias_hh
        h, c = step(cell, inputs[step_number] @ weight_ih.T, product, c)
        h = h if weight_hr is None else h @ weight_hr.T
        torch.testing.assert_close(outputs[step_number], h, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close((h_last, c_last), (h, c), rtol=1e-12, atol=1e-12)


def test_arguments_are_not_changed():
    given = arguments(1, 4, bias=True, proj_size=3, masked=True)
    before = [each.clone() for each in given[1:]]

    unroll(*given)

    assert all(map(torch.equal, given[1:], before))


@pytest.mark.parametrize("seed", range(4))
def test_gradients_are_those_of_finite_differences(seed):
    cell, *tensors = arguments(seed, 1 + seed, bias=True, proj_size=3, masked=True)
    tensors = [tensor.requires_grad_() for tensor in tensors]

    assert torch.autograd.gradcheck(lambda *given: unroll(cell, *given), tensors)


def test_state_keeps_its_dtype_under_autocast():
    _, *tensors = arguments(1, 2, bias=True, proj_size=3, masked=True)
    inputs, weight_ih, weight_hh, _, weight_hr, h, c, _ = (tensor.float() for tensor in tensors)

    with torch.autocast("cpu", torch.bfloat16):
        found = unroll(FIGURE_5, inputs, weight_ih, weight_hh, None, weight_hr, h, c)

    assert [each.dtype for each in found] == [torch.float32] * 3
