"""The training of a network that is to be kept: on all data, until it converges."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from child.convergence import Convergence
from child.determinism import check_workspace
from child.final_result import FinalResult
from child.memory import forget_locals, is_out_of_memory, release
from child.passes import Learner, Passes
from child.result import Infeasible
from child.seeded import seeded
from child.snapshot import SnapshotError, packed, unpacked
from child.weights import Weights, weights_of


@dataclass(frozen=True)
class FinalEpoch:
    """One epoch of a final training.

    epoch: its number, from 1. loss: see `child.result.EpochReport`.
    seconds: since the training began, without pauses.
    snapshot: gives what the training goes on from after this epoch; to be asked before the next.
    """

    epoch: int
    loss: float
    seconds: float
    snapshot: Callable[[], bytes]


# Yields every epoch; returns what became of the training, and the weights.
FinalTraining = Generator[FinalEpoch, None, tuple[FinalResult, Weights | None]]


@dataclass
class _Course:
    """What is known of a training so far; it outlives the network."""

    seconds_before: float  # in earlier processes
    began_at: float
    losses: list[float] = field(default_factory=list)
    is_converged: bool = False
    test: float | None = None
    num_parameters: int = 0
    weights: Weights | None = None


class FinalTrainer:
    """Trains a network to its end, and tests it.

    The learning rate falls as the settings of the passes say, over their `num_epochs`. After these
    it stays what it is, until the loss hardly falls any more, or `max_epochs` are over. Limits of
    time and size are those of a search, and do not count. Nothing is validated: the passes are over
    all data.

    A training that goes on from a snapshot, with the same passes, network and seed, ends as one
    that was never interrupted: on a CPU with the same number of threads, bit for bit.

    Threads: one at a time; see `child.seeded`.
    """

    def __init__(
        self,
        passes: Passes,
        convergence: Convergence,
        max_epochs: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Train by these passes.

        Raises:
            ValueError: the settings ask for what the device has not been prepared for.
        """
        self._passes = passes
        self._convergence = convergence
        self._max_epochs = max_epochs
        self._clock = clock
        if passes.settings.is_deterministic:
            check_workspace(passes.device)

    def train(
        self,
        build: Callable[[], nn.Module],
        seed: int,
        test: Any,
        *,
        learning_rate: float | None = None,
        snapshot: bytes | None = None,
    ) -> FinalTraining:
        """Build a network, train it until it converges, and test it once; yield after each epoch.

        Args:
            build, seed: see `child.training.ChildTrainer.train`.
            test: the data to test on, as the passes take them.
            learning_rate: of the first epoch, > 0, in place of the settings'.
            snapshot: goes on from there.

        Raises:
            SnapshotError: it cannot, at the first step; without the snapshot it begins anew.

        Returns:
            What became of it, and the weights that were tested. It is infeasible, without weights,
            where a child would be, for any reason but its limits.
        """
        course = _Course(0.0, self._clock())
        rate = self._passes.settings.learning_rate if learning_rate is None else learning_rate
        try:
            with seeded(self._passes, seed):
                yield from self._epochs(course, build, rate, test, snapshot)
        except (Infeasible, RuntimeError, MemoryError) as error:
            is_full = is_out_of_memory(error, self._passes.device)
            if not isinstance(error, Infeasible) and not is_full:
                raise
            course.num_parameters = course.num_parameters or getattr(error, "num_parameters", 0)
            reason = str(error) or type(error).__name__
            forget_locals(error)
            return self._result(course, reason, is_full), None
        finally:
            release(self._passes.device)
        return self._result(course), course.weights

    def _epochs(
        self,
        course: _Course,
        build: Callable[[], nn.Module],
        learning_rate: float,
        test: Any,
        snapshot: bytes | None,
    ) -> Generator[FinalEpoch]:
        settings = self._passes.settings
        network = build()
        course.num_parameters = sum(p.numel() for p in network.parameters())
        learner = self._passes.learner(network)
        if snapshot is not None:
            self._restore(snapshot, learner, course)
        while not self._is_over(course):
            epoch = len(course.losses) + 1
            last = settings.num_epochs
            rate = learning_rate * settings.schedule.fraction(min(epoch, last), last)
            loss = self._passes.train(learner, rate, _nothing)
            if not math.isfinite(loss):
                raise Infeasible(f"the training loss of epoch {epoch} is {loss}")
            course.losses.append(loss)
            yield FinalEpoch(
                epoch, loss, self._seconds(course), lambda: self._snapshot(learner, course)
            )
        course.test = self._passes.test(network, test)
        course.weights = weights_of(network)

    def _is_over(self, course: _Course) -> bool:
        done = len(course.losses)
        if done < self._passes.settings.num_epochs:
            return False
        course.is_converged = self._convergence.is_reached(course.losses)
        return course.is_converged or done >= self._max_epochs

    def _snapshot(self, learner: Learner, course: _Course) -> bytes:
        device = self._passes.device
        state = {
            "network": learner.network.state_dict(),
            "optimizer": learner.optimizer.state_dict(),
            "scaler": learner.scaler.state_dict(),
            "cpu_generator": torch.get_rng_state(),
            "losses": course.losses,
            "seconds": self._seconds(course),
        }
        if device.type == "cuda":
            state["cuda_generator"] = torch.cuda.get_rng_state(device)
        return packed(state)

    def _restore(self, snapshot: bytes, learner: Learner, course: _Course) -> None:
        try:
            self._put_back(unpacked(snapshot), learner, course)
        except Exception as error:  # torch raises what it finds in a state of something else
            first = next(iter(str(error).splitlines()), type(error).__name__)
            raise SnapshotError(f"the snapshot cannot be used: {first}") from error

    def _put_back(self, state: dict[str, Any], learner: Learner, course: _Course) -> None:
        device = self._passes.device
        learner.network.load_state_dict(state["network"])
        learner.optimizer.load_state_dict(state["optimizer"])
        learner.scaler.load_state_dict(state["scaler"])
        torch.set_rng_state(state["cpu_generator"])
        if device.type == "cuda":
            torch.cuda.set_rng_state(state["cuda_generator"], device)
        course.losses += state["losses"]
        course.seconds_before = state["seconds"]

    def _seconds(self, course: _Course) -> float:
        return course.seconds_before + self._clock() - course.began_at

    def _result(
        self, course: _Course, reason: str = "", is_out_of_memory: bool = False
    ) -> FinalResult:
        return FinalResult(
            state="infeasible" if reason else "completed",
            losses=tuple(course.losses),
            is_converged=course.is_converged,
            test=None if reason else course.test,
            num_parameters=course.num_parameters,
            seconds=self._seconds(course),
            reason=reason,
            is_out_of_memory=is_out_of_memory,
        )


def _nothing() -> None:
    pass
