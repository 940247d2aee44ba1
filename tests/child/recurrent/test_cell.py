from __future__ import annotations

import copy
import io
import math
import pickle
import re
from dataclasses import replace

import pytest
import torch
from support.cells import FIGURE_5, fill, numbers, random_cell
from torch.nn import functional

from child.recurrent.cell import RecurrentCell
from child.recurrent.node import Node


def make(cell, input_size=3, hidden_size=4, **options):
    module = RecurrentCell(cell, input_size, hidden_size, dtype=torch.float64, **options)
    fill(module, seed=7)
    return module


def state_of(module, batch=5):
    width = module.proj_size or module.hidden_size
    return numbers(1, batch, width), numbers(2, batch, module.hidden_size)


def assert_same(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def products(module, x, h):
    """Give W x and U h of each leaf, each by a product of its own."""
    size = module.hidden_size
    for leaf in range(module.architecture.base):
        rows = slice(leaf * size, (leaf + 1) * size)
        yield x @ module.weight_ih[rows].T, h @ module.weight_hh[rows].T


# --- What a cell computes.


def test_cell_of_figure_5_computes_the_formulas_of_figure_5():
    module, x = make(FIGURE_5), numbers(0, 5, 3)
    h, c = state_of(module)
    (w1_x, w2_h), (w3_x, w4_h) = products(module, x, h)

    a0 = torch.tanh(w1_x + w2_h)
    a1 = torch.relu(w3_x * w4_h)
    a0_new = torch.relu(a0 + c)
    a2 = torch.sigmoid(a0_new * a1)

    assert_same(module(x, (h, c)), (a2, w3_x * w4_h))


def test_c_is_taken_before_activation_and_injection_where_both_indices_name_one_node():
    module, x = make(replace(FIGURE_5, memory_index=0, inject_index=0)), numbers(0, 5, 3)
    h, c = state_of(module)
    (w1_x, w2_h), (w3_x, w4_h) = products(module, x, h)

    a0 = torch.relu(torch.tanh(w1_x + w2_h) + c)

    expected = torch.sigmoid(a0 * torch.relu(w3_x * w4_h)), w1_x + w2_h
    assert_same(module(x, (h, c)), expected)


def test_h_is_the_injected_output_where_the_root_is_injected():
    module, x = make(replace(FIGURE_5, memory_index=2, inject_index=2)), numbers(0, 5, 3)
    h, c = state_of(module)
    (w1_x, w2_h), (w3_x, w4_h) = products(module, x, h)

    root = torch.tanh(w1_x + w2_h) * torch.relu(w3_x * w4_h)

    assert_same(module(x, (h, c)), (torch.relu(torch.sigmoid(root) + c), root))


def test_cell_of_one_leaf_is_an_elman_network_with_a_memory():
    cell = replace(FIGURE_5, nodes=(Node("add", "tanh"),), memory_index=0, inject_index=0)
    module, x = make(cell), numbers(0, 5, 3)
    h, c = state_of(module)
    [(w_x, u_h)] = products(module, x, h)

    assert_same(module(x, (h, c)), (torch.relu(torch.tanh(w_x + u_h) + c), w_x + u_h))


def test_bias_is_added_on_the_recurrent_side_alone():
    module, x = make(FIGURE_5, bias=True), numbers(0, 5, 3)
    h, c = state_of(module)
    (w1_x, w2_h), (w3_x, w4_h) = products(module, x, h)
    b0, b1 = module.bias_hh.chunk(2)

    memory = w3_x * (w4_h + b1)
    a0 = torch.relu(torch.tanh(w1_x + w2_h + b0) + c)

    assert_same(module(x, (h, c)), (torch.sigmoid(a0 * torch.relu(memory)), memory))


def test_projection_makes_h_of_the_output_and_leaves_c_alone():
    module, x = make(FIGURE_5, proj_size=2), numbers(0, 5, 3)
    h, c = state_of(module)
    (w1_x, w2_h), (w3_x, w4_h) = products(module, x, h)

    root = torch.sigmoid(
        torch.relu(torch.tanh(w1_x + w2_h) + c) * torch.relu(w3_x * w4_h)
    )  # fmt: skip

    assert_same(module(x, (h, c)), (root @ module.weight_hr.T, w3_x * w4_h))


def test_state_is_zero_unless_it_is_given():
    module, x = make(random_cell(1, 3), proj_size=2), numbers(0, 5, 3)
    zeros = torch.zeros(5, 2, dtype=torch.float64), torch.zeros(5, 4, dtype=torch.float64)

    assert_same(module(x), module(x, zeros))


def test_single_example_is_a_batch_of_one():
    module, x = make(random_cell(1, 3), proj_size=2), numbers(0, 5, 3)
    h, c = state_of(module)

    one_h, one_c = module(x[3], (h[3], c[3]))

    assert_same((one_h, one_c), tuple(each[3] for each in module(x, (h, c))))
    assert module(x[3])[0].shape == (2,)


def test_step_has_one_matrix_product_for_all_of_x_and_one_for_all_of_h(monkeypatch):
    module, x = make(random_cell(1, 8), proj_size=2), numbers(0, 5, 3)
    linear, shapes = functional.linear, []

    def counting(value, weight, bias=None):
        shapes.append(tuple(weight.shape))
        return linear(value, weight, bias)

    monkeypatch.setattr(functional, "linear", counting)
    module(x)

    assert shapes == [(32, 3), (32, 2), (2, 4)]


@pytest.mark.parametrize("seed", range(50))
def test_gradients_are_those_of_finite_differences(seed):
    # No element is near a kink of relu or max: a step of 1e-6 would cross it, and this would fail.
    module = make(random_cell(seed, 1 + seed % 8), 2, 2, bias=seed % 2 == 1, proj_size=seed % 3)
    names, weights = zip(*module.named_parameters(), strict=True)
    h, c = state_of(module, batch=1)

    def call(x, h, c, *weights):
        return torch.func.functional_call(
            module, dict(zip(names, weights, strict=True)), (x, (h, c))
        )

    given = [t.detach().requires_grad_() for t in (numbers(seed, 1, 2), h, c, *weights)]
    assert torch.autograd.gradcheck(call, given)


def test_state_keeps_its_dtype_under_autocast():
    module = RecurrentCell(FIGURE_5, 3, 4, proj_size=2)  # both come right out of products

    with torch.autocast("cpu", torch.bfloat16):
        h, c = module(torch.randn(5, 3))

    assert (h.dtype, c.dtype) == (torch.float32, torch.float32)


# --- Weights.


def test_weights_have_the_names_and_shapes_of_torch():
    module = RecurrentCell(random_cell(1, 8), 3, 5, bias=True, proj_size=2)

    assert {name: tuple(p.shape) for name, p in module.state_dict().items()} == {
        "weight_ih": (40, 3),
        "weight_hh": (40, 2),
        "bias_hh": (40,),
        "weight_hr": (2, 5),
    }
    plain = RecurrentCell(random_cell(1, 8), 3, 5)
    assert [tuple(p.shape) for p in plain.parameters()] == [(40, 3), (40, 5)]


@pytest.mark.parametrize(("init_range", "bound"), [(None, 1 / math.sqrt(16)), (0.05, 0.05)])
def test_matrices_start_uniform_and_biases_at_zero(init_range, bound):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = RecurrentCell(
            random_cell(1, 8), 64, 16, bias=True, proj_size=32, init_range=init_range
        )

    assert not module.bias_hh.any()
    for weight in (module.weight_ih, module.weight_hh, module.weight_hr):
        assert 0.95 * bound < weight.abs().max() <= bound
        assert abs(weight.mean()) < 0.1 * bound
        assert weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.1)


