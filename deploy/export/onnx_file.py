"""A model as an ONNX file, held against torch."""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import nn

from deploy.export.errors import ExportError
from deploy.export.plan import OnnxPlan

NEEDED = ("onnx", "onnxruntime", "onnxscript")
TOLERANCE = 1e-4
BATCHES = (1, 2, 5)  # to compare with; the first is one that exporters like to take for fixed


def missing_packages() -> list[str]:
    """Give the packages that have to be installed before a file can be written."""
    return [name for name in NEEDED if find_spec(name) is None]


def write_onnx(model: nn.Module, plan: OnnxPlan, path: Path) -> float:
    """Write a model, loaded from its own file, for any size of batch.

    Returns:
        The largest difference between an answer of onnxruntime and of torch, on random inputs.

    Raises:
        ExportError: it cannot be written, or the difference is above 1e-4.
    """
    whole = plan.whole(model).eval()
    with torch.random.fork_rng([]), torch.no_grad():
        torch.manual_seed(0)
        batch = torch.export.Dim("batch")
        try:
            # The exporter warns of its own deprecated ways, which its users cannot change.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                program = torch.onnx.export(
                    whole,
                    plan.example(2),
                    input_names=list(plan.inputs),
                    output_names=list(plan.outputs),
                    dynamic_shapes=tuple({axis: batch} for axis in plan.inputs.values()),
                    dynamo=True,
                    verbose=False,
                )
                assert program is not None, "the exporter by dynamo gives one"
                program.save(path)
        except torch.onnx.errors.OnnxExporterError as error:
            reason = str(error.__cause__ or error).strip().partition("\n")[0]
            raise ExportError(
                f"model.onnx cannot be written: {reason}; leave it out by --no-onnx"
            ) from error
        difference = _difference(whole, plan, path)
    if not difference <= TOLERANCE:
        raise ExportError(
            f"model.onnx answers otherwise than model.py, by {difference:.1e}: must be at most "
            f"{TOLERANCE:.0e}; leave it out by --no-onnx"
        )
    return difference


def _difference(whole: nn.Module, plan: OnnxPlan, path: Path) -> float:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    largest = 0.0
    for size in BATCHES:
        inputs = plan.example(size)
        expected = whole(*inputs)
        given = dict(zip(plan.inputs, (each.numpy() for each in inputs), strict=True))
        found = session.run(None, given)
        expected = expected if isinstance(expected, tuple) else (expected,)
        for one, other in zip(found, expected, strict=True):
            difference = (torch.from_numpy(one) - other).abs().max().item()
            # A number that is none is larger than any, which max would not say.
            largest = max(largest, difference) if difference == difference else float("nan")
    return largest
