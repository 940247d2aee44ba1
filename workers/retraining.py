"""Trainings after a search, each a task of Ray's: it runs wherever there is room for a child."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import ray

from child.convergence import Convergence
from child.final_result import FinalResult
from child.final_training import FinalTrainer, FinalTraining
from child.result import EpochReport, TrialResult
from child.snapshot import SnapshotError
from child.task import NetworkTask
from child.training import ChildTrainer
from child.weights import Weights
from workers.granted_device import GrantedDevice
from workers.process import ProcessSetup
from workers.remote import call
from workers.slots import Slot

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingPlan:
    """What a training needs to know beside its data.

    name: of its log. learning_rate: of the first epoch; None: the settings'.
    """

    name: str
    task: NetworkTask
    architecture: Any
    seed: int
    learning_rate: float | None


@dataclass(frozen=True)
class FinalProgress:
    """How far a final training is.

    snapshot: what it goes on from after this epoch, if it is time for one.
    """

    epoch: int
    loss: float
    snapshot: bytes | None


def begin_in_grid(setup: ProcessSetup, plan: TrainingPlan, data: Any, slot: Slot) -> Any:
    """Begin a training that is to be compared; it yields one TrialResult.

    data: a reference of what a child sees in a search.
    """
    return call(
        _train_in_grid,
        setup,
        plan,
        data,
        slot,
        num_cpus=slot.num_cpus,
        num_gpus=slot.num_gpus,
        place=slot.place,
    )


def begin_final(
    setup: ProcessSetup,
    plan: TrainingPlan,
    data: Any,
    test: Any,
    slot: Slot,
    convergence: Convergence,
    max_epochs: int,
    snapshot_every_s: float,
    snapshot: bytes | None,
) -> Any:
    """Begin a final training, or go on from a snapshot.

    It yields FinalProgress, of every epoch, and at last (FinalResult, Weights or None).

    Args:
        data: a reference of all data to train on. test: of those to test on.
        snapshot_every_s: what is lost with its process at the most.
    """
    return call(
        _train_to_the_end,
        setup,
        plan,
        data,
        test,
        slot,
        convergence,
        max_epochs,
        snapshot_every_s,
        None if snapshot is None else ray.put(snapshot),
        num_cpus=slot.num_cpus,
        num_gpus=slot.num_gpus,
        place=slot.place,
    )


def _train_in_grid(
    setup: ProcessSetup, plan: TrainingPlan, data: Any, slot: Slot
) -> Iterator[TrialResult]:
    task = plan.task
    with _device(setup, plan, slot) as granted:
        trainer = granted.fill(lambda device: ChildTrainer(task.passes(data, device)))

        def train(*, is_alone: bool = False) -> TrialResult:
            with granted.entered(is_alone=is_alone):
                return trainer.train(
                    lambda: task.build(plan.architecture, data),
                    plan.seed,
                    learning_rate=plan.learning_rate,
                    report=partial(_log, task),
                )

        result = train()
        # Beside others a GPU may be too small for what has room there alone.
        if result.is_out_of_memory and granted.is_shared:
            result = train(is_alone=True)
        yield result


def _train_to_the_end(
    setup: ProcessSetup,
    plan: TrainingPlan,
    data: Any,
    test: Any,
    slot: Slot,
    convergence: Convergence,
    max_epochs: int,
    snapshot_every_s: float,
    snapshot: bytes | None,
) -> Iterator[FinalProgress | tuple[FinalResult, Weights | None]]:
    task = plan.task
    with _device(setup, plan, slot) as granted:
        trainer = granted.fill(
            lambda device: FinalTrainer(task.passes(data, device), convergence, max_epochs)
        )
        with granted.entered(is_alone=granted.is_shared):

            def begin(snapshot: bytes | None) -> FinalTraining:
                return trainer.train(
                    lambda: task.build(plan.architecture, data),
                    plan.seed,
                    test,
                    learning_rate=plan.learning_rate,
                    snapshot=snapshot,
                )

            epochs = begin(snapshot)
            kept_at = time.monotonic()
            while True:
                try:
                    epoch = next(epochs)
                except SnapshotError as error:
                    logger.warning("%s; the training begins anew", error)
                    epochs = begin(None)
                    continue
                except StopIteration as ended:
                    yield ended.value
                    return
                logger.info("epoch %d: loss %.4f, %.1f s", epoch.epoch, epoch.loss, epoch.seconds)
                is_due = time.monotonic() - kept_at >= snapshot_every_s
                if is_due:
                    kept_at = time.monotonic()
                yield FinalProgress(epoch.epoch, epoch.loss, epoch.snapshot() if is_due else None)


@contextmanager
def _device(setup: ProcessSetup, plan: TrainingPlan, slot: Slot) -> Iterator[GrantedDevice]:
    """Take the device of a slot, and log, as long as this task of a process goes on."""
    handler = setup.enter(plan.name, slot.num_gpus)
    try:
        yield GrantedDevice(slot, is_deterministic=plan.task.is_deterministic)
    finally:
        logging.getLogger().removeHandler(handler)
        handler.close()


def _log(task: NetworkTask, epoch: EpochReport) -> None:
    logger.info(
        "epoch %d of %d: loss %.4f, %s %s, %.1f s",
        epoch.epoch,
        epoch.num_epochs,
        epoch.loss,
        task.metric.name,
        task.metric.text(epoch.validation),
        epoch.seconds,
    )
