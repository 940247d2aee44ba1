"""A search over convolutional networks that classify images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from child.convolutional.architecture import ConvolutionalArchitecture
from child.convolutional.network import ConvolutionalNetwork
from child.convolutional.network_settings import NetworkSettings
from child.convolutional.plan import NetworkPlan
from child.convolutional.space import ConvolutionalSpace
from child.convolutional.space_settings import ConvolutionalSettings
from child.data.images import TrainingData
from child.images.passes import ImagePasses
from child.images.training_settings import ImageTrainingSettings
from child.measures import NOTHING, Measures
from child.metric import ACCURACY
from child.network_trainer import NetworkTrainer
from child.result import Infeasible


@dataclass(frozen=True)
class ImageTask:
    """Convolutional networks, trained to classify images; see `child.task.NetworkTask`."""

    space_settings: ConvolutionalSettings
    network: NetworkSettings
    training: ImageTrainingSettings
    measures: Measures = NOTHING
    unit = "images"
    metric = ACCURACY
    architectures = (ConvolutionalArchitecture,)

    @property
    def space(self) -> ConvolutionalSpace:
        return ConvolutionalSpace(self.space_settings)

    @property
    def is_deterministic(self) -> bool:
        return self.training.is_deterministic

    @property
    def time_limit_s(self) -> float | None:
        return self.training.time_limit_s

    def trainer(self, data: TrainingData, device: torch.device) -> NetworkTrainer:
        return NetworkTrainer(self, data, device)

    def build(
        self, architecture: ConvolutionalArchitecture, data: TrainingData
    ) -> ConvolutionalNetwork:
        plan = NetworkPlan.of(architecture, data.shape, data.num_classes, self.network)
        limit = self.training.max_parameters
        if limit is not None and plan.num_parameters > limit:
            raise Infeasible(
                f"max_parameters={limit}: the network has {plan.num_parameters}",
                plan.num_parameters,
            )
        return ConvolutionalNetwork(architecture, data.shape, data.num_classes, self.network)

    def architecture(self, described: Mapping[str, Any]) -> ConvolutionalArchitecture:
        return ConvolutionalArchitecture.from_json(described)

    def details(self, architecture: ConvolutionalArchitecture) -> str:
        return ""

    def legend(self, printed: str) -> str:
        strides = "/strides" if "/" in printed else ""
        inputs = " <layers that feed it" if "<" in printed else ""
        return f"filter height x width{strides}, filters{inputs}; layer by layer"

    def learning_rate(self, architecture: ConvolutionalArchitecture) -> float | None:
        return architecture.learning_rate

    def passes(self, data: TrainingData, device: torch.device) -> ImagePasses:
        return ImagePasses(self.training, data, device)
