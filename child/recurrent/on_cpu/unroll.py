"""A recurrent cell over all steps of a sequence, on a CPU."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

from child.recurrent.architecture import CellArchitecture
from child.recurrent.first_derivatives import first_derivatives_only
from child.recurrent.on_cpu.cell_programs import CellPrograms, cell_programs
from child.recurrent.on_cpu.kernel import execute


def unroll_on_cpu(
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

    A step has two calls, there as well as back: the product with the weights, to which the inputs
    are added in passing, and the kernel. The gradients of the weights are one product over all
    steps. Kept for the way back are the products, c_t and h_t, which is less than autograd keeps.

    The tensors are of one format, float32 or float64; the mask has no gradient.
    """
    outputs, h, c = _Unroll.apply(  # type: ignore[no-untyped-call]  # torch's
        cell_programs(architecture),
        inputs,
        weight_ih,
        weight_hh,
        bias_hh,
        weight_hr,
        h0,
        c0,
        recurrent_mask,
    )
    return outputs, h, c


class _Unroll(torch.autograd.Function):
    """The loop as one operation of autograd.

    T steps, B sequences, N leaves of which M do not add, U units. As in `CellPrograms` a step has
    sums (B, N, U), factors (B, M, U), and c, root and memory (B, 1, U).
    """

    @staticmethod
    def forward(
        ctx: Any,
        programs: CellPrograms,
        inputs: Tensor,
        weight_ih: Tensor,
        weight_hh: Tensor,
        bias_hh: Tensor | None,
        weight_hr: Tensor | None,
        h0: Tensor,
        c0: Tensor,
        mask: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        num_steps, size, _ = inputs.shape
        num_units = c0.shape[1]
        products = torch.mm(inputs.flatten(0, 1), weight_ih.t()).unflatten(0, (num_steps, size))
        sums = products.unflatten(2, (len(weight_ih) // num_units, num_units))
        factors = sums.new_empty(num_steps, size, len(programs.other_leaves), num_units)
        for factor, leaf in enumerate(programs.other_leaves):
            factors[:, :, factor] = sums[:, :, leaf]
            sums[:, :, leaf] = 0
        if bias_hh is not None:
            products += bias_hh
        roots, memories = c0.new_empty(2, num_steps, size, 1, num_units)
        outputs = roots.squeeze(2) if weight_hr is None else h0.new_empty(num_steps, *h0.shape)
        code, num_registers, results = programs.forward
        with torch.inference_mode():
            # Rows that lie one behind the other: the products take a third less time.
            weight = weight_hh.t().contiguous()
            registers = _numbers(c0.new_empty(num_registers, num_units))
            sums_of, factors_of, root_of, memory_of = map(
                _numbers, (sums, factors, roots, memories)
            )
            h, c = h0, _numbers(c0.unsqueeze(1))
            no_gradient = c[:, :0]  # so that numba compiles the kernel for one number of arrays
            for step, (product, output) in enumerate(zip(products, outputs, strict=True)):
                product.addmm_(h if mask is None else h * mask, weight)
                execute(
                    code,
                    registers,
                    (sums_of[step], factors_of[step], c, no_gradient, no_gradient),
                    (root_of[step], memory_of[step], sums_of[step]),
                    results,
                )
                h, c = output, memory_of[step]
                if weight_hr is not None:
                    torch.mm(roots[step].squeeze(1), weight_hr.t(), out=h)
        ctx.programs = programs
        ctx.save_for_backward(
            inputs, weight_ih, weight_hh, weight_hr, h0, c0, mask,
            sums, factors, roots, memories, outputs,
        )  # fmt: skip
        # Copies, so that whoever changes one changes nothing else.
        return outputs.clone(), outputs[-1].clone(), memories[-1].squeeze(1).clone()

    @staticmethod
    @first_derivatives_only
    def backward(
        ctx: Any, of_outputs: Tensor, of_h: Tensor, of_c: Tensor
    ) -> tuple[Tensor | None, ...]:
        (
            inputs, weight_ih, weight_hh, weight_hr, h0, c0, mask,
            sums, factors, roots, memories, outputs,
        ) = ctx.saved_tensors  # fmt: skip
        programs: CellPrograms = ctx.programs
        # Not empty_like: who saves tensors for autograd may have changed their layout.
        of_sums, of_factors, of_hs = (
            each.new_empty(each.shape) for each in (sums, factors, outputs)
        )
        of_products = of_sums.flatten(2)
        of_roots = of_hs if weight_hr is None else roots.new_empty(roots.squeeze(2).shape)
        of_c = of_c.clone(memory_format=torch.contiguous_format)
        code, num_registers, results = programs.backward
        with torch.inference_mode():
            registers = _numbers(c0.new_empty(num_registers, c0.shape[1]))
            sums_of, factors_of, memory_of = map(_numbers, (sums, factors, memories))
            of_sums_of, of_factors_of = map(_numbers, (of_sums, of_factors))
            of_root_of, of_memory = _numbers(of_roots.unsqueeze(2)), _numbers(of_c.unsqueeze(1))
            first_c = _numbers(c0.unsqueeze(1))
            for step in reversed(range(len(outputs))):
                torch.add(of_outputs[step], of_h, out=of_hs[step])
                if weight_hr is not None:
                    torch.mm(of_hs[step], weight_hr, out=of_roots[step])
                c = memory_of[step - 1] if step else first_c
                execute(
                    code,
                    registers,
                    (sums_of[step], factors_of[step], c, of_root_of[step], of_memory),
                    (of_sums_of[step], of_factors_of[step], of_memory),  # now that of c_{t-1}
                    results,
                )
                of_h = torch.mm(of_products[step], weight_hh)
                if mask is not None:
                    of_h *= mask
        _, needs_inputs, needs_ih, needs_hh, needs_bias, needs_hr, *_ = ctx.needs_input_grad
        rows = of_products.flatten(0, 1)
        of_inputs = of_weight_ih = of_weight_hh = of_bias = of_weight_hr = None
        if needs_hh:
            hs = torch.cat([h0.unsqueeze(0), outputs[:-1]])
            of_weight_hh = rows.t() @ (hs if mask is None else hs * mask).flatten(0, 1)
        if needs_bias:
            of_bias = rows.sum(0)
        if needs_hr:
            of_weight_hr = of_hs.flatten(0, 1).t() @ roots.flatten(0, 2)
        # From here on the gradients of U h_{t-1} are those of W x_t: of sums they are.
        for factor, leaf in enumerate(programs.other_leaves):
            of_sums[:, :, leaf] = of_factors[:, :, factor]
        if needs_ih:
            of_weight_ih = rows.t() @ inputs.flatten(0, 1)
        if needs_inputs:
            of_inputs = (rows @ weight_ih).view_as(inputs)
        return (
            None, of_inputs, of_weight_ih, of_weight_hh, of_bias, of_weight_hr,
            of_h.clone(), of_c, None,
        )  # fmt: skip


def _numbers(tensor: Tensor) -> npt.NDArray[Any]:
    """Give the numbers of a tensor as the kernel takes them, in its memory if they lie in order."""
    numbers: npt.NDArray[Any] = tensor.detach().contiguous().numpy()
    return numbers
