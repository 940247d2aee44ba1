"""A child trainer as a Ray actor: one device, one child at a time."""

from __future__ import annotations

import gc
import logging
import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch

from child.memory import is_device_lost, is_out_of_memory
from child.metric import Metric
from child.result import EpochReport, TrialResult
from child.task import Task
from child.trained import TrainedChild
from child.training import ChildTrainer
from controller.children import Child
from workers.gpu_gate import GpuGate
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
        self._num_threads = max(1, int(slot.num_cpus))
        self._set_threads()
        if slot.num_gpus > 0 and not torch.cuda.is_available():
            raise RuntimeError(
                f"children.num_gpus={slot.num_gpus:g}: torch {torch.__version__} sees no CUDA "
                "device; install a CUDA build of torch, or set children.num_gpus to 0"
            )
        if task.training.is_deterministic:
            # Read by CUDA's library of matrix products when it begins.
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        self._task = task
        self._data = data
        self._gate = _gpu_gate() if slot.shares_gpu else None
        self._device = torch.device("cuda" if slot.num_gpus > 0 else "cpu")
        try:
            with self._entered(is_alone=False):
                self._trainer = ChildTrainer(task.passes(data, self._device))
        except RuntimeError as error:
            # Others fill a shared GPU: not even the data found room.
            if self._gate is None or not is_out_of_memory(error, self._device):
                raise
            with self._entered(is_alone=True):
                self._trainer = ChildTrainer(task.passes(data, self._device))
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
        gpus = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        where = "cpu" if self._device.type == "cpu" else f"cuda {gpus.partition(',')[0]}"
        return f"{socket.gethostname()}: {where}"

    def train(self, child: Child, is_alone: bool = False) -> TrialResult:
        """Train and validate a child; see `child.training.ChildTrainer.train`.

        is_alone: wait until no other child is on the GPU, and keep it so.
        """
        self._set_threads()
        with self._entered(is_alone), _alive():
            return self._trainer.train(
                partial(self._task.build, child.architecture, self._data),
                child.seed,
                learning_rate=self._task.learning_rate(child.architecture),
                report=partial(_log, child.trial, self._task.metric),
            )

    def test(self, child: Child, test: Any) -> TrainedChild:
        """Train a child again, alone, and test it; see `child.training.ChildTrainer.test`."""
        self._set_threads()
        with self._entered(is_alone=True), _alive():
            return self._trainer.test(
                partial(self._task.build, child.architecture, self._data),
                child.seed,
                test,
                learning_rate=self._task.learning_rate(child.architecture),
                report=partial(_log, child.trial, self._task.metric),
            )

    def _set_threads(self) -> None:
        # Results repeat bit for bit only with the same number of threads. It is set where it is
        # used: Ray constructs an actor in another thread than it calls it in.
        torch.set_num_threads(self._num_threads)

    def _entered(self, is_alone: bool) -> AbstractContextManager[None]:
        if self._gate is None:
            return nullcontext()
        return self._gate.alone() if is_alone else self._gate.shared()


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


@contextmanager
def _alive() -> Iterator[None]:
    """End the process if it loses its GPU, so that another takes its place and its trial."""
    try:
        yield
    except RuntimeError as error:
        if is_device_lost(error):
            logger.exception("the GPU is lost to this process, which ends")
            os._exit(1)
        raise


def _gpu_gate() -> GpuGate:
    """Give the gate of this process's GPU; all processes of a user on this machine meet there.

    Ray names the GPU that it granted in the environment. Asking CUDA would take memory there.
    """
    gpu = os.environ["CUDA_VISIBLE_DEVICES"].partition(",")[0]
    return GpuGate(Path(tempfile.gettempdir()) / f"nasrl-{os.getuid()}" / f"gpu-{gpu}")


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
