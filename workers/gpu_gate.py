"""Who may use a GPU now: several children side by side, or one alone."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class GpuGate:
    """Lets children of many processes on one GPU, or one child and nobody else.

    Two locks on files: all who come pass the first, one at a time, to get the second, together
    or alone. Whoever waits to be alone holds the first, so that nobody new gets in before.
    The system lets go of the locks of a process that dies.

    Threads: one at a time; every process has a gate of its own on the same folder.
    """

    def __init__(self, folder: Path) -> None:
        """Take part in the gate whose files are in the folder, which is made if need be."""
        folder.mkdir(parents=True, exist_ok=True)
        self._entrance = folder / "entrance"
        self._room = folder / "room"

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Use the GPU beside others; waits while somebody is alone there, or waits to be."""
        with _locked(self._entrance, fcntl.LOCK_EX) as entrance, _opened(self._room) as room:
            fcntl.flock(room, fcntl.LOCK_SH)
            fcntl.flock(entrance, fcntl.LOCK_UN)
            yield

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Use the GPU alone; waits until the others have left, and lets in nobody meanwhile."""
        with _locked(self._entrance, fcntl.LOCK_EX), _locked(self._room, fcntl.LOCK_EX):
            yield


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        yield file
    finally:
        os.close(file)  # which lets go of its lock


@contextmanager
def _locked(path: Path, kind: int) -> Iterator[int]:
    with _opened(path) as file:
        fcntl.flock(file, kind)
        yield file
