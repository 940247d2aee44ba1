"""A child trainer as a Ray actor: one device, one child at a time."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator

from child.convolutional.architecture import ConvolutionalArchitecture
from child.convolutional.network import ConvolutionalNetwork
from child.data.images import LabelledImages, TrainingData
from child.result import TrialResult
from child.training import ChildTrainer, TrainingSettings
from controller.replica import Child
from workers.process import ProcessSetup
from workers.remote import spawn


class ChildrenSettings(BaseModel):
    """How many children train at a time, and on what."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    per_replica: int = Field(8, ge=1, le=1000, description="m in Zoph & Le 2017, s3.2; 8 in s4.1.")
    num_cpus: float = Field(
        1.0, ge=0.01, le=1000, description="Of each child; a fraction shares a core."
    )
    num_gpus: float = Field(
        1.0, ge=0, le=1000, description="Of each child; a fraction shares a GPU."
    )
    max_deaths: int = Field(
        3, ge=1, le=1000, description="Workers one trial may lose before it counts."
    )

    @field_validator("num_gpus")
    @classmethod
    def _whole_or_a_part_of_one(cls, num_gpus: float) -> float:
        if num_gpus != int(num_gpus) and not 0.01 <= num_gpus <= 1:
            raise ValueError("must be 0.01 to 1 of one GPU, or a whole number of them")
        return num_gpus


class ChildWorker:
    """Trains the children of one replica, one after the other."""

    def __init__(
        self,
        setup: ProcessSetup,
        name: str,
        training: TrainingSettings,
        data: TrainingData,
        children: ChildrenSettings,
    ) -> None:
        """Take the first granted GPU, or as many threads as CPUs were granted.

        Raises:
            RuntimeError: a GPU was granted that torch cannot use.
        """
        setup.enter(name, children.num_gpus)
        # Results repeat bit for bit only with the same number of threads.
        torch.set_num_threads(max(1, int(children.num_cpus)))
        if children.num_gpus > 0 and not torch.cuda.is_available():
            raise RuntimeError(
                f"children.num_gpus={children.num_gpus:g}: torch {torch.__version__} sees no CUDA "
                "device; install a CUDA build of torch, or set children.num_gpus to 0"
            )
        self._data = data
        self._trainer = ChildTrainer(training, data, "cuda" if children.num_gpus > 0 else "cpu")

    def is_ready(self) -> bool:
        """Answer, once the worker has been constructed."""
        return True

    def train(self, child: Child) -> TrialResult:
        """Train and validate a child; see `child.training.ChildTrainer.train`."""
        return self._trainer.train(self._builder(child), child.seed)

    def test(self, child: Child, images: LabelledImages) -> tuple[TrialResult, float]:
        """Train a child again and test it; see `child.training.ChildTrainer.test`."""
        return self._trainer.test(self._builder(child), child.seed, images)

    def _builder(self, child: Child) -> partial[ConvolutionalNetwork]:
        assert isinstance(child.architecture, ConvolutionalArchitecture)
        return partial(
            ConvolutionalNetwork,
            child.architecture,
            self._data.num_channels,
            self._data.num_classes,
        )


def spawn_child_worker(
    setup: ProcessSetup,
    name: str,
    training: TrainingSettings,
    data: Any,
    children: ChildrenSettings,
) -> Any:
    """Start a ChildWorker actor with the resources of one child; data is a reference."""
    return spawn(
        ChildWorker,
        setup,
        name,
        training,
        data,
        children,
        num_cpus=children.num_cpus,
        num_gpus=children.num_gpus,
    )
