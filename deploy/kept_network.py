"""The trained network of a trial on disk: its weights, and what they did."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from child.weights import Weights
from controller.trial import Trial
from deploy.weights_file import WeightsFileError, read_weights, write_weights


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
        """Write it so that, after a power cut, too, it is whole or not there.

        Raises:
            OSError: it cannot be written.
        """
        says = {
            "trial": self.trial,
            "architecture_sha256": self.architecture_sha256,
            "validations": self.validations,
            "test": self.test,
        }
        write_weights(path, self.weights, says)

    @classmethod
    def find(cls, path: Path, trial: Trial) -> KeptNetwork | None:
        """Give the network of a trial from its file; None where there is none.

        Raises:
            WeightsFileError: the file cannot be read, or is of another network.
        """
        found = read_weights(path)
        if found is None:
            return None
        weights, says = found
        try:
            kept = cls(
                says["trial"],
                says["architecture_sha256"],
                tuple(says["validations"]),
                says["test"],
                weights,
            )
        except (KeyError, TypeError) as error:
            raise WeightsFileError(f"{path} cannot be read: {error}") from error
        if (kept.trial, kept.architecture_sha256) != (trial.trial, trial.architecture_sha256):
            raise WeightsFileError(f"{path} holds another network than that of trial {trial.trial}")
        return kept
