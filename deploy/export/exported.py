"""The files of an exported network."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from child.weights import Weights
from deploy.export.errors import ExportError
from deploy.export.finding import Finding
from deploy.export.onnx_file import write_onnx
from deploy.export.plan import ExportPlan
from deploy.export.readme import module_docstring, readme


def write_export(
    folder: Path,
    plan: ExportPlan,
    finding: Finding,
    architecture: Mapping[str, Any],
    network: nn.Module,
    *,
    with_onnx: bool,
) -> None:
    """Write all files of a trained network into a folder that is there and empty.

    What was written is read again, and asked the same as the network.

    Args:
        network: as the task built it, with its weights.

    Raises:
        ExportError: the model that was written does not answer as the network does.
    """
    text = plan.source.module(module_docstring(plan, finding))
    (folder / "model.py").write_text(text, encoding="utf-8")
    model_class = _class_in(text, plan.source.name)
    weights = folder / "model.safetensors"
    state = translated(network, model_class(), plan.buffers)
    says = {"format": "pt", "trial": str(finding.trial), "architecture": finding.text}
    weights.write_bytes(safetensors.torch.save(state, says))
    model = model_class.load(weights)
    with torch.no_grad():
        expected, found = plan.answers(network.cpu().eval()), plan.answers(model)
    if not torch.allclose(found, expected, rtol=1e-4, atol=1e-4):
        largest = (found - expected).abs().max().item()
        raise ExportError(
            f"model.py answers otherwise than the network it was made of, by {largest:.1e}: this "
            "is a mistake of nasrl; please report the architecture"
        )
    described = json.dumps(architecture, indent=1) + "\n"
    for name, content in {"architecture.json": described, **plan.files}.items():
        (folder / name).write_text(content, encoding="utf-8")
    difference = write_onnx(model, plan.onnx, folder / "model.onnx") if with_onnx else None
    (folder / "README.md").write_text(readme(plan, finding, difference), encoding="utf-8")


def translated(network: nn.Module, model: nn.Module, buffers: Weights) -> dict[str, Tensor]:
    """Give the state of a network by the names that an exported model has for it.

    Both have their weights in the same order. The model has the buffers besides.
    """
    given = {name: value.detach().cpu() for name, value in network.state_dict().items()}
    state = {name: torch.tensor(values) for name, values in buffers.items()}
    wanted = {name: v for name, v in model.state_dict().items() if name not in buffers}
    for (name, place), value in zip(wanted.items(), given.values(), strict=True):
        assert place.shape == value.shape, f"{name}: {tuple(place.shape)}, {tuple(value.shape)}"
        state[name] = value.clone(memory_format=torch.contiguous_format)
    return state


def _class_in(text: str, name: str) -> Any:
    """Give a class of a module's text; the folder is left without its bytecode."""
    namespace: dict[str, Any] = {"__name__": "exported_model"}
    exec(compile(text, "model.py", "exec", dont_inherit=True), namespace)  # noqa: S102 (our own text)
    return namespace[name]
