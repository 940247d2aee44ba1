"""NASCell: the recurrent cell that Zoph & Le found, as a layer."""

from __future__ import annotations

import torch
from torch import Tensor

from child.recurrent.cell import RecurrentCell
from child.zoo import NAS_CELL


class NASCell(RecurrentCell):
    """The cell that TensorFlow ships as NASCell, written by hand, called as torch.nn.LSTMCell is.

        u = W x;  v = U h (+ bias), each cut into 8 blocks
        a0 = sigmoid(u0 + v0)  a1 = relu(u1 + v1)     a2 = sigmoid(u2 + v2)  a3 = relu(u3 * v3)
        a4 = tanh(u4 + v4)     a5 = sigmoid(u5 + v5)  a6 = tanh(u6 + v6)     a7 = sigmoid(u7 + v7)
        p = tanh(a0 * a1)      q = tanh(a2 + a3)      r = tanh(a4 * a5)      s = sigmoid(a6 + a7)
        c' = tanh(p + c) * q   h' = tanh(c' * tanh(r + s)), times the projection where there is one

    State is (h, c), torch's order; TensorFlow's is (c, m), where m is h. Its kernel, recurrent
    kernel and projection, transposed, are weight_ih, weight_hh and weight_hr; its bias is bias_hh.
    TensorFlow's order of blocks is kept.

    For whole sequences there is `child.recurrent.NAS`.

    >>> cell = NASCell(input_size=10, hidden_size=20)
    >>> h, c = cell(torch.zeros(3, 10))
    >>> h.shape, c.shape
    (torch.Size([3, 20]), torch.Size([3, 20]))

    Source: Zoph & Le 2017, s3.4 and s4.2; tf.contrib.rnn.NASCell.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = False,
        proj_size: int = 0,
        *,
        init_range: float | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(
            NAS_CELL,
            input_size,
            hidden_size,
            bias,
            proj_size,
            init_range=init_range,
            device=device,
            dtype=dtype,
        )

    def _step(
        self, projected_input: Tensor, projected_hidden: Tensor, c: Tensor
    ) -> tuple[Tensor, Tensor]:
        u0, u1, u2, u3, u4, u5, u6, u7 = projected_input.chunk(8, dim=-1)
        v0, v1, v2, v3, v4, v5, v6, v7 = projected_hidden.chunk(8, dim=-1)
        p = torch.tanh(torch.sigmoid(u0 + v0) * torch.relu(u1 + v1))
        q = torch.tanh(torch.sigmoid(u2 + v2) + torch.relu(u3 * v3))
        r = torch.tanh(torch.tanh(u4 + v4) * torch.sigmoid(u5 + v5))
        s = torch.sigmoid(torch.tanh(u6 + v6) + torch.sigmoid(u7 + v7))
        new_c = torch.tanh(p + c) * q
        return torch.tanh(new_c * torch.tanh(r + s)), new_c
