"""NAS: a recurrent network of the cell that Zoph & Le found, over whole sequences."""

from __future__ import annotations

import torch

from child.recurrent.recurrence import Recurrence
from child.zoo import NAS_CELL


class NAS(Recurrence):
    """Layers of NASCell over whole sequences, called as torch.nn.LSTM is; see `Recurrence`.

    >>> outputs, (h_n, c_n) = NAS(10, 20, num_layers=2)(torch.zeros(5, 3, 10))
    >>> outputs.shape, h_n.shape
    (torch.Size([5, 3, 20]), torch.Size([2, 3, 20]))

    Source: Zoph & Le 2017, s3.4 and s4.2; tf.contrib.rnn.NASCell.
    """

    def __init__(
        self,
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
        super().__init__(
            NAS_CELL,
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            proj_size=proj_size,
            init_range=init_range,
            device=device,
            dtype=dtype,
        )
