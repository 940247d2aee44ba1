"""What is said of an exported network: in its README.md, and above model.py."""

from __future__ import annotations

import textwrap

from deploy.export.finding import Finding
from deploy.export.plan import ExportPlan

WIDTH = 100


def module_docstring(plan: ExportPlan, finding: Finding) -> str:
    """Give the docstring of model.py: what it is, its numbers, how to load it."""
    described = finding.details or f"{finding.text}\n({finding.legend})"
    found = f"Found by nasrl as {finding.search}: {finding.figures}. It needs torch alone:"
    usage = f'model = {plan.source.name}.load("model.safetensors")\n{plan.usage}'
    notes = "\n\n".join(textwrap.fill(note, WIDTH) for note in plan.notes)
    return (
        f"{plan.summary}\n\n{_indented(described)}\n\n{textwrap.fill(found, WIDTH)}\n\n"
        f"{_indented(usage)}\n\n{notes}\n"
    )


def readme(plan: ExportPlan, finding: Finding, onnx_difference: float | None) -> str:
    """Give README.md.

    Args:
        onnx_difference: the largest one between answers of model.onnx and of model.py; None where
            there is no model.onnx.
    """
    described = f"    {finding.text}\n\n({finding.legend})"
    if finding.details:
        described = f"{_indented(finding.details)}\n\nIn one line: `{finding.text}`"
    parts = [
        f"# {finding.title}",
        plan.summary,
        described,
        _numbers(finding),
        "## Load it",
        "`model.py` needs torch alone:",
        _code(
            f"{plan.imports}import torch\nfrom model import {plan.source.name}\n\n"
            f'model = {plan.source.name}.load("model.safetensors")\n{plan.usage}'
        ),
        *plan.notes,
    ]
    if onnx_difference is not None:
        parts += [
            f"`model.onnx` takes batches of any size, and {plan.onnx_note}:",
            _code(
                f"{plan.onnx_imports}import onnxruntime\n\n"
                f'session = onnxruntime.InferenceSession("model.onnx")\n{plan.onnx_usage}'
            ),
            f"On random inputs onnxruntime and torch differ by {onnx_difference:.1e} at the most.",
        ]
    return "\n\n".join([*parts, "## Files", _files(plan, onnx_difference is not None)]) + "\n"


def _numbers(finding: Finding) -> str:
    table = ["| | |", "|---|---|", *(f"| {n} | {value} |" for n, value in finding.numbers.items())]
    return "\n".join([*table, *([f"\n{finding.note}"] if finding.note else [])])


def _files(plan: ExportPlan, with_onnx: bool) -> str:
    names = {
        "model.py": f"the model, `{plan.source.name}`",
        "model.safetensors": "its weights",
        "model.onnx": "both, for onnxruntime and others",
        "architecture.json": "the architecture, as `nasrl train` reads it",
        **dict.fromkeys(plan.files, "the tokens, in the order of their numbers"),
    }
    if not with_onnx:
        del names["model.onnx"]
    rows = (f"| `{name}` | {what} |" for name, what in names.items())
    return "\n".join(["| | |", "|---|---|", *rows])


def _code(statements: str) -> str:
    return f"```python\n{statements}\n```"


def _indented(text: str) -> str:
    return textwrap.indent(text, " " * 4)
