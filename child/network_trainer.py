"""A trainer of the networks of a task."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from child.metric import Metric
from child.result import EpochReport, TrialResult
from child.task import NetworkTask
from child.trained import TrainedChild
from child.training import ChildTrainer


class NetworkTrainer:
    """Builds and trains networks on one device; see `child.trainer.Trainer`."""

    def __init__(self, task: NetworkTask, data: Any, device: torch.device) -> None:
        """Put the data on the device.

        Args:
            data: the search's part of them.
        """
        self._task = task
        self._data = data
        self._trainer = ChildTrainer(task.passes(data, device), measures=task.measures)

    def train(self, architecture: Any, seed: int, say: Callable[[str], None]) -> TrialResult:
        return self._trainer.train(
            partial(self._task.build, architecture, self._data),
            seed,
            learning_rate=self._task.learning_rate(architecture),
            report=partial(_tell, say, self._task.metric),
        )

    def test(
        self, architecture: Any, seed: int, test: Any, say: Callable[[str], None]
    ) -> TrainedChild:
        """Train a network as `train` does, and test it; see `ChildTrainer.test`."""
        return self._trainer.test(
            partial(self._task.build, architecture, self._data),
            seed,
            test,
            learning_rate=self._task.learning_rate(architecture),
            report=partial(_tell, say, self._task.metric),
        )


def _tell(say: Callable[[str], None], metric: Metric, epoch: EpochReport) -> None:
    say(
        f"epoch {epoch.epoch} of {epoch.num_epochs}: loss {epoch.loss:.4f}, {metric.name} "
        f"{metric.text(epoch.validation)}, {epoch.seconds:.1f} s"
    )
