"""The network of a final training on disk, and where its training goes on from before that."""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import asdict, dataclass

from child.final_result import FinalResult
from child.weights import Weights
from controller.retraining import Training
from deploy.durable_file import make_durably, write_durably
from deploy.run import Run
from deploy.weights_file import WeightsFileError, read_weights, write_weights
from ps.disk import Disk

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FinalNetwork:
    """The weights of a network that was trained to its end, as they were tested."""

    result: FinalResult
    weights: Weights

    def keep(self, run: Run, training: Training) -> FinalNetwork:
        """Keep them, if none of this training are kept yet; give those that are.

        Another process may have trained the same, on hardware that does not repeat itself: the
        figure that is recorded is that of the weights that are kept.

        Raises:
            OSError: they cannot be written.
        """
        path = run.final_network_path(training.sha256)
        says = {"training": training.sha256, "result": asdict(self.result)}
        try:
            write_weights(path, self.weights, says, is_new=True)
        except FileExistsError:
            with suppress(WeightsFileError):
                if (kept := FinalNetwork.find(run, training.sha256)) is not None:
                    return kept
            write_weights(path, self.weights, says)  # in place of what is none
        return self

    @classmethod
    def find(cls, run: Run, sha256: str) -> FinalNetwork | None:
        """Give the network of the training of that name; None where it was not kept.

        Raises:
            WeightsFileError: the file cannot be read, or is of another training.
        """
        path = run.final_network_path(sha256)
        found = read_weights(path)
        if found is None:
            return None
        weights, says = found
        try:
            name, fields = says["training"], says["result"]
            result = FinalResult(**fields | {"losses": tuple(fields["losses"])})
        except (KeyError, TypeError) as error:
            raise WeightsFileError(f"{path} cannot be read: {error}") from error
        if name != sha256:
            raise WeightsFileError(f"{path} holds the network of another training, {name}")
        return cls(result, weights)


class SnapshotFile:
    """What a final training goes on from, in a file until it has ended."""

    def __init__(self, run: Run, sha256: str) -> None:
        self._path = run.final_network_path(sha256).with_suffix(".snapshot")

    def write(self, snapshot: bytes) -> None:
        """Take the place of the one before, as a whole.

        Raises:
            OSError: it cannot be written; the one before is there.
        """
        disk = Disk()
        make_durably(disk, self._path.parent)
        write_durably(disk, self._path, snapshot)

    def read(self) -> bytes | None:
        """Give the last one; None where there is none, or none that can be read."""
        try:
            return self._path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            logger.warning("%s cannot be read: %s; the training begins anew", self._path, error)
            return None

    def delete(self) -> None:
        """Remove it, where there is one."""
        self._path.unlink(missing_ok=True)
