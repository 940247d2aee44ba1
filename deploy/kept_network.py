"""The trained network of a trial on disk: its weights, and what they did."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import safetensors
import safetensors.numpy

from child.weights import Weights
from controller.trial import Trial
from ps.disk import Disk


class KeptNetworkError(Exception):
    """A file of weights is not what it must be; the message names it."""


@dataclass(frozen=True)
class KeptNetwork:
    """The weights of a trial's network after its last epoch.

    validations: the figure after each epoch of the training that they came from.
    test: the figure of the test data that this network had; each is tested once.
    """

    trial: int
    architecture_sha256: str
    validations: tuple[float, ...]
    test: float
    weights: Weights

    def write(self, path: Path) -> None:
        """Write a safetensors file so that, after a power cut, too, it is whole or not there.

        The numbers are in its metadata, under the name nasrl.

        Raises:
            OSError: it cannot be written.
        """
        says = {
            "trial": self.trial,
            "architecture_sha256": self.architecture_sha256,
            "validations": self.validations,
            "test": self.test,
        }
        data = safetensors.numpy.save(self.weights, {"nasrl": json.dumps(says)})
        disk, beside = Disk(), path.with_name(f"{path.name}.tmp")
        if not path.parent.is_dir():
            path.parent.mkdir()
            disk.sync_folder(path.parent.parent)
        disk.delete(beside)
        file = disk.create(beside)
        try:
            beside.chmod(0o644)
            disk.write(file, [data])
            disk.sync(file)
        finally:
            disk.close(file)
        disk.rename(beside, path)
        disk.sync_folder(path.parent)

    @classmethod
    def find(cls, path: Path, trial: Trial) -> KeptNetwork | None:
        """Give the network of a trial from its file; None where there is none.

        Raises:
            KeptNetworkError: the file cannot be read, or is of another network.
        """
        try:
            with safetensors.safe_open(path, framework="numpy") as file:
                says = json.loads(file.metadata()["nasrl"])
                weights = {name: file.get_tensor(name) for name in file.offset_keys()}
            kept = cls(
                says["trial"],
                says["architecture_sha256"],
                tuple(says["validations"]),
                says["test"],
                weights,
            )
        except FileNotFoundError:
            return None
        except (OSError, safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
            raise KeptNetworkError(f"{path} cannot be read: {error}") from error
        if (kept.trial, kept.architecture_sha256) != (trial.trial, trial.architecture_sha256):
            raise KeptNetworkError(f"{path} holds another network than that of trial {trial.trial}")
        return kept
