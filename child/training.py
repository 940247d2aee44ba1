"""Train and validate one child on one device."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field

import torch
from torch import nn

from child.data.images import LabelledImages, TrainingData
from child.determinism import check_workspace, deterministic
from child.memory import forget_locals, is_out_of_memory, release
from child.passes import Passes, ResidentImages
from child.result import EpochReport, Infeasible, TrialResult
from child.training_settings import TrainingSettings

__all__ = ["ChildTrainer", "TrainingSettings"]

logger = logging.getLogger(__name__)


@dataclass
class _Course:
    """What is known of one child so far; it outlives the network."""

    start: float
    accuracies: list[float] = field(default_factory=list)
    test_accuracy: float | None = None
    num_parameters: int = 0
    reason: str = ""
    is_out_of_memory: bool = False


def _no_report(_: EpochReport) -> None:
    pass


class ChildTrainer:
    """Trains children, one after the other, on one device that holds the data.

    A child depends on its network, seed and settings alone: on a CPU with the same number of
    threads the same three give the same accuracies, bit for bit, whatever was trained before; with
    `is_deterministic` on a GPU, too. (Only a time limit lets the clock decide.) However a child
    ends, nothing of it stays: an error that is raised keeps its lines, but no variables.

    The images stay as they are stored, a byte a value; on a CPU they are the arrays themselves.

    Threads: one at a time; seeding is global in torch, and restored after each child.
    """

    def __init__(
        self,
        settings: TrainingSettings,
        data: TrainingData,
        device: str = "cpu",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Put the data on the device.

        Raises:
            ValueError: the settings ask for what the device has not been prepared for.
        """
        self._settings = settings
        self._device = torch.device(device)
        self._clock = clock
        if settings.is_deterministic:
            check_workspace(self._device)
        self._passes = Passes(settings, data, self._device)
        self._train = ResidentImages.of(data.train, self._device)
        self._validation = ResidentImages.of(data.validation, self._device)

    def train(
        self,
        build: Callable[[], nn.Module],
        seed: int,
        *,
        learning_rate: float | None = None,
        report: Callable[[EpochReport], None] = _no_report,
    ) -> TrialResult:
        """Build a child, train it, and validate it after each epoch.

        A child is infeasible, its reward 0 and the result says why, when building it raises
        `Infeasible`, when it does not fit into memory, when its loss or its answers are not finite,
        and when it exceeds the time or the number of parameters that the settings allow.

        Args:
            build: gives the network, (N, channels, height, width) -> (N, classes), on the CPU;
                called once.
            seed: draws the initial weights, the order of the images and how they vary; in
                [0, 2**63).
            learning_rate: of the first epoch, > 0, in place of the settings'.
            report: called after each epoch. What it raises ends the training, and is raised. Its
                time counts as the child's; so do numbers that it draws from torch's generator.
        """
        return self._run(build, seed, learning_rate, report, None)[0]

    def test(
        self,
        build: Callable[[], nn.Module],
        seed: int,
        test: LabelledImages,
        *,
        learning_rate: float | None = None,
        report: Callable[[EpochReport], None] = _no_report,
    ) -> tuple[TrialResult, float]:
        """Train a child as `train` does, then give its accuracy on images it has not met.

        Returns:
            The result of the training, and the accuracy of the network as it is after the last
            epoch, a fraction in [0, 1].

        Raises:
            ValueError: the child is infeasible.
        """
        part = ResidentImages.of(test, self._device)
        result, accuracy = self._run(build, seed, learning_rate, report, part)
        if accuracy is None:
            raise ValueError(f"an infeasible child cannot be tested: {result.reason}")
        return result, accuracy

    def _run(
        self,
        build: Callable[[], nn.Module],
        seed: int,
        learning_rate: float | None,
        report: Callable[[EpochReport], None],
        test: ResidentImages | None,
    ) -> tuple[TrialResult, float | None]:
        if learning_rate is None:
            learning_rate = self._settings.learning_rate
        if not (math.isfinite(learning_rate) and learning_rate > 0):
            raise ValueError(f"learning_rate={learning_rate}: must be finite and > 0")
        course = _Course(self._clock())
        try:
            with ExitStack() as stack:
                is_cuda = self._device.type == "cuda"
                stack.enter_context(torch.random.fork_rng([self._device] if is_cuda else []))
                if self._settings.is_deterministic:
                    stack.enter_context(deterministic())
                stack.enter_context(self._passes.precision.kept())
                torch.manual_seed(seed)
                epochs = self._epochs(course, build, learning_rate, test)
                for epoch in stack.enter_context(closing(epochs)):
                    report(epoch)
        except BaseException as error:
            forget_locals(error)
            raise
        finally:
            release(self._device)
        return self._result(course), course.test_accuracy

    def _epochs(
        self,
        course: _Course,
        build: Callable[[], nn.Module],
        learning_rate: float,
        test: ResidentImages | None,
    ) -> Generator[EpochReport]:
        """Build and train a child, giving a report of each epoch.

        An error of whoever takes the reports is not raised in here, and so is never taken for the
        architecture's fault.
        """
        num_epochs = self._settings.num_epochs
        try:
            network = build()
            course.num_parameters = sum(p.numel() for p in network.parameters())
            self._check_size(course.num_parameters)
            learner = self._passes.learner(network)
            for epoch in range(1, num_epochs + 1):
                loss = self._passes.train(
                    learner,
                    self._train,
                    learning_rate * self._settings.schedule.fraction(epoch, num_epochs),
                    before_step=lambda: self._check_time(course),
                )
                if not math.isfinite(loss):
                    raise Infeasible(f"the training loss of epoch {epoch} is {loss}")
                accuracy = self._passes.accuracy(network, self._validation)
                self._check_time(course)
                course.accuracies.append(accuracy)
                seconds = self._clock() - course.start
                yield EpochReport(epoch, num_epochs, loss, accuracy, seconds)
            if test is not None:
                course.test_accuracy = self._passes.accuracy(network, test)
        except (Infeasible, RuntimeError, MemoryError) as error:
            course.is_out_of_memory = is_out_of_memory(error, self._device)
            if not isinstance(error, Infeasible) and not course.is_out_of_memory:
                raise
            course.reason = str(error) or type(error).__name__

    def _check_size(self, num_parameters: int) -> None:
        limit = self._settings.max_parameters
        if limit is not None and num_parameters > limit:
            raise Infeasible(f"max_parameters={limit}: the network has {num_parameters}")

    def _check_time(self, course: _Course) -> None:
        limit, seconds = self._settings.time_limit_s, self._clock() - course.start
        if limit is not None and seconds > limit:
            raise Infeasible(
                f"time_limit_s={limit:g}: over after {seconds:.1f} s, in epoch "
                f"{len(course.accuracies) + 1} of {self._settings.num_epochs}"
            )

    def _result(self, course: _Course) -> TrialResult:
        accuracy = None
        if course.reason:
            logger.info("infeasible: %s", course.reason)
        else:
            accuracy = max(course.accuracies[-self._settings.reward_epochs :])
        return TrialResult(
            state="infeasible" if accuracy is None else "completed",
            reward=0.0 if accuracy is None else accuracy**self._settings.reward_exponent,
            accuracies=tuple(course.accuracies),
            accuracy=accuracy,
            num_parameters=course.num_parameters,
            seconds=self._clock() - course.start,
            reason=course.reason,
            is_out_of_memory=course.is_out_of_memory,
        )
