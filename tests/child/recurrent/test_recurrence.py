from __future__ import annotations

import copy
import io
import re

import pytest
import torch
from support.cells import FIGURE_5, fill, numbers, random_cell
from torch import nn
from torch.nn.utils.rnn import (
    PackedSequence,
    pack_padded_sequence,
    pack_sequence,
    pad_packed_sequence,
)

from child.recurrent import NAS, NASCell
from child.recurrent.cell import RecurrentCell
from child.recurrent.recurrence import Recurrence

STEPS, BATCH, INPUTS, UNITS = 5, 4, 3, 6
LENGTHS = [3, 1, 5, 2]  # of packed sequences; sorting twice does not bring them back


def make(cell=None, num_layers=2, **options):
    cell = cell or random_cell(2, 3)
    module = Recurrence(cell, INPUTS, UNITS, num_layers, dtype=torch.float64, **options)
    fill(module, seed=9)
    return module


def state_of(module, batch=BATCH):
    width = module.proj_size or module.hidden_size
    return (
        numbers(1, module.num_layers, batch, width),
        numbers(2, module.num_layers, batch, module.hidden_size),
    )


def assert_same(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


# --- The interface is torch.nn.LSTM's.


def shapes_of(result):
    output, (h_n, c_n) = result
    if not isinstance(output, PackedSequence):
        return tuple(output.shape), tuple(h_n.shape), tuple(c_n.shape)
    indices = [None if i is None else i.tolist() for i in output[2:]]
    sizes = output.batch_sizes.tolist()
    return tuple(output.data.shape), sizes, indices, tuple(h_n.shape), tuple(c_n.shape)


def inputs(batch_first):
    """Give each kind of input, and whether it is a single sequence."""
    batch = torch.zeros(BATCH, STEPS, INPUTS) if batch_first else torch.zeros(STEPS, BATCH, INPUTS)
    yield batch, False
    yield torch.zeros(STEPS, INPUTS), True
    for lengths in (LENGTHS, sorted(LENGTHS, reverse=True)):
        for enforce_sorted in {False, lengths != LENGTHS}:
            yield (
                pack_padded_sequence(batch, torch.tensor(lengths), batch_first, enforce_sorted),
                False,
            )


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize("with_state", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("proj_size", [0, 2])
@pytest.mark.parametrize("num_layers", [1, 3])
def test_shapes_are_those_of_torch_lstm(num_layers, proj_size, batch_first, bias, with_state):
    options = {"batch_first": batch_first, "bias": bias, "proj_size": proj_size}
    lstm = nn.LSTM(INPUTS, UNITS, num_layers, **options)
    ours = Recurrence(random_cell(1, 4), INPUTS, UNITS, num_layers, **options)

    for given, is_single in inputs(batch_first):
        batch = () if is_single else (BATCH,)
        state = (
            torch.zeros(num_layers, *batch, proj_size or UNITS),
            torch.zeros(num_layers, *batch, UNITS),
        )
        hx = state if with_state else None
        assert shapes_of(ours(given, hx)) == shapes_of(lstm(given, hx))


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("proj_size", [0, 2])
def test_weights_have_the_names_and_shapes_of_torch_lstm(bias, proj_size):
    lstm = nn.LSTM(INPUTS, UNITS, 2, bias=bias, proj_size=proj_size)
    ours = Recurrence(random_cell(1, 4), INPUTS, UNITS, 2, bias, proj_size=proj_size)

    # Our base 4 has as many rows as an LSTM's four gates; our bias is one.
    assert {name: tuple(weight.shape) for name, weight in ours.state_dict().items()} == {
        name: tuple(weight.shape)
        for name, weight in lstm.state_dict().items()
        if not name.startswith("bias_ih")
    }


def test_weights_start_as_in_torch_lstm_and_biases_at_zero():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        plain = Recurrence(random_cell(1, 8), 50, 16, 2, bias=True)
        narrow = NAS(50, 16, 2, init_range=0.02)

    for layer in range(2):
        assert not getattr(plain, f"bias_hh_l{layer}").any()
        for weight in ("weight_ih", "weight_hh"):
            assert 0.24 < getattr(plain, f"{weight}_l{layer}").abs().max() <= 0.25
            assert 0.019 < getattr(narrow, f"{weight}_l{layer}").abs().max() <= 0.02


# --- What a network computes.


@pytest.mark.parametrize(("bias", "proj_size"), [(False, 0), (True, 0), (True, 2)])
@pytest.mark.parametrize("base", [1, 3, 8])
def test_layers_are_cells_called_step_by_step(base, bias, proj_size):
    module = make(random_cell(base, base), bias=bias, proj_size=proj_size)
    values, (h_0, c_0) = numbers(0, STEPS, BATCH, INPUTS), state_of(module)

    output, (h_n, c_n) = module(values, (h_0, c_0))

    for layer in range(2):
        cell = RecurrentCell(
            module.architecture, values.shape[-1], UNITS, bias, proj_size, dtype=torch.float64
        )
        suffix = f"_l{layer}"
        cell.load_state_dict(
            {
                name.removesuffix(suffix): weight
                for name, weight in module.state_dict().items()
                if name.endswith(suffix)
            }
        )
        state, outputs = (h_0[layer], c_0[layer]), []
        for x in values:
            state = cell(x, state)
            outputs.append(state[0])
        values = torch.stack(outputs)
        assert_same((h_n[layer], c_n[layer]), state)
    assert_same(output, values)


def test_nas_is_its_cell_written_by_hand_called_step_by_step():
    network, cell = (
        NAS(INPUTS, UNITS, bias=True, proj_size=2, dtype=torch.float64),
        NASCell(INPUTS, UNITS, bias=True, proj_size=2, dtype=torch.float64),
    )
    fill(network, seed=4)
    fill(cell, seed=4)
    x = numbers(0, STEPS, BATCH, INPUTS)

    output, (h_n, c_n) = network(x)

    state = None
    for step in range(STEPS):
        state = cell(x[step], state)
        assert_same(output[step], state[0])
    assert_same((h_n[0], c_n[0]), state)


def test_batch_first_is_the_same_transposed():
    plain, turned = make(proj_size=2), make(proj_size=2, batch_first=True)
    x, state = numbers(0, STEPS, BATCH, INPUTS), state_of(plain)

    output, ends = plain(x, state)
    turned_output, turned_ends = turned(x.transpose(0, 1), state)

    assert_same(turned_output.transpose(0, 1), output)
    assert_same(turned_ends, ends)


@pytest.mark.parametrize("batch_first", [False, True])
def test_single_sequence_is_a_batch_of_one(batch_first):
    module = make(proj_size=2, batch_first=batch_first)
    x, (h_0, c_0) = numbers(0, STEPS, INPUTS), state_of(module, batch=1)

    output, ends = module(x, (h_0[:, 0], c_0[:, 0]))
    batch_output, batch_ends = module(x.unsqueeze(0 if batch_first else 1), (h_0, c_0))

    assert_same(output, batch_output.squeeze(0 if batch_first else 1))
    assert_same(ends, tuple(each.squeeze(1) for each in batch_ends))


@pytest.mark.parametrize("is_masked", [False, True])
@pytest.mark.parametrize(
    ("lengths", "enforce_sorted"),
    [(LENGTHS, False), ([5, 3, 3, 1], True), ([2, 2, 2, 2], True), ([1, 2, 3, 4], False)],
)
def test_packed_sequences_are_computed_as_each_alone(lengths, enforce_sorted, is_masked):
    module = make(proj_size=2, bias=True)
    alone = [numbers(seed, length, INPUTS) for seed, length in enumerate(lengths)]
    h_0, c_0 = state_of(module)
    masks = numbers(3, *h_0.shape) if is_masked else None

    output, (h_n, c_n) = module(
        pack_sequence(alone, enforce_sorted), (h_0, c_0), recurrent_mask=masks
    )

    padded, found_lengths = pad_packed_sequence(output)
    assert found_lengths.tolist() == lengths
    for i, x in enumerate(alone):
        mask = None if masks is None else masks[:, i]
        one, (one_h, one_c) = module(x, (h_0[:, i], c_0[:, i]), recurrent_mask=mask)
        assert_same(padded[: lengths[i], i], one)
        assert_same((h_n[:, i], c_n[:, i]), (one_h, one_c))


def test_empty_batch_has_empty_outputs():
    output, (h_n, c_n) = make(proj_size=2)(torch.zeros(STEPS, 0, INPUTS, dtype=torch.float64))

    assert (output.shape, h_n.shape, c_n.shape) == ((STEPS, 0, 2), (2, 0, 2), (2, 0, UNITS))


@pytest.mark.parametrize("seed", range(3))
def test_gradients_are_those_of_finite_differences(seed):
    module = Recurrence(
        random_cell(seed, 2 + seed), 2, 2, 2, bias=True, proj_size=1, dtype=torch.float64
    )
    fill(module, seed)
    names, weights = zip(*module.named_parameters(), strict=True)
    packed = pack_sequence([numbers(0, 1, 2), numbers(1, 3, 2)], enforce_sorted=False)

    def call(rows, h_0, c_0, *weights):
        given = PackedSequence(rows, *packed[1:])
        named = dict(zip(names, weights, strict=True))
        output, ends = torch.func.functional_call(module, named, (given, (h_0, c_0)))
        return output.data, *ends

    given = [t.detach().requires_grad_() for t in (packed.data, *state_of(module, 2), *weights)]
    assert torch.autograd.gradcheck(call, given)


# --- Dropout.


def test_dropout_stands_between_layers_alone_and_in_training_alone():
    module = make(dropout=1.0)
    one, other = numbers(0, STEPS, BATCH, INPUTS), numbers(1, STEPS, BATCH, INPUTS)

    # Everything between the layers is dropped: the upper one does not see what the lower one does.
    (of_one, (h_one, _)), (of_other, (h_other, _)) = module(one), module(other)
    assert torch.equal(of_one, of_other)
    assert not torch.equal(h_one[0], h_other[0])
    with_nothing = make(dropout=1.0).eval()
    assert_same(with_nothing(one), make()(one))
    assert not torch.equal(with_nothing(one)[0], with_nothing(other)[0])


def test_dropout_leaves_outputs_of_the_last_layer_whole():
    cell = FIGURE_5  # its output is a sigmoid, never zero
    with torch.random.fork_rng():
        torch.manual_seed(0)
        output, _ = make(cell, dropout=0.5)(numbers(0, STEPS, BATCH, INPUTS))

    assert (output > 0).all()


def test_dropout_of_a_single_layer_is_warned_about():
    with pytest.warns(UserWarning, match=r"dropout=0\.5 and num_layers=1: nothing is dropped"):
        NAS(INPUTS, UNITS, dropout=0.5)


def test_recurrent_mask_is_multiplied_with_h_before_its_product_at_every_step():
    module = make()
    x, state = numbers(0, STEPS, BATCH, INPUTS), state_of(module)
    mask = numbers(5, 2, 1, UNITS)

    found = module(x, state, recurrent_mask=mask.expand(2, BATCH, UNITS))

    # That is scaling the columns of the recurrent weights.
    with torch.no_grad():
        module.weight_hh_l0 *= mask[0]
        module.weight_hh_l1 *= mask[1]
    assert_same(found, module(x, state))


# --- Copies, files, export.


def test_copied_and_loaded_networks_compute_the_same():
    module, x = make(bias=True, proj_size=2), numbers(0, STEPS, BATCH, INPUTS)
    file = io.BytesIO()
    torch.save(module.state_dict(), file)
    file.seek(0)
    loaded = Recurrence(
        module.architecture, INPUTS, UNITS, 2, True, proj_size=2, dtype=torch.float64
    )
    loaded.load_state_dict(torch.load(file, weights_only=True))

    for other in (copy.deepcopy(module), loaded):
        assert torch.equal(other(x)[0], module(x)[0])
        assert other.weight_ih_l0 is not module.weight_ih_l0


def test_exported_network_computes_the_same():
    module = NAS(INPUTS, UNITS, 2, bias=True, proj_size=2, batch_first=True).eval()
    x = torch.randn(BATCH, 3, INPUTS)

    exported = torch.export.export(module, (x,)).module()

    torch.testing.assert_close(exported(x), module(x), rtol=1e-6, atol=1e-6)


def test_state_is_float32_under_autocast():
    module = NAS(INPUTS, UNITS, 2)

    with torch.autocast("cpu", torch.bfloat16):
        output, (h_n, c_n) = module(torch.randn(STEPS, BATCH, INPUTS))

    assert {output.dtype, h_n.dtype, c_n.dtype} == {torch.float32}


# --- What is refused.


@pytest.mark.parametrize(
    ("shape", "batch_first", "message"),
    [
        ((5, 4, 2), False, "input=(5, 4, 2): must be (steps, batch, 3) or (steps, 3)"),
        ((4, 5, 2), True, "input=(4, 5, 2): must be (batch, steps, 3) or (steps, 3)"),
        ((3,), False, "input=(3,): must be (steps, batch, 3) or (steps, 3)"),
        ((0, 4, 3), False, "input=(0, 4, 3): must have at least one step"),
        ((4, 0, 3), True, "input=(4, 0, 3): must have at least one step"),
        ((0, 3), True, "input=(0, 3): must have at least one step"),
    ],
)
def test_input_of_another_shape_is_refused_with_the_right_one(shape, batch_first, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        make(batch_first=batch_first)(torch.zeros(shape, dtype=torch.float64))


def test_packed_input_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"^input=\(3, 2\), packed: must be \(rows, 3\)$"):
        make()(pack_sequence([torch.zeros(3, 2)]))


@pytest.mark.parametrize(
    ("h_0", "c_0", "message"),
    [
        ((2, 4, 6), (2, 4, 6), "h_0=(2, 4, 6): must be (2, 4, 2)"),
        ((1, 4, 2), (2, 4, 6), "h_0=(1, 4, 2): must be (2, 4, 2)"),
        ((2, 4, 2), (2, 1, 6), "c_0=(2, 1, 6): must be (2, 4, 6)"),
        ((2, 2), (2, 6), "h_0=(2, 2): must be (2, 4, 2)"),
    ],
)
def test_state_of_another_shape_is_refused_with_the_right_one(h_0, c_0, message):
    module, x = make(proj_size=2), numbers(0, STEPS, BATCH, INPUTS)

    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        module(x, (torch.zeros(h_0), torch.zeros(c_0)))


def test_state_of_a_batch_is_refused_for_a_single_sequence():
    module = make()

    with pytest.raises(ValueError, match=r"^h_0=\(2, 1, 6\): must be \(2, 6\)$"):
        module(numbers(0, STEPS, INPUTS), state_of(module, batch=1))


def test_mask_of_another_shape_is_refused():
    module, x = make(), numbers(0, STEPS, BATCH, INPUTS)

    with pytest.raises(ValueError, match=r"^recurrent_mask=\(4, 6\): must be \(2, 4, 6\)$"):
        module(x, recurrent_mask=torch.ones(BATCH, UNITS))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_layers": 0}, "num_layers=0: must be a whole number, at least 1"),
        ({"proj_size": -1}, "proj_size=-1: must be a whole number, at least 0"),
        ({"num_layers": 2, "dropout": 1.5}, "dropout=1.5: must be a fraction, 0 to 1"),
        ({"num_layers": 2, "dropout": -0.1}, "dropout=-0.1: must be a fraction, 0 to 1"),
    ],
)
def test_wrong_setting_is_refused(options, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        NAS(INPUTS, UNITS, **options)


def test_proj_size_is_given_by_name_for_lstm_has_bidirectional_there():
    with pytest.raises(TypeError, match="positional"):
        NAS(INPUTS, UNITS, 2, False, False, 0.0, True)


def test_printed_network_shows_what_is_not_default():
    module = Recurrence(FIGURE_5, 3, 4, 2, bias=True, dropout=0.5)

    assert repr(module) == (
        "Recurrence(3, 4, num_layers=2, bias=True, dropout=0.5: "
        "tanh+ relu* | sigm*; c' from 1; relu+ c at 0)"
    )
