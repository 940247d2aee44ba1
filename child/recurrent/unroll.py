"""A recurrent cell over all steps of a sequence: the plain loop, in eager torch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from child.recurrent.architecture import CellArchitecture
from child.recurrent.step import step


def unroll(
    architecture: CellArchitecture,
    inputs: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_hh: Tensor | None,
    weight_hr: Tensor | None,
    h0: Tensor,
    c0: Tensor,
    recurrent_mask: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Give the outputs of all steps, and the state after the last one.

        u = W x_t;  v = U (mask * h_{t-1}) + bias;  root, c_t = step(u, v, c_{t-1});  h_t = P root

    It is a function of its arguments alone, changes none of them, and can be differentiated with
    respect to each tensor; this loop says what a faster implementation must compute. h_t and c_t
    have the dtypes of h0 and c0, also under autocast, so that no step rounds the state further.

    Args:
        architecture: the cell, with N leaves; U units each, H = P with a projection, else U.
        inputs: (T, B, I), x_t; T >= 1.
        weight_ih: (N*U, I), the rows of leaf 0 first.
        weight_hh: (N*U, H).
        bias_hh: (N*U,), or None.
        weight_hr: (P, U), or None for no projection.
        h0: (B, H).
        c0: (B, U).
        recurrent_mask: (B, H), multiplied with h_{t-1} before its product with weight_hh, the same
            at every step (variational dropout, scaled by whoever draws it); h_t itself is given
            without it. None: no dropout.

    Returns:
        outputs (T, B, H), all h_t; h_T (B, H), the last of them; c_T (B, U).

    Source: Zoph & Le 2017, s3.4 and s4.2; the mask is Gal & Ghahramani 2016.
    """
    h, c = h0, c0
    outputs: list[Tensor] = []
    for projected_input in functional.linear(inputs, weight_ih).unbind(0):
        masked = h if recurrent_mask is None else h * recurrent_mask
        projected_hidden = functional.linear(masked, weight_hh, bias_hh)
        root, new_c = step(architecture, projected_input, projected_hidden, c)
        h = (root if weight_hr is None else functional.linear(root, weight_hr)).to(h0.dtype)
        c = new_c.to(c0.dtype)
        outputs.append(h)
    return torch.stack(outputs), h, c