def test_copied_pickled_and_loaded_cells_compute_the_same():
    module, x = make(random_cell(1, 8), bias=True, proj_size=2), numbers(0, 5, 3)
    file = io.BytesIO()
    torch.save(module.state_dict(), file)
    file.seek(0)
    loaded = RecurrentCell(module.architecture, 3, 4, True, 2, dtype=torch.float64)
    loaded.load_state_dict(torch.load(file, weights_only=True))

    for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(module)), loaded):
        assert all(map(torch.equal, other(x), module(x)))
        assert other.weight_ih is not module.weight_ih


@pytest.mark.parametrize("options", [{}, {"bias": True, "proj_size": 2}])
def test_exported_cell_computes_the_same(options):
    module, x = make(random_cell(3, 4), **options), numbers(0, 5, 3)
    state = state_of(module)

    exported = torch.export.export(module, (x, state)).module()

    assert all(map(torch.equal, exported(x, state), module(x, state)))


# --- What is refused.


@pytest.mark.parametrize(
    ("x", "h", "c", "message"),
    [
        ((5, 2), (5, 2), (5, 4), "x=(5, 2): must be (batch, 3) or (3,)"),
        ((6, 5, 3), (5, 2), (5, 4), "x=(6, 5, 3): must be (batch, 3) or (3,)"),
        ((5, 3), (5, 4), (5, 2), "h=(5, 4): must be (5, 2); the state is (h, c)"),
        ((5, 3), (5, 2), (1, 4), "c=(1, 4): must be (5, 4); the state is (h, c)"),
        ((3,), (5, 2), (5, 4), "h=(5, 2): must be (2,); the state is (h, c)"),
    ],
)
def test_wrong_shape_is_refused_with_the_right_one(x, h, c, message):
    module = make(random_cell(1, 3), proj_size=2)

    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        module(numbers(0, *x), (numbers(0, *h), numbers(0, *c)))


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((0, 4), "input_size=0: must be a whole number, at least 1"),
        ((3, -1), "hidden_size=-1: must be a whole number, at least 1"),
        ((3, 4.0), "hidden_size=4.0: must be a whole number, at least 1"),
        ((3, 4, False, -2), "proj_size=-2: must be a whole number, at least 0"),
    ],
)
def test_wrong_size_is_refused(sizes, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        RecurrentCell(FIGURE_5, *sizes)


def test_printed_cell_shows_its_sizes_and_its_architecture():
    assert repr(RecurrentCell(FIGURE_5, 3, 4, proj_size=2)) == (
        "RecurrentCell(3, 4, bias=False, proj_size=2: tanh+ relu* | sigm*; c' from 1; relu+ c at 0)"
    )
