"""A recurrent network of any cell over whole sequences, called as torch.nn.LSTM is."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence

from child.recurrent.architecture import CellArchitecture
from child.recurrent.fast_unroll import fast_unroll
from child.recurrent.sequences import Run, Sequences
from child.recurrent.weights import add_weights, check_sizes, draw, weights_of

State = tuple[Tensor, Tensor]


class Recurrence(nn.Module):
    """Layers of one cell architecture, each over the outputs of the one before it.

    Arguments, shapes and names of weights are those of torch.nn.LSTM, with these differences: there
    is no bidirectional, so what follows it there, proj_size, is given by name here, and may be as
    large as one likes; bias is off unless asked for, is one (bias_hh), and starts at zero; wrong
    shapes are a ValueError.

    dropout: the fraction of the outputs of each layer but the last that is zeroed in training,
        each element at each step on its own. Dropout of the recurrent input: see `forward`.
    init_range: matrices start uniform in ± this; 1 / sqrt(hidden_size) if it is None.

    The attribute ``unroll`` is the loop over the steps: `child.recurrent.fast_unroll.fast_unroll`.
    Set it to `child.recurrent.unroll.unroll` for second derivatives, or torch.func.

    Layer k has weight_ih_lk, weight_hh_lk, and where asked for bias_hh_lk and weight_hr_lk; shapes
    in `child.recurrent.weights.CellWeights`.

    Raises:
        ValueError: a size or num_layers below 1, proj_size below 0, dropout outside [0, 1].

    Source: Zoph & Le 2017, s3.4 and s4.2.
    """

    def __init__(
        self,
        architecture: CellArchitecture,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = False,
        batch_first: bool = False,
        dropout: float = 0.0,
        *,
        proj_size: int = 0,
        init_range: float | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_sizes(input_size=input_size, hidden_size=hidden_size, num_layers=num_layers)
        check_sizes(proj_size=proj_size)
        if not 0 <= dropout <= 1:
            raise ValueError(f"dropout={dropout!r}: must be a fraction, 0 to 1")
        if dropout and num_layers == 1:
            warnings.warn(
                f"dropout={dropout} and num_layers=1: nothing is dropped, for it stands between "
                "layers",
                stacklevel=2,
            )
        self.architecture = architecture
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = float(dropout)
        self.proj_size = proj_size
        self.init_range = init_range
        self.unroll: Callable[..., tuple[Tensor, Tensor, Tensor]] = fast_unroll
        for layer in range(num_layers):
            add_weights(
                self,
                f"_l{layer}",
                architecture.base,
                input_size if layer == 0 else self._width,
                hidden_size,
                bias=bias,
                proj_size=proj_size,
                device=device,
                dtype=dtype,
            )
        self.reset_parameters()

    @property
    def _width(self) -> int:
        return self.proj_size or self.hidden_size

    def reset_parameters(self) -> None:
        """Draw all weights anew, from torch's global generator."""
        draw(self, self.hidden_size, self.init_range)

    def forward(
        self,
        input: Tensor | PackedSequence,  # noqa: A002 - the name it has in torch.nn.LSTM
        hx: State | None = None,
        *,
        recurrent_mask: Tensor | None = None,
    ) -> tuple[Tensor | PackedSequence, State]:
        """Give the outputs of the last layer, and for each layer the state after the last step.

        T steps, B sequences, I = input_size, L = num_layers, U = hidden_size, H = proj_size or U.

        Args:
            input: (T, B, I), with batch_first (B, T, I); (T, I) for a single sequence; or packed.
            hx: h_0 (L, B, H) and c_0 (L, B, U); without B for a single sequence; zeros if it is
                None. Of packed sequences, in the order they were packed from.
            recurrent_mask: in the shape and order of h_0; in each layer it is multiplied with h
                before its product with the weights, the same at every step: variational dropout,
                scaled by whoever draws it. None: no dropout.

        Returns:
            Outputs (T, B, H), laid out as the input, packed if it was; (h_n, c_n), as hx.

        Raises:
            ValueError: the input, the state or the mask has another shape, or there is no step.
        """
        sequences = Sequences.of(input, self.input_size, self.batch_first)
        weight = weights_of(self, "_l0").weight_ih
        size = sequences.num_sequences
        if hx is None:
            h = weight.new_zeros(self.num_layers, size, self._width)
            c = weight.new_zeros(self.num_layers, size, self.hidden_size)
        else:
            h = sequences.sorted_state("h_0", hx[0], self.num_layers, self._width)
            c = sequences.sorted_state("c_0", hx[1], self.num_layers, self.hidden_size)
        masks: Sequence[Tensor | None] = [None] * self.num_layers
        if recurrent_mask is not None:
            masks = sequences.sorted_state(
                "recurrent_mask", recurrent_mask, self.num_layers, self._width
            ).unbind(0)
        rows, ends = sequences.rows, []
        for layer in range(self.num_layers):
            if layer and self.dropout:
                rows = functional.dropout(rows, self.dropout, self.training)
            rows, *end = self._layer(layer, rows, sequences.runs, h[layer], c[layer], masks[layer])
            ends.append(end)
        h_n, c_n = (sequences.given_state(torch.stack(each)) for each in zip(*ends, strict=True))
        return sequences.given_rows(rows), (h_n, c_n)

    def extra_repr(self) -> str:
        """Give what differs from the defaults, and the architecture, for print(network)."""
        text = f"{self.input_size}, {self.hidden_size}"
        for name, default in (
            ("num_layers", 1), ("bias", False), ("batch_first", False), ("dropout", 0.0),
            ("proj_size", 0),
        ):  # fmt: skip
            if (value := getattr(self, name)) != default:
                text += f", {name}={value}"
        return f"{text}: {self.architecture}"

    def _layer(
        self,
        layer: int,
        rows: Tensor,
        runs: Sequence[Run],
        h: Tensor,
        c: Tensor,
        mask: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Give the outputs as rows, and the last state of each sequence."""
        weights = weights_of(self, f"_l{layer}")
        outputs, start = [], 0
        for num_steps, size in runs:
            end = start + num_steps * size
            # Sequences that have ended keep their state, below those that go on.
            run_outputs, run_h, run_c = self.unroll(
                self.architecture,
                rows[start:end].view(num_steps, size, rows.shape[-1]),
                weights.weight_ih,
                weights.weight_hh,
                weights.bias_hh,
                weights.weight_hr,
                h[:size],
                c[:size],
                None if mask is None else mask[:size],
            )
            outputs.append(run_outputs.flatten(0, 1))
            h, c = torch.cat([run_h, h[size:]]), torch.cat([run_c, c[size:]])
            start = end
        return torch.cat(outputs) if len(outputs) > 1 else outputs[0], h, c
