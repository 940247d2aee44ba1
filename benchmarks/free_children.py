"""A search whose children cost nothing: they are neither built nor trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from child.convolutional.architecture import ConvolutionalArchitecture
from child.convolutional.layer import Convolution
from child.images.task import ImageTask
from child.passes import Learner
from child.precision import Precision
from child.training_settings import TrainingSettings
from deploy.settings import ImageSearchSettings


class Guess(nn.Module):
    """Stands for a network, with what it would reach."""

    def __init__(self, accuracy: float) -> None:
        super().__init__()
        self.accuracy = accuracy


class FreePasses:
    """Asks networks for what they would reach; see `child.passes.Passes`."""

    def __init__(self, settings: TrainingSettings, device: torch.device) -> None:
        self.settings = settings
        self.device = device
        self.precision = Precision("float32", device)

    def learner(self, network: nn.Module) -> Any:
        return Learner(network, None, None)  # type: ignore[arg-type]  # nobody uses them

    def train(self, _: Learner, __: float, ___: Callable[[], None]) -> float:
        return 0.0

    def validate(self, network: nn.Module) -> float:
        assert isinstance(network, Guess)
        return network.accuracy

    def best(self, validations: Sequence[float]) -> float:
        return max(validations)

    def reward(self, validation: float) -> float:
        return validation

    def test(self, network: nn.Module, _: Any) -> float:
        return self.validate(network)


@dataclass(frozen=True)
class FreeTask(ImageTask):
    """Convolutional networks that nobody builds: the accuracy is that of their sizes."""

    def build(self, architecture: ConvolutionalArchitecture, _: Any) -> nn.Module:  # type: ignore[override]
        return Guess(accuracy_of(architecture))

    def passes(self, _: Any, device: torch.device) -> Any:
        return FreePasses(self.training, device)


class FreeSearchSettings(ImageSearchSettings):
    """The settings of a search over such networks."""

    @property
    def task(self) -> FreeTask:
        return FreeTask(self.space, self.network, self.training)


def accuracy_of(architecture: ConvolutionalArchitecture) -> float:
    """Give an accuracy in [0, 1]: larger filters, and more of them, are better."""
    sizes = [
        (each.filter_height + each.filter_width) / 10 + each.num_filters / 32
        for layer in architecture.layers
        if isinstance(each := layer.operation, Convolution)
    ]
    return sum(sizes) / len(sizes) / 2
