"""Train and validate one child on one device."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from child.determinism import check_workspace
from child.measures import NOTHING, Measures
from child.memory import forget_locals, is_device_lost, is_out_of_memory, release
from child.passes import Passes
from child.result import EpochReport, Infeasible, TrialResult
from child.seeded import seeded
from child.trained import TrainedChild
from child.weights import Weights, weights_of

logger = logging.getLogger(__name__)


@dataclass
class _Course:
    """What is known of one child so far; it outlives the network."""

    start: float
    validations: list[float] = field(default_factory=list)
    test: float | None = None
    weights: Weights | None = None
    num_parameters: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    reason: str = ""
    is_out_of_memory: bool = False


def _no_report(_: EpochReport) -> None:
    pass


class ChildTrainer:
    """Trains children, one after the other, on one device that holds the data.

    A child depends on its network, seed and settings alone: on a CPU with the same number of
    threads the same three give the same figures, bit for bit, whatever was trained before; with
    `is_deterministic` on a GPU, too. (Only a time limit lets the clock decide.) However a child
    ends, nothing of it stays: an error that is raised keeps its lines, but no variables.

    Threads: one at a time; seeding is global in torch, and restored after each child.
    """

    def __init__(
        self,
        passes: Passes,
        clock: Callable[[], float] = time.monotonic,
        measures: Measures = NOTHING,
    ) -> None:
        """Train by these passes, on their device, with their settings.

        measures: of each child that `train` trains, for its metrics, in its time; none by default.

        Raises:
            ValueError: the settings ask for what the device has not been prepared for.
        """
        self._passes = passes
        self._settings = passes.settings
        self._device = passes.device
        self._clock = clock
        self._measures = measures
        measures.prepare()
        if self._settings.is_deterministic:
            check_workspace(self._device)

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
        and when it exceeds the time or the number of parameters that the settings allow. It is not
        for a measure that fails, for want of memory or whatever else: that one is not in its
        metrics, and the log says why.

        Args:
            build: gives the network, on the CPU; called once.
            seed: draws the initial weights and whatever the passes leave to chance; in
                [0, 2**63).
            learning_rate: of the first epoch, > 0, in place of the settings'.
            report: called after each epoch. What it raises ends the training, and is raised. Its
                time counts as the child's; so do numbers that it draws from torch's generator.
        """
        course = self._run(build, seed, learning_rate, report, measures=self._measures)
        return self._result(course)

    def train_and_keep(
        self,
        build: Callable[[], nn.Module],
        seed: int,
        *,
        learning_rate: float | None = None,
        report: Callable[[EpochReport], None] = _no_report,
    ) -> TrainedChild:
        """Train a child as `train` does, and keep its weights; nothing is measured.

        Raises:
            ValueError: the child is infeasible.
        """
        course = self._run(build, seed, learning_rate, report, keeps=True)
        if course.weights is None:
            raise ValueError(f"an infeasible child has no weights: {course.reason}")
        return TrainedChild(self._result(course), course.weights)

    def test(
        self,
        build: Callable[[], nn.Module],
        seed: int,
        test: Any,
        *,
        learning_rate: float | None = None,
        report: Callable[[EpochReport], None] = _no_report,
    ) -> TrainedChild:
        """Train a child as `train` does, then look how it does on data that it has not met.

        Nothing is measured.

        Returns:
            The child as it was tested, after the last epoch; its ``test`` is a number.

        Raises:
            ValueError: the child is infeasible.
        """
        course = self._run(build, seed, learning_rate, report, test, keeps=True)
        if course.test is None or course.weights is None:
            raise ValueError(f"an infeasible child cannot be tested: {course.reason}")
        return TrainedChild(self._result(course), course.weights, course.test)

    def _run(
        self,
        build: Callable[[], nn.Module],
        seed: int,
        learning_rate: float | None,
        report: Callable[[EpochReport], None],
        test: Any = None,
        *,
        keeps: bool = False,
        measures: Measures = NOTHING,
    ) -> _Course:
        if learning_rate is None:
            learning_rate = self._settings.learning_rate
        if not (math.isfinite(learning_rate) and learning_rate > 0):
            raise ValueError(f"learning_rate={learning_rate}: must be finite and > 0")
        course = _Course(self._clock())
        try:
            with (
                seeded(self._passes, seed),
                closing(
                    self._epochs(course, build, learning_rate, test, keeps, measures)
                ) as epochs,
            ):
                for epoch in epochs:
                    report(epoch)
        except BaseException as error:
            forget_locals(error)
            raise
        finally:
            release(self._device)
        return course

    def _epochs(
        self,
        course: _Course,
        build: Callable[[], nn.Module],
        learning_rate: float,
        test: Any,
        keeps: bool,
        measures: Measures,
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
            self._measure(course, measures.of_new, network)
            learner = self._passes.learner(network)
            for epoch in range(1, num_epochs + 1):
                rate = learning_rate * self._settings.schedule.fraction(epoch, num_epochs)
                loss = self._passes.train(learner, rate, lambda: self._check_time(course))
                if not math.isfinite(loss):
                    raise Infeasible(f"the training loss of epoch {epoch} is {loss}")
                validation = self._passes.validate(network)
                self._check_time(course)
                course.validations.append(validation)
                seconds = self._clock() - course.start
                yield EpochReport(epoch, num_epochs, loss, validation, seconds)
            if test is not None:
                course.test = self._passes.test(network, test)
            if keeps:
                course.weights = weights_of(network)
            self._measure(course, measures.of_trained, network)
        except (Infeasible, RuntimeError, MemoryError) as error:
            course.is_out_of_memory = is_out_of_memory(error, self._device)
            if not isinstance(error, Infeasible) and not course.is_out_of_memory:
                raise
            if isinstance(error, Infeasible):
                course.num_parameters = course.num_parameters or error.num_parameters
            course.reason = str(error) or type(error).__name__

    def _measure(
        self,
        course: _Course,
        measure: Callable[[nn.Module, Passes], dict[str, float]],
        network: nn.Module,
    ) -> None:
        """Add to a child's metrics, or say why they lack something: it is none the worse for that.

        A GPU that is lost is raised: no more can be done in this process, nor anything be freed.
        """
        try:
            course.metrics |= measure(network, self._passes)
        except Exception as error:
            if is_device_lost(error):
                raise
            logger.warning("a measure is left out, and the child goes on: it failed", exc_info=True)
            forget_locals(error)
            release(self._device)

    def _check_size(self, num_parameters: int) -> None:
        limit = self._settings.max_parameters
        if limit is not None and num_parameters > limit:
            raise Infeasible(f"max_parameters={limit}: the network has {num_parameters}")

    def _check_time(self, course: _Course) -> None:
        limit, seconds = self._settings.time_limit_s, self._clock() - course.start
        if limit is not None and seconds > limit:
            raise Infeasible(
                f"time_limit_s={limit:g}: over after {seconds:.1f} s, in epoch "
                f"{len(course.validations) + 1} of {self._settings.num_epochs}"
            )

    def _result(self, course: _Course) -> TrialResult:
        validation = None
        if course.reason:
            logger.info("infeasible: %s", course.reason)
        else:
            counted = course.validations[-self._settings.reward_epochs :]
            validation = self._passes.best(counted)
        return TrialResult(
            state="infeasible" if validation is None else "completed",
            reward=0.0 if validation is None else self._passes.reward(validation),
            validations=tuple(course.validations),
            validation=validation,
            num_parameters=course.num_parameters,
            seconds=self._clock() - course.start,
            reason=course.reason,
            is_out_of_memory=course.is_out_of_memory,
            metrics=course.metrics,
        )
