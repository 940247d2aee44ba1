"""What is written of one kind of model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from child.weights import Weights
from deploy.export.source import ModelSource


@dataclass(frozen=True)
class OnnxPlan:
    """What an ONNX file computes.

    whole: makes of an exported model, loaded, the module that is written.
    example: gives random inputs for a batch of that size.
    inputs, outputs: names, each with the dimension that is the batch.
    """

    whole: Callable[[nn.Module], nn.Module]
    example: Callable[[int], tuple[Tensor, ...]]
    inputs: Mapping[str, int]
    outputs: Sequence[str]


@dataclass(frozen=True)
class ExportPlan:
    """All that depends on what kind of model it is.

    summary: what it is, a sentence.
    usage: statements that ask a `model` that is loaded. onnx_usage: such that ask a `session` of
        onnxruntime, after those. imports, onnx_imports: what they need beside torch.
    onnx_note: what the ONNX file does otherwise, the end of a sentence.
    notes: paragraphs about what goes in and comes out. files: further ones, by name.
    buffers: what the model holds beside the weights of the network.
    answers: gives what a network says to inputs that are always the same, to compare two of them.
    """

    source: ModelSource
    summary: str
    usage: str
    imports: str
    onnx_usage: str
    onnx_imports: str
    onnx_note: str
    notes: tuple[str, ...]
    files: Mapping[str, str]
    buffers: Weights
    answers: Callable[[nn.Module], Tensor]
    onnx: OnnxPlan
