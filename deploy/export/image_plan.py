"""What is written of a network that classifies images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from child.convolutional.architecture import ConvolutionalArchitecture
from child.convolutional.plan import NetworkPlan
from child.data.images import TrainingData
from child.images.task import ImageTask
from deploy.export.convolutional_source import convolutional_source
from deploy.export.plan import ExportPlan, OnnxPlan
from deploy.export.preparation import Preparation


def image_plan(
    task: ImageTask,
    architecture: ConvolutionalArchitecture,
    data: TrainingData,
    class_names: Sequence[str],
) -> ExportPlan:
    """Plan the export of a network for images such as the data are.

    Args:
        class_names: in the order of the labels; none where they are not known.
    """
    network = NetworkPlan.of(architecture, data.shape, data.num_classes, task.network)
    preparation = Preparation.of(data, task.training.augmentation)
    channels, height, width = data.shape
    values = f"values from 0 to {preparation.brightest}"

    def example(batch: int) -> tuple[Tensor]:
        size = (batch, *data.shape)
        return (torch.randint(0, preparation.brightest + 1, size, dtype=torch.uint8),)

    def answers(model: nn.Module) -> Tensor:
        generator = torch.Generator().manual_seed(0)
        answer: Tensor = model(torch.randn(8, *data.shape, generator=generator))
        return answer

    notes = [
        f"Images go in as they are stored, {values}. Before the network sees them (`prepare`), "
        f"{preparation.in_words}."
    ]
    if class_names:
        notes.append(
            f"Logits come out, one for each class, in this order: {', '.join(class_names)}."
        )
    else:
        notes.append("Logits come out, one for each class, in the order of the labels.")
    return ExportPlan(
        source=convolutional_source(network, task.network, preparation),
        summary=f"A convolutional network that sorts images, {channels}x{height}x{width} "
        f"(channels, height, width), into {data.num_classes} classes.",
        usage=f"images = torch.zeros(2, {channels}, {height}, {width}, dtype=torch.uint8)  "
        f"# yours: {values}\n"
        f"logits = model(model.prepare(images))  # (2, {data.num_classes})\n"
        "classes = logits.argmax(dim=1)",
        imports="",
        onnx_imports="",
        onnx_usage='(logits,) = session.run(None, {"images": images.numpy()})',
        onnx_note="prepares the images itself",
        notes=tuple(notes),
        files={},
        buffers=preparation.buffers,
        answers=answers,
        onnx=OnnxPlan(_Prepared, example, {"images": 0}, ["logits"]),
    )


class _Prepared(nn.Module):
    """A network with what is done to its images, so that programs need not do it."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network: Any = network

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network(self.network.prepare(images))
        return logits
