"""A recurrent cell over all steps of a sequence, with the derivatives by hand."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from child.recurrent.architecture import CellArchitecture
from child.recurrent.unroll import unroll
from child.recurrent.unroll_derivatives import step_derivatives
from child.recurrent.unroll_plan import UnrollPlan, plan_unroll
from child.recurrent.unroll_run import run, run_back


def fast_unroll(
    architecture: CellArchitecture,
    projected_inputs: Tensor,
    weight_hh: Tensor,
    bias_hh: Tensor | None,
    weight_hr: Tensor | None,
    h0: Tensor,
    c0: Tensor,
    recurrent_mask: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Give what `child.recurrent.unroll.unroll` gives, to the last few bits, in less time.

    Autograd meets one operation, not each of those of each step. Within a step nothing depends on
    the gradient that comes in: all derivatives there are computed at once for all steps, and the
    way back through the steps has one product for each leaf and one with the weights. The gradients
    of the weights are one product over all steps.

    It is the plain loop itself, and no faster, where that is needed: while torch.compile,
    torch.export or torch.jit.trace look on, under autocast, on the device meta, for another format
    than float32 and float64 or for several, and for a mask that has a gradient. Second derivatives,
    forward mode and torch.func want the plain loop, too; they raise a RuntimeError here.
    """
    given = (projected_inputs, weight_hh, bias_hh, weight_hr, h0, c0, recurrent_mask)
    tensors = [tensor for tensor in given if tensor is not None]
    if not _is_possible(tensors, recurrent_mask):
        return unroll(architecture, *given)
    plan = plan_unroll(architecture)
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        outputs, h, c = _Unroll.apply(plan, *given)  # type: ignore[no-untyped-call]  # torch's
        return outputs, h, c
    with torch.no_grad():
        return run(plan, *given, num_recorded=2)[0]


def _is_possible(tensors: list[Tensor], recurrent_mask: Tensor | None) -> bool:
    first = tensors[0]
    return not (
        torch.compiler.is_compiling()
        or torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]  # torch's
        or first.device.type == "meta"  # which knows of no autocast
        or torch.is_autocast_enabled(first.device.type)
        or first.dtype not in (torch.float32, torch.float64)
        or any((each.dtype, each.device) != (first.dtype, first.device) for each in tensors)
        or (recurrent_mask is not None and recurrent_mask.requires_grad)
    )


class _Unroll(torch.autograd.Function):
    """The loop as one operation of autograd."""

    @staticmethod
    def forward(
        ctx: Any,
        plan: UnrollPlan,
        projected_inputs: Tensor,
        weight_hh: Tensor,
        bias_hh: Tensor | None,
        weight_hr: Tensor | None,
        h0: Tensor,
        c0: Tensor,
        mask: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        given = (projected_inputs, weight_hh, bias_hh, weight_hr, h0, c0, mask)
        results, record = run(plan, *given, num_recorded=max(2, len(projected_inputs)))
        ctx.plan = plan
        ctx.save_for_backward(
            projected_inputs if plan.multiplied_leaves else None,
            weight_hh,
            weight_hr,
            h0,
            c0,
            mask,
            record,
            # A copy, for whoever is given the outputs may change them.
            None if weight_hr is None else results[0].clone(),
        )
        return results

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, of_outputs: Tensor, of_h: Tensor, of_c: Tensor
    ) -> tuple[Tensor | None, ...]:
        plan: UnrollPlan = ctx.plan
        inputs, weight_hh, weight_hr, h0, c0, mask, record, projected = ctx.saved_tensors

        def recorded(register: int) -> Tensor:
            held: Tensor
            if register >= plan.kept:
                held = record[:, register - plan.kept]
            elif register == plan.c:
                held = torch.cat([c0.unsqueeze(0), recorded(plan.memory)[:-1]])
            else:
                held = inputs.chunk(plan.num_leaves, 2)[register - plan.inputs]
            return held

        step = step_derivatives(plan, recorded)
        back = run_back(plan, step, weight_hh, weight_hr, mask, of_outputs, of_h, of_c)
        _, _, needs_weight, needs_bias, needs_projection, *_ = ctx.needs_input_grad
        rows = back.of_products.flatten(0, 1)
        of_weight = of_bias = of_projection = None
        if needs_weight:
            h = torch.cat(
                [h0.unsqueeze(0), (recorded(plan.root) if projected is None else projected)[:-1]]
            )
            of_weight = rows.t() @ (h if mask is None else h * mask).flatten(0, 1)
        if needs_bias:
            of_bias = rows.sum(0)
        if needs_projection:
            of_projection = back.of_h.flatten(0, 1).t() @ recorded(plan.root).flatten(0, 1)
        # From here on the gradients of the products are those of the inputs: of sums they are.
        blocks = back.of_products.chunk(plan.num_leaves, 2)
        for leaf in plan.multiplied_leaves:
            of_end = back.of_memory if plan.is_below_memory[leaf] else back.of_root
            torch.mul(of_end, step.inputs[leaf], out=blocks[leaf])
        return (
            None,
            back.of_products,
            of_weight,
            of_bias,
            of_projection,
            back.of_h0,
            back.of_c0,
            None,
        )
