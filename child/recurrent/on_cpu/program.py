"""A program for the kernel, and how one is written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from child.recurrent.on_cpu.kernel import Operation


class Program(NamedTuple):
    """What `child.recurrent.on_cpu.kernel.execute` is given beside the numbers.

    code: (I, 5) int64.
    num_registers: as many as it needs, those of its inputs included.
    results: (n,) int64, the register of each result.
    """

    code: npt.NDArray[np.int64]
    num_registers: int
    results: npt.NDArray[np.int64]


class Draft:
    """A program that is being written, in which each instruction has a register of its own.

    The first ``num_inputs`` registers are those of the inputs.
    """

    def __init__(self, num_inputs: int) -> None:
        self._num_inputs = num_inputs
        self._instructions: list[tuple[Operation, int, int, int]] = []

    def put(self, operation: Operation, x: int, y: int | None = None, z: int | None = None) -> int:
        """Add an instruction; give the register of its result."""
        self._instructions.append((operation, x, x if y is None else y, x if z is None else z))
        return self._num_inputs + len(self._instructions) - 1

    def program(self, results: Sequence[int]) -> Program:
        """Give the program that ends with these results, in few registers.

        What no result needs is left out, and a register whose last reader has read it is used
        again: those of the cache nearest to the processor do for all.
        """
        last_reader = {register: len(self._instructions) for register in results}
        for at in reversed(range(len(self._instructions))):
            if self._num_inputs + at in last_reader:
                for register in self._instructions[at][1:]:
                    last_reader.setdefault(register, at)
        place = {register: register for register in range(self._num_inputs)}
        free: list[int] = []
        num_registers = self._num_inputs
        code: list[tuple[Any, ...]] = []
        for at, (operation, *read) in enumerate(self._instructions):
            if self._num_inputs + at not in last_reader:
                continue
            if not free:
                free.append(num_registers)
                num_registers += 1
            result = free.pop()
            code.append((operation, *(place[register] for register in read), result))
            place[self._num_inputs + at] = result
            free.extend(place[register] for register in set(read) if last_reader[register] == at)
        return Program(
            np.array(code, dtype=np.int64).reshape(-1, 5),
            num_registers,
            np.array([place[register] for register in results], dtype=np.int64),
        )
