"""The kernel computes what numpy computes, instruction by instruction."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
import torch
from support.cells import random_cell

from child.recurrent.on_cpu.cell_programs import cell_programs
from child.recurrent.on_cpu.kernel import Operation, execute
from child.recurrent.on_cpu.program import Draft
from child.recurrent.recurrence import Recurrence


def sigmoid(x):
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-x))


FORMULAS = {
    Operation.ADD: lambda x, y, _: x + y,
    Operation.ELEM_MULT: lambda x, y, _: x * y,
    Operation.MAX: lambda x, y, _: np.maximum(x, y),
    Operation.TANH: lambda x, *_: np.tanh(x),
    Operation.SIGMOID: lambda x, *_: sigmoid(x),
    Operation.RELU: lambda x, *_: np.maximum(x, 0),
    Operation.SIN: lambda x, *_: np.sin(x),
    Operation.TANH_BACK: lambda x, y, _: x * (1 - y**2),
    Operation.SIGMOID_BACK: lambda x, y, _: x * y * (1 - y),
    Operation.RELU_BACK: lambda x, y, _: np.where(y <= 0, 0, x),
    Operation.SIN_BACK: lambda x, y, _: x * np.cos(y),
    Operation.MAX_BACK: lambda x, y, z: np.where(y < z, 0, np.where(y == z, x / 2, x)),
}


def run(operation, x, y, z):
    """Run one instruction on numbers in three rows."""
    inputs = np.stack([x, y, z])[None]
    outputs = np.full((1, 1, len(x)), 7, x.dtype)
    registers = np.full((4, len(x)), 7, x.dtype)
    code = np.array([[operation, 0, 1, 2, 3]])
    execute(code, registers, (inputs,), (outputs,), np.array([3]))
    return outputs[0, 0]


def rows(dtype):
    draw = np.random.default_rng(0)
    x, y, z = draw.normal(size=(3, 103)) * 3  # no multiple of what is done at once
    z[::3] = y[::3]
    y[::7] = 0
    return [each.astype(dtype) for each in (x, y, z)]


def test_every_operation_has_a_formula():
    assert set(FORMULAS) == set(Operation)


@pytest.mark.parametrize("operation", Operation, ids=lambda each: each.name)
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 5e-7), (np.float64, 1e-15)])
def test_operation_is_its_formula(operation, dtype, tolerance):
    x, y, z = rows(dtype)
    expected = FORMULAS[operation](*(each.astype(np.float64) for each in (x, y, z)))

    found = run(operation, x, y, z)

    assert found.dtype == dtype
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("operation", Operation, ids=lambda each: each.name)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_treated_as_numpy_treats_them(operation, dtype, bad):
    x, y, z = rows(dtype)
    x[::2] = bad
    if operation != Operation.SIN_BACK:
        y[::3] = bad
    with np.errstate(invalid="ignore"):
        expected = FORMULAS[operation](x, y, z)

    np.testing.assert_allclose(run(operation, x, y, z), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("operation", "formula"), [(Operation.TANH, np.tanh), (Operation.SIGMOID, sigmoid)]
)
def test_float32_is_exact_to_the_last_bits_wherever_it_is_not_saturated(operation, formula):
    magnitudes = np.geomspace(1e-30, 80, 500_000)
    x = np.concatenate([-magnitudes, [0], magnitudes]).astype(np.float32)

    found = run(operation, x, x, x)

    expected = formula(x.astype(np.float64))
    normal = np.abs(expected) > np.finfo(np.float32).tiny
    error = np.abs(found - expected)[normal] / np.abs(expected[normal])
    assert error.max() < 3 * np.finfo(np.float32).eps
    assert np.abs(found).max() <= 1


@pytest.mark.parametrize("operation", [Operation.TANH, Operation.SIGMOID])
def test_large_float32_saturate(operation):
    x = np.array([-np.float32(3e38), -1e4, -100, 100, 1e4, 3e38], np.float32)
    low = -1 if operation == Operation.TANH else 0
    np.testing.assert_allclose(run(operation, x, x, x), [low] * 3 + [1] * 3, atol=2e-38)


def test_each_example_is_computed_by_itself():
    inputs = np.arange(24.0).reshape(4, 2, 3)
    more = np.ones((4, 1, 3))
    outputs = np.empty((4, 2, 3))
    draft = Draft(3)
    total = draft.put(Operation.ADD, draft.put(Operation.ADD, 0, 1), 2)
    program = draft.program([total, 1])

    execute(
        program.code,
        np.empty((program.num_registers, 3)),
        (inputs, more),
        (outputs,),
        program.results,
    )

    np.testing.assert_array_equal(outputs[:, 0], inputs.sum(1) + 1)
    np.testing.assert_array_equal(outputs[:, 1], inputs[:, 1])


def test_outputs_may_be_inputs():
    numbers = np.arange(6.0).reshape(2, 1, 3)
    draft = Draft(1)
    program = draft.program([draft.put(Operation.ADD, 0, 0)])
    registers = np.empty((program.num_registers, 3))
    execute(program.code, registers, (numbers,), (numbers,), program.results)
    np.testing.assert_array_equal(numbers, 2 * np.arange(6.0).reshape(2, 1, 3))


def test_other_threads_go_on_while_it_computes():
    rows = np.ones((200_000, 1, 64))
    draft, register = Draft(1), 0
    for _ in range(5):
        register = draft.put(Operation.SIN, register)
    program = draft.program([register])
    registers = np.empty((program.num_registers, 64))

    def compute():
        execute(program.code, registers, (rows,), (rows,), program.results)

    compute()  # compiled
    thread = threading.Thread(target=compute)
    thread.start()
    turns = [time.monotonic()]
    while thread.is_alive():
        turns.append(time.monotonic())
    thread.join()
    turns.append(time.monotonic())

    longest = max(np.diff(turns))
    assert longest < (turns[-1] - turns[0]) / 2


def test_program_leaves_out_what_no_result_needs():
    draft = Draft(2)
    draft.put(Operation.TANH, 0)
    kept = draft.put(Operation.ADD, 0, 1)
    draft.put(Operation.SIN, kept)
    assert draft.program([kept]).code.tolist() == [[Operation.ADD, 0, 1, 0, 2]]


def test_program_uses_registers_again_but_not_while_they_are_read():
    draft = Draft(1)
    at = 0
    for _ in range(20):
        at = draft.put(Operation.TANH, at)
    program = draft.program([at])

    assert program.num_registers == 2
    assert all(result not in read for _, *read, result in program.code.tolist())


def test_input_that_is_a_result_is_not_overwritten():
    draft = Draft(1)
    at = draft.put(Operation.TANH, draft.put(Operation.TANH, draft.put(Operation.TANH, 0)))
    program = draft.program([0, at])
    assert 0 not in program.code[:, 4]
    assert program.results[0] == 0


def test_cells_differ_in_programs_and_share_the_compiled_kernel():
    def train(seed):
        network = Recurrence(random_cell(seed, 8), 3, 4, num_layers=2)
        outputs, _ = network(torch.ones(2 + seed % 2, 5, 3))
        outputs.sum().backward()

    train(0)
    compiled = set(execute.signatures)
    for seed in range(1, 20):
        train(seed)
    assert set(execute.signatures) == compiled

    codes = {cell_programs(random_cell(seed, 8)).forward.code.tobytes() for seed in range(20)}
    assert len(codes) == 20
