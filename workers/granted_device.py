"""The device that a process has been granted to train on."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TypeVar

import torch

from child.memory import is_device_lost, is_out_of_memory
from workers.gpu_gate import GpuGate
from workers.slots import Slot

logger = logging.getLogger(__name__)

T = TypeVar("T")


class GrantedDevice:
    """The first GPU that Ray has granted to this process, or as many threads as it granted CPUs.

    Threads: one at a time.
    """

    def __init__(self, slot: Slot, *, is_deterministic: bool) -> None:
        """Prepare the device of a slot.

        Args:
            is_deterministic: whether a GPU is to repeat itself bit for bit.

        Raises:
            RuntimeError: a GPU was granted that torch cannot use.
        """
        self._num_threads = max(1, int(slot.num_cpus))
        if slot.num_gpus > 0 and not torch.cuda.is_available():
            raise RuntimeError(
                f"children.num_gpus={slot.num_gpus:g}: torch {torch.__version__} sees no CUDA "
                "device; install a CUDA build of torch, or set children.num_gpus to 0"
            )
        if is_deterministic:
            # Read by CUDA's library of matrix products when it begins.
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        self._gate = _gpu_gate() if slot.shares_gpu else None
        self.device = torch.device("cuda" if slot.num_gpus > 0 else "cpu")

    @property
    def name(self) -> str:
        """Such as `cuda 0` or `cpu`."""
        gpus = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        return "cpu" if self.device.type == "cpu" else f"cuda {gpus.partition(',')[0]}"

    @property
    def is_shared(self) -> bool:
        """Whether other children are on the GPU, too."""
        return self._gate is not None

    def fill(self, fill: Callable[[torch.device], T]) -> T:
        """Put something on the device; alone, where it finds no room beside others."""
        try:
            with self.entered():
                return fill(self.device)
        except RuntimeError as error:
            if self._gate is None or not is_out_of_memory(error, self.device):
                raise
        with self.entered(is_alone=True):
            return fill(self.device)

    @contextmanager
    def entered(self, *, is_alone: bool = False) -> Iterator[None]:
        """Compute there, beside others or alone: then it waits until they have left.

        The process ends if it loses its GPU, so that another takes its place and its work.
        """
        # Results repeat bit for bit only with the same number of threads. It is set where it is
        # used: Ray constructs an actor in another thread than it calls it in.
        torch.set_num_threads(self._num_threads)
        with self._passed(is_alone):
            try:
                yield
            except RuntimeError as error:
                if is_device_lost(error):
                    logger.exception("the GPU is lost to this process, which ends")
                    os._exit(1)
                raise

    def _passed(self, is_alone: bool) -> AbstractContextManager[None]:
        if self._gate is None:
            return nullcontext()
        return self._gate.alone() if is_alone else self._gate.shared()


def _gpu_gate() -> GpuGate:
    """Give the gate of this process's GPU; all processes of a user on this machine meet there.

    Ray names the GPU that it granted in the environment. Asking CUDA would take memory there.
    """
    gpu = os.environ["CUDA_VISIBLE_DEVICES"].partition(",")[0]
    return GpuGate(Path(tempfile.gettempdir()) / f"nasrl-{os.getuid()}" / f"gpu-{gpu}")
