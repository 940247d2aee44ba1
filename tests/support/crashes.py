"""A disk at whose n-th operation the process ends."""

from __future__ import annotations

from support.disks import FailingDisk, Operation, PowerCut


class StoppingDisk(FailingDisk):
    """Raises PowerCut at the n-th operation, counted from 1, and at every later one.

    What was done before is on the disk, synced or not, as when a process is killed.
    """

    def __init__(self, n: int) -> None:
        super().__init__(n, is_lasting=True)

    def _pass(self, operation: Operation, target: object) -> None:
        try:
            super()._pass(operation, target)
        except OSError as error:
            raise PowerCut from error
