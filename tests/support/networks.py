"""Small networks, images and settings to test the training of a child with."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from child.data.images import LabelledImages, TrainingData
from child.data.whitening import Whitening
from child.images.augmentation import AugmentationSettings
from child.images.passes import ImagePasses
from child.images.training_settings import ImageTrainingSettings
from child.schedule import LearningRateSchedule
from child.training import ChildTrainer

# Exact in float32, so that tests can foretell what a network sees.
WHITENING = Whitening(np.full((1, 1, 1), 128, np.float32), np.full((1, 1, 1), 1 / 64, np.float32))
UNCHANGED = AugmentationSettings(crop="none", flip=False)


def settings_of(**given: Any) -> ImageTrainingSettings:
    """Give settings in which nothing varies, neither images nor rate, but for what is given."""
    constant = LearningRateSchedule(kind="constant")
    plain: dict[str, Any] = {
        "num_epochs": 2,
        "batch_size": 4,
        "augmentation": UNCHANGED,
        "schedule": constant,
    }
    return ImageTrainingSettings(**plain | given)


def image_trainer(
    settings: ImageTrainingSettings,
    data: TrainingData,
    clock: Callable[[], float] = time.monotonic,
) -> ChildTrainer:
    """Give a trainer of networks for images, on the CPU."""
    return ChildTrainer(ImagePasses(settings, data, torch.device("cpu")), clock)


def images_of(labels: Iterable[int]) -> TrainingData:
    """Give images of 2x2 pixels, random but always the same, to train and to validate on."""
    classes = np.array(list(labels), np.int64)
    images = np.random.default_rng(0).integers(0, 256, (len(classes), 1, 2, 2), dtype=np.uint8)
    part = LabelledImages(images, classes)
    return TrainingData(train=part, validation=part, num_classes=2, whitening=WHITENING)


def white(images: NDArray[np.uint8], whitening: Whitening = WHITENING) -> NDArray[np.float64]:
    """Whiten images without a matrix, independently of what is tested."""
    assert whitening.matrix is None
    whitened: NDArray[np.float64] = (images.astype(np.float64) - whitening.mean) * whitening.scale
    return whitened


def build_child() -> nn.Module:
    """Build a child for the digits; it draws random numbers as it trains, and keeps statistics."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3),
        nn.Linear(16, 10),
    )  # fmt: skip


class Builder:
    """Builds children with a function and keeps them, so that a test can look at them."""

    def __init__(self, build: Callable[[], nn.Module] = build_child) -> None:
        self.children: list[Any] = []
        self._build = build

    def __call__(self) -> nn.Module:
        self.children.append(self._build())
        child: nn.Module = self.children[-1]
        return child

    @property
    def weights(self) -> dict[str, bytes]:
        """The weights and statistics of the last child."""
        return {n: t.numpy().tobytes() for n, t in self.children[-1].state_dict().items()}


class Linear(nn.Module):
    """One linear layer for images of 2x2 pixels, which tests change and look into.

    first: the weights before any training.
    calls: of each (is in training mode, number of images, has gradients, the logits' format).
    trained_on, validated_on: the images of each call in either mode.
    logits: of each call in training mode.
    """

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 2, bias=False)
        self.first = self.linear.weight.detach().clone()
        self.calls: list[tuple[bool, int, bool, torch.dtype]] = []
        self.trained_on: list[Tensor] = []
        self.validated_on: list[Tensor] = []
        self.logits: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        """Give logits, and write down how it was called."""
        logits: Tensor = self.linear(images.flatten(1))
        self.calls.append((self.training, len(images), torch.is_grad_enabled(), logits.dtype))
        (self.trained_on if self.training else self.validated_on).append(images.detach().clone())
        if self.training:
            self.logits.append(logits.detach().clone())
        return logits


class Exploding(nn.Module):
    """Gives logits that are not finite from its n-th training step on."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 2)
        self._steps_left = n

    def forward(self, images: Tensor) -> Tensor:
        """Give logits, some of which are infinite or not numbers."""
        self._steps_left -= self.training
        factor = 1.0 if self._steps_left > 0 else float("inf")
        logits: Tensor = self.linear(images.flatten(1)) * factor
        return logits


class Doing(nn.Module):
    """One linear layer that does something at every step of the training before it answers."""

    def __init__(self, do: Callable[[], None]) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 2)
        self._do = do

    def forward(self, images: Tensor) -> Tensor:
        """Do it, and give logits."""
        if self.training:
            self._do()
        logits: Tensor = self.linear(images.flatten(1))
        return logits
