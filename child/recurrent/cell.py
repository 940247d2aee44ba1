"""A recurrent cell of any architecture as a torch module, one step at a time."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from child.recurrent.architecture import CellArchitecture
from child.recurrent.step import step
from child.recurrent.weights import add_weights, check_sizes, draw, weights_of


class RecurrentCell(nn.Module):
    """The cell of an architecture, called as torch.nn.LSTMCell is.

    The products of all leaves with x are one matrix product, and those with h another:

        u = W x;  v = U h (+ bias);  leaf i: activation(combination(u_i, v_i))

    and h_t is the output of the root, multiplied by the projection where there is one. Weights and
    their names: `child.recurrent.weights.CellWeights`; matrices start uniform in ± init_range,
    1 / sqrt(hidden_size) unless it is given, biases at zero.

    State is (h, c) in that order, torch's. TensorFlow's NASCell has (c, m) and gives m: m is h.

    Raises:
        ValueError: a size below 1, or a proj_size below 0.

    Source: Zoph & Le 2017, s3.4; bias and projection as in TensorFlow's NASCell.
    """

    def __init__(
        self,
        architecture: CellArchitecture,
        input_size: int,
        hidden_size: int,
        bias: bool = False,
        proj_size: int = 0,
        *,
        init_range: float | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_sizes(input_size=input_size, hidden_size=hidden_size, proj_size=proj_size)
        self.architecture = architecture
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.bias = bias
        self.proj_size = proj_size
        self.init_range = init_range
        add_weights(
            self,
            "",
            architecture.base,
            input_size,
            hidden_size,
            bias=bias,
            proj_size=proj_size,
            device=device,
            dtype=dtype,
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all weights anew, from torch's global generator."""
        draw(self, self.hidden_size, self.init_range)

    def forward(
        self, x: Tensor, state: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Give the new state (h, c), in the dtypes of the old one; its h is the output.

        Args:
            x: (B, input_size), or (input_size,) for a single example.
            state: h (B, proj_size or hidden_size) and c (B, hidden_size), or both without B;
                zeros if it is None.

        Raises:
            ValueError: x or the state has another shape.
        """
        weights = weights_of(self, "")
        width = self.proj_size or self.hidden_size
        if x.ndim not in (1, 2) or x.shape[-1] != self.input_size:
            raise ValueError(
                f"x={tuple(x.shape)}: must be (batch, {self.input_size}) or ({self.input_size},)"
            )
        if state is None:
            zeros = weights.weight_ih.new_zeros
            state = zeros(*x.shape[:-1], width), zeros(*x.shape[:-1], self.hidden_size)
        h, c = state
        for name, given, size in (("h", h, width), ("c", c, self.hidden_size)):
            if given.shape != (*x.shape[:-1], size):
                raise ValueError(
                    f"{name}={tuple(given.shape)}: must be {(*x.shape[:-1], size)}; "
                    "the state is (h, c)"
                )
        projected_input = functional.linear(x, weights.weight_ih)
        projected_hidden = functional.linear(h, weights.weight_hh, weights.bias_hh)
        h, c = self._step(projected_input, projected_hidden, c)
        if weights.weight_hr is not None:
            h = functional.linear(h, weights.weight_hr)
        # Under autocast as well no step rounds the state further.
        return h.to(state[0].dtype), c.to(state[1].dtype)

    def extra_repr(self) -> str:
        """Give the sizes and the architecture, for print(cell)."""
        projection = f", proj_size={self.proj_size}" if self.proj_size else ""
        return (
            f"{self.input_size}, {self.hidden_size}, bias={self.bias}{projection}: "
            f"{self.architecture}"
        )

    def _step(
        self, projected_input: Tensor, projected_hidden: Tensor, c: Tensor
    ) -> tuple[Tensor, Tensor]:
        return step(self.architecture, projected_input, projected_hidden, c)
