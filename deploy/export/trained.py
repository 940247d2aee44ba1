"""The trained network of a trial: its weights as they were kept, or trained again."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from child.result import EpochReport
from child.training import ChildTrainer
from child.weights import Weights
from controller.trial import Trial
from deploy.export.errors import ExportError
from deploy.kept_network import KeptNetwork
from deploy.run import Run
from deploy.settings import NetworkSearchSettings
from deploy.weights_file import WeightsFileError


@dataclass(frozen=True)
class TrainedNetwork:
    """A network as its task builds it, with weights after the last epoch, on the CPU.

    validations: after each epoch of the training that the weights come from.
    test: of these weights, where they were tested.
    """

    network: nn.Module
    validations: tuple[float, ...]
    test: float | None


def trained_network(
    run: Run,
    row: Trial,
    settings: NetworkSearchSettings,
    architecture: Any,
    data: Any,
    say: Callable[[str], None],
) -> TrainedNetwork:
    """Give the network of a completed trial; it is trained in this process if it was not kept.

    Nothing is tested.

    Args:
        architecture: of the row.
        data: the search's part of what its settings load.
        say: told what takes time, and what is not as it should be.

    Raises:
        ExportError: it cannot be trained again.
    """
    task = settings.task
    try:
        kept = KeptNetwork.find(run.network_path(row.trial), row)
        why = f"the weights of trial {row.trial} were not kept (a search keeps those it tests)"
    except WeightsFileError as error:
        kept, why = None, str(error)
    if kept is not None:
        network = loaded(task.build(architecture, data), kept.weights)
        return TrainedNetwork(network, kept.validations, kept.test)
    assert row.seed is not None, "a trial that was trained has a seed"
    # As it was trained there, so that its figures repeat.
    is_on_gpu = settings.children.num_gpus > 0 and torch.cuda.is_available()
    device = torch.device("cuda" if is_on_gpu else "cpu")
    say(
        f"{why}: training it again on {device.type}; in the search that took "
        f"{row.seconds or 0:.1f} s"
    )
    _prepare_to_repeat(settings)

    def report(epoch: EpochReport) -> None:
        text = task.metric.text(epoch.validation)
        say(f"epoch {epoch.epoch} of {epoch.num_epochs}: {task.metric.name} {text}")

    try:
        child = ChildTrainer(task.passes(data, device)).train_and_keep(
            lambda: task.build(architecture, data),
            row.seed,
            learning_rate=task.learning_rate(architecture),
            report=report,
        )
    except ValueError as error:
        raise ExportError(f"trial {row.trial} cannot be trained again: {error}") from error
    network = loaded(task.build(architecture, data), child.weights)
    return TrainedNetwork(network, child.result.validations, None)


def _prepare_to_repeat(settings: NetworkSearchSettings) -> None:
    """Set up this process as that of a child worker was."""
    torch.set_num_threads(max(1, int(settings.children.num_cpus)))
    if settings.training.is_deterministic:
        # Read by CUDA's library of matrix products when it begins.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def loaded(network: nn.Module, weights: Weights) -> nn.Module:
    """Give a network its weights, and make it ready to be asked."""
    network.load_state_dict({name: torch.tensor(values) for name, values in weights.items()})
    return network.eval()
