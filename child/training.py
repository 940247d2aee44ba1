"""Train and validate one child on one device."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from typing import Self

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from child.data.images import LabelledImages, TrainingData
from child.result import TrialResult

logger = logging.getLogger(__name__)

VALIDATION_BATCH = 512  # images; bounds memory, changes no result


class TrainingSettings(BaseModel):
    """How a child is trained and rewarded. The defaults are those of Zoph & Le 2017, s4.1."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    num_epochs: int = Field(50, ge=1, le=1_000_000)
    batch_size: int = Field(64, ge=2, description="Open in the paper; 64 as in DenseNet's code.")
    learning_rate: float = Field(0.1, gt=0)
    momentum: float = Field(0.9, ge=0, lt=1)
    nesterov: bool = True
    weight_decay: float = Field(1e-4, ge=0)
    reward_epochs: int = Field(5, ge=1, description="The best of the last so many epochs counts.")
    reward_exponent: float = Field(3.0, gt=0, description="reward = accuracy ** exponent")

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> Self:
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov=true and momentum=0: Nesterov's rule needs momentum > 0")
        return self


class ChildTrainer:
    """Trains children, one after the other, on one device that holds the data.

    A child depends on its network, seed and settings alone: on a CPU with the same number of
    threads the same three give the same accuracies, bit for bit, whatever was trained before.

    Threads: one at a time; seeding is global in torch, and restored after each child.
    """

    def __init__(self, settings: TrainingSettings, data: TrainingData, device: str = "cpu") -> None:
        self._settings = settings
        self._device = torch.device(device)
        self._train = self._load(data.train)
        self._validation = self._load(data.validation)

    def train(self, build: Callable[[], nn.Module], seed: int) -> TrialResult:
        """Build a child, train it, and validate it after each epoch.

        A child that does not fit into the device's memory, or whose loss or answers are not finite,
        is infeasible: its reward is 0 and the result says why.

        Args:
            build: gives the network, (N, channels, height, width) -> (N, classes); called once.
            seed: draws the initial weights and the order of the images; in [0, 2**63).
        """
        return self._run(build, seed)[0]

    def test(
        self, build: Callable[[], nn.Module], seed: int, test: LabelledImages
    ) -> tuple[TrialResult, float]:
        """Train a child as `train` does, then give its accuracy on images it has not met.

        Returns:
            The result of the training, and the accuracy of the network as it is after the last
            epoch, a fraction in [0, 1].

        Raises:
            ValueError: the child is infeasible.
        """
        result, network = self._run(build, seed)
        if network is None:
            raise ValueError(f"an infeasible child cannot be tested: {result.reason}")
        return result, _accuracy(network, *self._load(test))

    def _run(
        self, build: Callable[[], nn.Module], seed: int
    ) -> tuple[TrialResult, nn.Module | None]:
        start = time.monotonic()
        network: nn.Module | None = None
        accuracies: list[float] = []
        num_parameters = 0
        reason = ""
        try:
            with torch.random.fork_rng():
                torch.manual_seed(seed)
                network = build().to(self._device)
                num_parameters = sum(p.numel() for p in network.parameters())
                for _ in self._epochs(network):
                    accuracies.append(_accuracy(network, *self._validation))
        except (_NotFiniteError, RuntimeError, MemoryError) as error:
            if not isinstance(error, _NotFiniteError) and not _is_out_of_memory(error):
                raise
            network, reason = None, str(error)
            logger.info("infeasible: %s", reason)
        accuracy = None if network is None else max(accuracies[-self._settings.reward_epochs :])
        result = TrialResult(
            state="infeasible" if accuracy is None else "completed",
            reward=0.0 if accuracy is None else accuracy**self._settings.reward_exponent,
            accuracies=tuple(accuracies),
            accuracy=accuracy,
            num_parameters=num_parameters,
            seconds=time.monotonic() - start,
            reason=reason,
        )
        return result, network

    def _epochs(self, network: nn.Module) -> Iterator[None]:
        """Train the network, yielding after each epoch."""
        images, labels = self._train
        optimizer = torch.optim.SGD(
            network.parameters(),
            lr=self._settings.learning_rate,
            momentum=self._settings.momentum,
            nesterov=self._settings.nesterov,
            weight_decay=self._settings.weight_decay,
        )
        for epoch in range(1, self._settings.num_epochs + 1):
            network.train()
            total = torch.zeros((), device=self._device)
            order = torch.randperm(len(labels)).to(self._device)
            for batch in order.split(self._settings.batch_size):
                loss = nn.functional.cross_entropy(network(images[batch]), labels[batch])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                total += loss.detach()
            # Asked once an epoch: asking after each step would make a GPU wait for the answer.
            if not torch.isfinite(total):
                raise _NotFiniteError(f"the training loss of epoch {epoch} is {total.item()}")
            yield

    def _load(self, part: LabelledImages) -> tuple[Tensor, Tensor]:
        # A copy also where the device is the CPU: arrays out of a shared store are read-only.
        return (
            torch.tensor(part.images, device=self._device),
            torch.tensor(part.labels, device=self._device),
        )


class _NotFiniteError(ArithmeticError):
    """The training loss, or what the network answers, is not finite."""


def _is_out_of_memory(error: Exception) -> bool:
    # On a CPU torch raises a plain RuntimeError, and only its text tells.
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "allocate memory" in str(
        error
    )


@torch.no_grad()
def _accuracy(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Give the fraction of the images that the network classifies right, in evaluation mode.

    Raises:
        _NotFiniteError: an answer is not a number; argmax would take it for the first class.
    """
    network.eval()
    batches = zip(images.split(VALIDATION_BATCH), labels.split(VALIDATION_BATCH), strict=True)
    correct, finite = [], []
    for some_images, some_labels in batches:
        logits = network(some_images)
        correct.append((logits.argmax(dim=1) == some_labels).sum())
        finite.append(logits.isfinite().all())
    if not torch.stack(finite).all():
        raise _NotFiniteError("an answer of the trained network is not finite")
    return int(torch.stack(correct).sum()) / len(labels)
