"""A batch of sequences as rows, whichever way it was given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

from torch import Tensor
from torch.nn.utils.rnn import PackedSequence


class Run(NamedTuple):
    """Steps in a row, in each of which the first ``num_sequences`` sequences take part."""

    num_steps: int
    num_sequences: int


@dataclass(frozen=True)
class Sequences:
    """All steps of all sequences, one below the other, the sequences from long to short.

    rows: (R, I): step by step, the sequences that take part in it.
    runs: the steps, summed up; R is the sum of num_steps * num_sequences.
    given: what it was made of, which says how results are to be laid out.
    is_batch_first: whether they are (B, T, …) and not (T, B, …), if it is a batch.
    """

    rows: Tensor
    runs: Sequence[Run]
    given: Tensor | PackedSequence
    is_batch_first: bool

    @classmethod
    def of(cls, given: Tensor | PackedSequence, input_size: int, is_batch_first: bool) -> Sequences:
        """Give what was passed to a recurrent network as rows.

        Raises:
            ValueError: its shape is not that of sequences, or they have no steps.
        """
        if isinstance(given, PackedSequence):
            if given.data.ndim != 2 or given.data.shape[1] != input_size:
                raise ValueError(
                    f"input={tuple(given.data.shape)}, packed: must be (rows, {input_size})"
                )
            sizes = given.batch_sizes.tolist()
            runs = [Run(len(list(steps)), size) for size, steps in groupby(sizes)]
            return cls(given.data, runs, given, is_batch_first)
        batch = "(batch, steps, {})" if is_batch_first else "(steps, batch, {})"
        if given.ndim not in (2, 3) or given.shape[-1] != input_size:
            raise ValueError(
                f"input={tuple(given.shape)}: must be {batch.format(input_size)} "
                f"or (steps, {input_size})"
            )
        steps = given
        if given.ndim == 2:
            steps = given.unsqueeze(1)
        elif is_batch_first:
            steps = given.transpose(0, 1)
        num_steps, num_sequences = steps.shape[:2]
        if num_steps == 0:
            raise ValueError(f"input={tuple(given.shape)}: must have at least one step")
        return cls(steps.flatten(0, 1), [Run(num_steps, num_sequences)], given, is_batch_first)

    @property
    def num_sequences(self) -> int:
        """The number of sequences, B."""
        return self.runs[0].num_sequences

    def sorted_state(self, name: str, given: Tensor, num_layers: int, size: int) -> Tensor:
        """Give a state (L, B, size), the sequences in the order of the rows.

        Raises:
            ValueError: it is not (L, B, size), or (L, size) for a single sequence.
        """
        shape: tuple[int, ...] = (num_layers, self.num_sequences, size)
        if self._is_single:
            shape = (num_layers, size)
        if given.shape != shape:
            raise ValueError(f"{name}={tuple(given.shape)}: must be {shape}")
        if self._is_single:
            return given.unsqueeze(1)
        if isinstance(self.given, PackedSequence) and self.given.sorted_indices is not None:
            return given.index_select(1, self.given.sorted_indices)
        return given

    def given_state(self, state: Tensor) -> Tensor:
        """Give a state (L, B, size) in the order, and without the dimension, of what was given."""
        if self._is_single:
            return state.squeeze(1)
        if isinstance(self.given, PackedSequence) and self.given.unsorted_indices is not None:
            return state.index_select(1, self.given.unsorted_indices)
        return state

    def given_rows(self, rows: Tensor) -> Tensor | PackedSequence:
        """Give rows (R, H) laid out as what was given."""
        if isinstance(self.given, PackedSequence):
            given = self.given
            return PackedSequence(
                rows, given.batch_sizes, given.sorted_indices, given.unsorted_indices
            )
        if self._is_single:
            return rows
        steps: Tensor = rows.unflatten(0, self.runs[0])
        return steps.transpose(0, 1) if self.is_batch_first else steps

    @property
    def _is_single(self) -> bool:
        return not isinstance(self.given, PackedSequence) and self.given.ndim == 2
