"""A recurrent cell over all steps of a sequence, on a GPU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from child.recurrent.architecture import CellArchitecture
from child.recurrent.first_derivatives import first_derivatives_only
from child.recurrent.on_gpu.derivatives import step_derivatives
from child.recurrent.on_gpu.plan import UnrollPlan, plan_unroll
from child.recurrent.on_gpu.run import run, run_back


def unroll_on_gpu(
    architecture: CellArchitecture,
    projected_inputs: Tensor,
    weight_hh: Tensor,
    bias_hh: Tensor | None,
    weight_hr: Tensor | None,
    h0: Tensor,
    c0: Tensor,
    recurrent_mask: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Give what `child.recurrent.unroll.unroll` gives, in fewer and larger operations.

    Within a step nothing depends on the gradient that comes in: all derivatives there are computed
    at once for all steps, and the way back through the steps has one product for each leaf and one
    with the weights. The gradients of the weights are one product over all steps.

    It is for every device, float32 and float64; the mask has no gradient.

    Args:
        projected_inputs: (T, B, N*U), W x_t of all leaves, leaf 0 first.
    """
    given = (projected_inputs, weight_hh, bias_hh, weight_hr, h0, c0, recurrent_mask)
    plan = plan_unroll(architecture)
    if torch.is_grad_enabled() and any(each is not None and each.requires_grad for each in given):
        outputs, h, c = _Unroll.apply(plan, *given)  # type: ignore[no-untyped-call]  # torch's
        return outputs, h, c
    with torch.no_grad():
        return run(plan, *given, num_recorded=2)[0]


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
    @first_derivatives_only
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
