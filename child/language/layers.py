"""One recurrent layer of a language model: of any cell, or of LSTMs to compare it with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from child.language.dropout import masked
from child.recurrent.architecture import CellArchitecture
from child.recurrent.recurrence import Recurrence

State = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Lstm:
    """The cell that others are compared with, in place of a `CellArchitecture`."""

    base: ClassVar[int] = 4  # matrices of its own in each direction, as the leaves of a cell

    def __str__(self) -> str:
        return "lstm"


LSTM = Lstm()


class RecurrentLayer(Protocol):
    """One layer of U units over I inputs.

    Laws:
        It is a torch module. h is what it puts out, c its memory, both (B, U); None is zeros. All
        its matrices together are ``num_blocks`` of (U, I) and as many of (U, U).
    """

    def __call__(
        self, inputs: Tensor, state: State | None, recurrent_mask: Tensor | None
    ) -> tuple[Tensor, State]:
        """Give the outputs, (T, B, U), and the state after the last step.

        Args:
            inputs: (T, B, I).
            recurrent_mask: (B, U), multiplied with h before its product with the weights, the same
                at every step; None: no dropout.
        """
        ...


class CellLayer(nn.Module):
    """A layer of cells; see `RecurrentLayer`."""

    def __init__(self, architecture: CellArchitecture, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.recurrence = Recurrence(architecture, input_size, hidden_size)

    def forward(
        self, inputs: Tensor, state: State | None, recurrent_mask: Tensor | None
    ) -> tuple[Tensor, State]:
        given = None if state is None else (state[0].unsqueeze(0), state[1].unsqueeze(0))
        mask = None if recurrent_mask is None else recurrent_mask.unsqueeze(0)
        outputs, (h, c) = self.recurrence(inputs, given, recurrent_mask=mask)
        return outputs, (h.squeeze(0), c.squeeze(0))


class LstmLayer(nn.Module):
    """A layer of LSTMs without biases, what a cell is compared with; see `RecurrentLayer`."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(input_size, hidden_size, bias=False)

    def forward(
        self, inputs: Tensor, state: State | None, recurrent_mask: Tensor | None
    ) -> tuple[Tensor, State]:
        # torch's own loop has no place for a mask, and on many CPUs there is none in fewer bits.
        is_in_fewer_bits = inputs.device.type == "cpu" and torch.is_autocast_enabled("cpu")
        if recurrent_mask is not None or is_in_fewer_bits:
            return self._unrolled(inputs, state, recurrent_mask)
        given = None if state is None else (state[0].unsqueeze(0), state[1].unsqueeze(0))
        outputs, (h, c) = self.lstm(inputs, given)
        return outputs, (h.squeeze(0), c.squeeze(0))

    def _unrolled(
        self, inputs: Tensor, state: State | None, mask: Tensor | None
    ) -> tuple[Tensor, State]:
        weight_ih, weight_hh = self.lstm.all_weights[0]
        zeros = weight_hh.new_zeros(inputs.shape[1], self.lstm.hidden_size)
        h, c = state or (zeros, zeros)
        outputs = []
        for projected in functional.linear(inputs, weight_ih).unbind(0):
            gates = projected + functional.linear(masked(h, mask), weight_hh)
            take, keep, new, give = gates.chunk(4, dim=-1)
            c = keep.sigmoid() * c + take.sigmoid() * new.tanh()
            h = give.sigmoid() * c.tanh()
            outputs.append(h)
        return torch.stack(outputs), (h, c)
