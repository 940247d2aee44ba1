"""A child trainer as a Ray actor: one device, one child at a time."""

from __future__ import annotations

import gc
import logging
import os
import socket
import time
from functools import partial
from typing import Any

from child.network_trainer import NetworkTrainer
from child.objective import Objective
from child.result import TrialResult
from child.task import Task
from child.trained import TrainedChild
from controller.children import Child
from workers.granted_device import GrantedDevice
from workers.process import ProcessSetup
from workers.remote import control, spawn
from workers.slots import Slot

logger = logging.getLogger(__name__)

NO_OBJECTIVE = Objective()  # the reward is what the trainer says


class ChildWorker:
    """Trains the children of one replica, one after the other."""

    def __init__(
        self,
        setup: ProcessSetup,
        name: str,
        task: Task,
        data: Any,
        slot: Slot,
        objective: Objective = NO_OBJECTIVE,
    ) -> None:
        """Take the first granted GPU, or as many threads as CPUs were granted.

        Raises:
            RuntimeError: a GPU was granted that torch cannot use.
        """
        setup.enter(name, slot.num_gpus)
        self._objective = objective
        self._began_at: float | None = None
        self._granted = GrantedDevice(slot, is_deterministic=task.is_deterministic)
        self._trainer = self._granted.fill(lambda device: task.trainer(data, device))
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

    @control
    def seconds(self) -> float:
        """Say for how long its child has been in training; 0 while it waits for the GPU."""
        began_at = self._began_at
        return 0.0 if began_at is None else time.monotonic() - began_at

    def train(self, child: Child, is_alone: bool = False) -> TrialResult:
        """Train and validate a child, and reward it by the objective.

        See `child.trainer.Trainer`.

        is_alone: wait until no other child is on the GPU, and keep it so.
        """
        with self._granted.entered(is_alone=is_alone):
            self._began_at = time.monotonic()
            try:
                result = self._trainer.train(
                    child.architecture, child.seed, partial(_log, child.trial)
                )
            finally:
                self._began_at = None
        return self._objective.rewarded(result)

    def test(self, child: Child, test: Any) -> TrainedChild:
        """Train a network again, alone, and test it; see `child.training.ChildTrainer.test`."""
        trainer = self._trainer
        assert isinstance(trainer, NetworkTrainer), "only networks are tested"
        with self._granted.entered(is_alone=True):
            return trainer.test(child.architecture, child.seed, test, partial(_log, child.trial))


def _log(trial: int, line: str) -> None:
    logger.info("trial %d, %s", trial, line)


def spawn_child_worker(
    setup: ProcessSetup,
    name: str,
    task: Task,
    data: Any,
    slot: Slot,
    objective: Objective = NO_OBJECTIVE,
) -> Any:
    """Start a ChildWorker actor in a slot of its own; data is a reference."""
    return spawn(
        ChildWorker,
        setup,
        name,
        task,
        data,
        slot,
        objective,
        num_cpus=slot.num_cpus,
        num_gpus=slot.num_gpus,
        place=slot.place,
    )
