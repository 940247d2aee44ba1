"""A recurrent cell over all steps of a sequence, with the derivatives by hand."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

from child.recurrent.architecture import CellArchitecture
from child.recurrent.node import Node
from child.recurrent.on_gpu.unroll import unroll_on_gpu
from child.recurrent.unroll import unroll


def fast_unroll(
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
    """Give what `child.recurrent.unroll.unroll` gives, to the last few bits, in less time.

    Autograd meets one operation, not each of those of each step. What is inside it depends on the
    device: `child.recurrent.on_cpu`, `child.recurrent.on_gpu`.

    It is the plain loop itself, and no faster, where that is needed: while torch.compile,
    torch.export, torch.jit.trace or a dispatch mode (`make_fx`, `FlopCounterMode`) look on, for
    subclasses of Tensor, under autocast, on the device meta, for another format than float32 and
    float64 or for several, for sizes that do not fit together, and for a mask that has a gradient.
    Second derivatives, forward mode and torch.func want the plain loop, too; they raise a
    RuntimeError here.
    """
    given = (inputs, weight_ih, weight_hh, bias_hh, weight_hr, h0, c0, recurrent_mask)
    tensors = [tensor for tensor in given if tensor is not None]
    if not (
        _is_possible(tensors)
        and (recurrent_mask is None or not recurrent_mask.requires_grad)
        # The kernel looks at no sizes; those of the weights the products do.
        and c0.shape == (inputs.shape[1], len(weight_hh) // architecture.base)
    ):
        return unroll(architecture, *given)
    if inputs.device.type == "cpu":
        return _on_cpu()(architecture, *given)
    projected = functional.linear(inputs, weight_ih)
    return unroll_on_gpu(architecture, projected, *given[2:])


def prepare(device: torch.device) -> None:
    """Do what is done once in a process, before anybody counts the time: on a CPU some 2 s."""
    if device.type == "cpu":
        identity = Node("add", "identity")
        one = torch.ones(1, 1)
        _on_cpu()(
            CellArchitecture((identity,), identity, 0, 0),
            one.unsqueeze(0),
            one,
            one,
            None,
            None,
            one,
            one,
        )


def _on_cpu() -> Callable[..., tuple[Tensor, Tensor, Tensor]]:
    # numba takes a quarter of a second and 60 MB, also of who has no cells, or a GPU for them.
    from child.recurrent.on_cpu.unroll import unroll_on_cpu

    return unroll_on_cpu


def _is_possible(tensors: list[Tensor]) -> bool:
    first = tensors[0]
    return not (
        torch.compiler.is_compiling()
        or torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]  # torch's
        or is_in_torch_dispatch_mode()
        or any(type(each) not in (Tensor, nn.Parameter) for each in tensors)
        or first.device.type == "meta"  # which knows of no autocast
        or torch.is_autocast_enabled(first.device.type)
        or first.dtype not in (torch.float32, torch.float64)
        or any((each.dtype, each.device) != (first.dtype, first.device) for each in tensors)
    )
