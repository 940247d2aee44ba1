"""Passes of a network over images: one to train it on them, one to count what it gets right."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from child.data.images import LabelledImages, TrainingData
from child.images.augmentation import Augmentation
from child.images.training_settings import ImageTrainingSettings
from child.passes import Learner
from child.precision import Precision
from child.resident import resident
from child.result import Infeasible

# Batches of the evaluation, in those of the training, which takes more memory for each image, and
# in images.
EVALUATION_BATCHES = 4
MAX_EVALUATION_BATCH = 512


class ResidentImages(NamedTuple):
    """Labelled images on the device, never written to.

    images: (N, C, H, W) uint8, as they are stored. labels: (N,) int64.
    """

    images: Tensor
    labels: Tensor

    @classmethod
    def of(cls, part: LabelledImages, device: torch.device) -> ResidentImages:
        """Give them; on a CPU they are the arrays themselves."""
        return cls(resident(part.images, device), resident(part.labels, device))


class ImagePasses:
    """Takes networks over images in the way that the settings say; see `child.passes.Passes`.

    The images stay as they are stored, a byte a value; on a CPU they are the arrays themselves.
    """

    def __init__(
        self, settings: ImageTrainingSettings, data: TrainingData, device: torch.device
    ) -> None:
        """Put the data on the device."""
        self.settings = settings
        self.device = device
        is_channels_last = settings.is_channels_last and device.type == "cuda"
        self._layout = torch.channels_last if is_channels_last else torch.contiguous_format
        self.precision = Precision(settings.precision, device)
        self._augmentation = Augmentation(settings.augmentation, data.whitening, data.shape, device)
        self._train = ResidentImages.of(data.train, device)
        self._validation = ResidentImages.of(data.validation, device)

    def learner(self, network: nn.Module) -> Learner:
        """Take a network to the device, itself and not a copy, with an optimizer of its own."""
        network.to(self.device, memory_format=self._layout)  # type: ignore[call-overload]  # torch lacks it
        optimizer = torch.optim.SGD(
            network.parameters(),
            lr=self.settings.learning_rate,
            momentum=self.settings.momentum,
            nesterov=self.settings.nesterov,
            weight_decay=self.settings.weight_decay,
        )
        return Learner(network, optimizer, self.precision.scaler())

    def train(
        self,
        learner: Learner,
        learning_rate: float,
        before_step: Callable[[], None],
    ) -> float:
        """Train on every image once, in random order; the loss is the mean over the images."""
        part = self._train
        network, optimizer, scaler = learner.network, learner.optimizer, learner.scaler
        network.train()
        for group in optimizer.param_groups:
            group["lr"] = learning_rate
        total = torch.zeros((), device=self.device)
        order = torch.randperm(len(part.labels)).to(self.device)
        draws = self._augmentation.draw(len(part.labels))
        for batch, batch_draws in zip(*map(self._batches, (order, draws)), strict=True):
            before_step()
            inputs = self._augmentation.training(part.images[batch], batch_draws)
            loss = functional.cross_entropy(self.answers(network, inputs), part.labels[batch])
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()
            total.add_(loss.detach(), alpha=len(batch))
        return total.item() / len(part.labels)

    def validate(self, network: nn.Module) -> float:
        """Give the accuracy on the validation images, a fraction in [0, 1]."""
        return self._accuracy(network, self._validation)

    def best(self, validations: Sequence[float]) -> float:
        """Give the highest accuracy."""
        return max(validations)

    def reward(self, validation: float) -> float:
        """Give accuracy ** reward_exponent (Zoph & Le 2017, s4.1: the cube)."""
        return float(validation**self.settings.reward_exponent)

    def examples(self, number: int) -> Tensor:
        """Give the first images to validate on, (number, C, H, W), whitened; again if too few."""
        images = self._validation.images
        rows = torch.arange(number, device=self.device) % len(images)
        return self._augmentation.evaluation(images[rows])

    def answers(self, network: nn.Module, examples: Tensor) -> Tensor:
        """Give the logits of whitened images, (N, num_classes) float32."""
        with self.precision.autocast():
            logits: Tensor = network(examples.contiguous(memory_format=self._layout))
        return logits.float()

    def test(self, network: nn.Module, test: LabelledImages) -> float:
        """Give the accuracy on these images, a fraction in [0, 1]."""
        return self._accuracy(network, ResidentImages.of(test, self.device))

    @torch.no_grad()
    def _accuracy(self, network: nn.Module, part: ResidentImages) -> float:
        """Give the fraction of the images that the network classifies right, in evaluation mode.

        Raises:
            Infeasible: an answer is not a number; argmax would take it for the first class.
        """
        network.eval()
        correct, finite = [], []
        size = min(EVALUATION_BATCHES * self.settings.batch_size, MAX_EVALUATION_BATCH)
        for images, labels in zip(*(each.split(size) for each in part), strict=True):
            logits = self.answers(network, self._augmentation.evaluation(images))
            correct.append((logits.argmax(dim=1) == labels).sum())
            finite.append(logits.isfinite().all())
        if not torch.stack(finite).all():
            raise Infeasible("an answer of the trained network is not finite")
        return int(torch.stack(correct).sum()) / len(part.labels)

    def _batches(self, rows: Tensor) -> list[Tensor]:
        batches = list(rows.split(self.settings.batch_size))
        if len(batches) > 1 and len(batches[-1]) == 1:
            # Batch norm has no variance of one image whose map is one pixel.
            last = batches.pop()
            batches[-1] = torch.cat([batches[-1], last])
        return batches
