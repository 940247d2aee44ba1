"""Ways back that cannot be differentiated again."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch import Tensor

Backward = Callable[..., tuple[Tensor | None, ...]]


def first_derivatives_only(backward: Backward) -> Backward:
    """Let the backward pass of an autograd.Function say so when its graph is asked for.

    torch's once_differentiable says nothing where the gradients that come in are constants, as of a
    sum: what goes through the gradients then is left out.

    Raises, as the backward pass is called:
        RuntimeError: by create_graph=True.
    """

    @wraps(backward)
    def checked(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise RuntimeError(
                "create_graph=True: the fast loop of the cells has no second derivatives; set the "
                "attribute `unroll` of each Recurrence or NAS to child.recurrent.unroll.unroll"
            )
        return backward(ctx, *gradients)

    return checked
