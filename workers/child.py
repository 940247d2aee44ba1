"""A child trainer as a Ray actor: one device, one child at a time."""

from __future__ import annotations

import gc
import logging
import os
import socket
from functools import partial
from typing import Any

from child.metric import Metric
from child.result import EpochReport, TrialResult
from child.task import Task
from child.trained import TrainedChild
from child.training import ChildTrainer
from controller.children import Child
from workers.granted_device import GrantedDevice
from workers.process import ProcessSetup
from workers.remote import control, spawn
from workers.slots import Slot

logger = logging.getLogger(__name__)


class ChildWorker:
    """Trains the children of one replica, one after the other."""

    def __init__(
        self,
        setup: ProcessSetup,
        name: str,
        task: Task,
        data: Any,
        slot: Slot,
    ) -> None:
        """Take the first granted GPU, or as many threads as CPUs were granted.

        Raises:
            RuntimeError: a GPU was granted that torch cannot use.
        """
        setup.enter(name, slot.num_gpus)
        self._granted = GrantedDevice(slot, is_deterministic=task.training.is_deterministic)
        self._task = task
        self._data = data
        self._trainer = self._granted.fill(lambda device: ChildTrainer(task.passes(data, device)))
        # The trainer looks for cycles after each child; what is loaded by now has none to free.
        gc.collect()
        gc.freeze()

    @control
    def ping(self) -> int:
        """Answer with the process id: the process lives."""
        return os.getpid()

    @control
    def device(self) -> str:
        """Say on which device of which host it trains, such as `gpu-3: cuda 0` or `here: cpu`."""
        return f"{socket.gethostname()}: {self._granted.name}"

    def train(self, child: Child, is_alone: bool = False) -> TrialResult:
        """Train and validate a child; see `child.training.ChildTrainer.train`.

        is_alone: wait until no other child is on the GPU, and keep it so.
        """
        with self._granted.entered(is_alone=is_alone):
            return self._trainer.train(
                partial(self._task.build, child.architecture, self._data),
                child.seed,
                learning_rate=self._task.learning_rate(child.architecture),
                report=partial(_log, child.trial, self._task.metric),
            )

    def test(self, child: Child, test: Any) -> TrainedChild:
        """Train a child again, alone, and test it; see `child.training.ChildTrainer.test`."""
        with self._granted.entered(is_alone=True):
            return self._trainer.test(
                partial(self._task.build, child.architecture, self._data),
                child.seed,
                test,
                learning_rate=self._task.learning_rate(child.architecture),
                report=partial(_log, child.trial, self._task.metric),
            )


def _log(trial: int, metric: Metric, epoch: EpochReport) -> None:
    logger.info(
        "trial %d, epoch %d of %d: loss %.4f, %s %s, %.1f s",
        trial,
        epoch.epoch,
        epoch.num_epochs,
        epoch.loss,
        metric.name,
        metric.text(epoch.validation),
        epoch.seconds,
    )


def spawn_child_worker(
    setup: ProcessSetup,
    name: str,
    task: Task,
    data: Any,
    slot: Slot,
) -> Any:
    """Start a ChildWorker actor in a slot of its own; data is a reference."""
    return spawn(
        ChildWorker,
        setup,
        name,
        task,
        data,
        slot,
        num_cpus=slot.num_cpus,
        num_gpus=slot.num_gpus,
        place=slot.place,
    )
