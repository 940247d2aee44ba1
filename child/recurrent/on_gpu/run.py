"""The loops over the steps of a cell, there and back, as its plan says."""

from __future__ import annotations

from itertools import groupby
from typing import NamedTuple

import torch
from torch import Tensor

from child.recurrent.on_gpu.derivatives import StepDerivatives
from child.recurrent.on_gpu.plan import UnrollPlan

# In inference mode operations and views take less time. What autograd will see is made outside.


def run(
    plan: UnrollPlan,
    projected_inputs: Tensor,
    weight_hh: Tensor,
    bias_hh: Tensor | None,
    weight_hr: Tensor | None,
    h0: Tensor,
    c0: Tensor,
    mask: Tensor | None,
    *,
    num_recorded: int,
) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor]:
    """Give the results of `unroll`, and what the registers that are kept held.

    num_recorded: the steps whose registers are recorded; where there are more steps, those of the
        first are overwritten. At least 2, for a step reads what the one before it wrote.

    Returns:
        The results; the record, (min(T, num_recorded), K, B, U).
    """
    num_steps, size, _ = projected_inputs.shape
    num_units = c0.shape[1]
    record = c0.new_empty(min(num_steps, num_recorded), plan.num_kept, size, num_units)
    outputs = h0.new_empty(num_steps, *h0.shape)
    products = c0.new_empty(size, plan.num_leaves * num_units)
    scratch = c0.new_empty(plan.num_scratch, size, num_units)
    h, c = h0, c0
    with torch.inference_mode():
        inputs = projected_inputs.unflatten(2, (plan.num_leaves, num_units)).unbind(0)
        weight, kept = weight_hh.t(), record.flatten(0, 1).unbind(0)
        fixed = [*products.chunk(plan.num_leaves, 1), *scratch.unbind(0)]
        for step, (input_t, output) in enumerate(zip(inputs, outputs.unbind(0), strict=True)):
            masked = h if mask is None else h * mask
            if bias_hh is None:
                torch.mm(masked, weight, out=products)
            else:
                torch.addmm(bias_hh, masked, weight, out=products)
            start = step % len(record) * plan.num_kept
            registers = [*fixed, *input_t.unbind(1), c, *kept[start : start + plan.num_kept]]
            for product, copy in plan.copies:
                registers[copy].copy_(registers[product])
            for function, one, other, result in plan.instructions:
                if other is None:
                    function(registers[one])
                else:
                    function(registers[one], registers[other], out=registers[result])
            h, c = registers[plan.root], registers[plan.memory]
            if weight_hr is None:
                output.copy_(h)
            else:
                h = torch.mm(h, weight_hr.t(), out=output)
    # Of their own, so that whoever changes one changes nothing else.
    return (outputs, outputs[-1].clone(), c.clone()), record


class BackRun(NamedTuple):
    """The gradients of an unrolled cell.

    of_products: of U h_{t-1}, (T, B, N*U).
    of_root: of what the root puts out, (T, B, U); of_memory: of c_t, (T, B, U).
    of_h: of h_t, all that it has a part in, (T, B, H); of_root itself without a projection.
    of_h0, of_c0: of the state before the first step.
    """

    of_products: Tensor
    of_root: Tensor
    of_memory: Tensor
    of_h: Tensor
    of_h0: Tensor
    of_c0: Tensor


def run_back(
    plan: UnrollPlan,
    step: StepDerivatives,
    weight_hh: Tensor,
    weight_hr: Tensor | None,
    mask: Tensor | None,
    of_outputs: Tensor,
    of_h: Tensor,
    of_c: Tensor,
) -> BackRun:
    """Give the gradients of all steps from those of the results of `unroll`.

    The gradient of a product is that of the end of its step times the derivative in ``step``.
    """
    of_products = torch.stack(step.products, 2)
    hs: list[Tensor] = []
    roots: list[Tensor] = []
    memories: list[Tensor] = []
    with torch.inference_mode():
        blocks, start = [], 0
        for is_below, leaves in groupby(plan.is_below_memory[: plan.num_leaves]):
            stop = start + len(list(leaves))
            blocks.append((is_below, of_products[:, :, start:stop].unbind(0)))
            start = stop
        is_c_below = plan.is_below_memory[plan.inject_index]
        is_c_below &= plan.inject_index != plan.memory_index
        per_step = zip(
            of_outputs.unbind(0),
            step.memory.unbind(0),
            step.c.unbind(0),
            of_products.flatten(2).unbind(0),
            zip(*(views for _, views in blocks), strict=True),
            strict=True,
        )
        for of_output, memory_t, c_t, products_t, blocks_t in reversed(list(per_step)):
            of_h = of_output + of_h
            of_root = of_h if weight_hr is None else torch.mm(of_h, weight_hr)
            of_memory = torch.addcmul(of_c, of_root, memory_t)
            for (is_below, _), block in zip(blocks, blocks_t, strict=True):
                block.mul_((of_memory if is_below else of_root).unsqueeze(1))
            hs.append(of_h)
            roots.append(of_root)
            memories.append(of_memory)
            of_h = torch.mm(products_t, weight_hh)
            if mask is not None:
                of_h *= mask
            of_c = (of_memory if is_c_below else of_root) * c_t
    of_root = torch.stack(roots[::-1])
    return BackRun(
        of_products.flatten(2),
        of_root,
        torch.stack(memories[::-1]),
        of_root if weight_hr is None else torch.stack(hs[::-1]),
        of_h.clone(),
        of_c.clone(),
    )
