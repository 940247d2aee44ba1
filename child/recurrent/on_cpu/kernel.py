"""A machine that runs a program of elementwise instructions over registers.

numba compiles it, once in a process for all cells: they differ in their programs
(docs/decisions/0037).
"""

from __future__ import annotations

import math
from enum import IntEnum
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic, overload


class Operation(IntEnum):
    """What an instruction does with registers x, y and z.

    The first are the combinations and activations of `child.recurrent.node`; the others give the
    gradient of what was activated or combined, x being that of the result:

        TANH_BACK, SIGMOID_BACK, RELU_BACK: y is the result
        SIN_BACK: y is what was activated
        MAX_BACK: of y, which was combined with z; half of it where both are equal
    """

    ADD = 0
    ELEM_MULT = 1
    MAX = 2
    TANH = 3
    SIGMOID = 4
    RELU = 5
    SIN = 6
    TANH_BACK = 7
    SIGMOID_BACK = 8
    RELU_BACK = 9
    SIN_BACK = 10
    MAX_BACK = 11


# Products and sums may become one operation; nothing else that changes a result, so that what is
# not finite stays so.
_OPTIONS: dict[str, Any] = {"fastmath": {"contract"}, "error_model": "numpy", "nogil": True}


@intrinsic
def _power_of_two(context: Any, shifted: Any) -> Any:
    """Give 2^n for a float32 that is 1.5 * 2^23 + n: its lowest bits are those of n."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        whole = ir.IntType(32)
        bits = builder.bitcast(arguments[0], whole)
        exponent = builder.shl(bits, ir.Constant(whole, 23))
        return builder.bitcast(builder.add(exponent, ir.Constant(whole, 127 << 23)), ir.FloatType())

    return types.float32(types.float32), generate


_LIMIT = np.float32(87)  # just within what has a normal e^x and e^-x
_SHIFT = np.float32(1.5 * 2**23)  # what is added to it is rounded to a whole number
_LOG2_E = np.float32(1 / math.log(2))
# ln 2 in two parts; of the first, the product with a whole number to 2^7 is exact.
_LN_2_HIGH = np.float32(0.693359375)
_LN_2_LOW = np.float32(math.log(2) - 0.693359375)
_C2, _C3, _C4, _C5, _C6, _C7 = (np.float32(1 / math.factorial(n)) for n in range(2, 8))
_ONE, _TWO = np.float32(1), np.float32(2)


@njit(**_OPTIONS)
def _expm1(x: Any) -> Any:
    """Give e^x - 1 in float32, in operations that a processor does for many numbers at once.

    x = n ln 2 + r with |r| <= ln(2) / 2; e^r - 1 by Taylor's series, whose rest is 6e-9. Beyond
    -87 and 87 it stays where it is there.
    """
    x = -_LIMIT if x < -_LIMIT else x
    x = _LIMIT if x > _LIMIT else x
    shifted = x * _LOG2_E + _SHIFT
    n = shifted - _SHIFT
    r = x - n * _LN_2_HIGH - n * _LN_2_LOW
    series = (((((_C7 * r + _C6) * r + _C5) * r + _C4) * r + _C3) * r + _C2) * r * r + r
    power: Any = _power_of_two(shifted)  # type: ignore[call-arg]  # numba gives the context
    return power * series + (power - _ONE)


def _tanh(x: Any) -> Any:
    return math.tanh(x)


def _sigmoid(x: Any) -> Any:
    return 1 / (1 + math.exp(-x))


@overload(_tanh)
def _choose_tanh(x: Any) -> Any:
    def of_float32(x: Any) -> Any:
        e = _expm1(x + x)
        return e / (e + _TWO)

    return of_float32 if x == types.float32 else _tanh


@overload(_sigmoid)
def _choose_sigmoid(x: Any) -> Any:
    def of_float32(x: Any) -> Any:
        return _ONE / (_TWO + _expm1(-x))

    return of_float32 if x == types.float32 else _sigmoid


@njit(**_OPTIONS)
def execute(program: Any, registers: Any, inputs: Any, outputs: Any, results: Any) -> None:
    """Run a program for each example of a batch, on U numbers at a time.

    Args:
        program: (I, 5) int64, one instruction a row: `Operation`, x, y, z, and the register that
            the result is put into, which is none of the three.
        registers: (R, U), scratch.
        inputs: arrays (B, n, U) whose n rows the first registers hold at the start.
        outputs: arrays (B, n, U), written; they may be inputs, too.
        results: the register of each row of the outputs, int64.

    All but ``program`` and ``results`` are of one dtype, float32 or float64, and C-contiguous.
    Threads: may be called from many, on different registers and outputs; it holds no lock.
    """
    num_units = registers.shape[1]
    # In the format of the numbers: beside an int64 all were computed in float64.
    number = registers.dtype.type
    zero, half, one = number(0), number(0.5), number(1)
    for example in range(inputs[0].shape[0]):
        register = 0
        for rows in inputs:
            for row in range(rows.shape[1]):
                for j in range(num_units):
                    registers[register, j] = rows[example, row, j]
                register += 1
        for at in range(program.shape[0]):
            operation = program[at, 0]
            x = registers[program[at, 1]]
            y = registers[program[at, 2]]
            z = registers[program[at, 3]]
            result = registers[program[at, 4]]
            # A loop for each: a choice within it would keep it from many numbers at once.
            if operation == Operation.ADD:
                for j in range(num_units):
                    result[j] = x[j] + y[j]
            elif operation == Operation.ELEM_MULT:
                for j in range(num_units):
                    result[j] = x[j] * y[j]
            elif operation == Operation.MAX:
                for j in range(num_units):
                    result[j] = x[j] if x[j] > y[j] or x[j] != x[j] else y[j]
            elif operation == Operation.TANH:
                for j in range(num_units):
                    result[j] = _tanh(x[j])
            elif operation == Operation.SIGMOID:
                for j in range(num_units):
                    result[j] = _sigmoid(x[j])
            elif operation == Operation.RELU:
                for j in range(num_units):
                    result[j] = zero if x[j] < zero else x[j]
            elif operation == Operation.SIN:
                for j in range(num_units):
                    result[j] = math.sin(x[j])
            elif operation == Operation.TANH_BACK:
                for j in range(num_units):
                    result[j] = x[j] * (one - y[j] * y[j])
            elif operation == Operation.SIGMOID_BACK:
                for j in range(num_units):
                    result[j] = x[j] * (y[j] * (one - y[j]))
            elif operation == Operation.RELU_BACK:
                for j in range(num_units):
                    result[j] = zero if y[j] <= zero else x[j]
            elif operation == Operation.SIN_BACK:
                for j in range(num_units):
                    result[j] = x[j] * math.cos(y[j])
            elif operation == Operation.MAX_BACK:
                for j in range(num_units):
                    if y[j] < z[j]:
                        result[j] = zero
                    elif y[j] == z[j]:
                        result[j] = x[j] * half
                    else:
                        result[j] = x[j]
        register = 0
        for rows in outputs:
            for row in range(rows.shape[1]):
                held = registers[results[register]]
                for j in range(num_units):
                    rows[example, row, j] = held[j]
                register += 1
