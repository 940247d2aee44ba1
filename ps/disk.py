"""What a shard asks of a file system."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

Buffer = bytes | memoryview

_MAX_BUFFERS = 512  # a writev takes 1024 at the most
_MAX_CALL_BYTES = 1 << 30  # and somewhat less than 2 GiB


class Disk:
    """File operations, each of which says when it is durable.

    A test puts another in its place that forgets, at a crash, what was not synced.

    Threads: may be called from many.
    """

    def create(self, path: Path) -> int:
        """Make a new file to append to, and give its descriptor.

        Not durable until the file and its folder are synced.

        Raises:
            FileExistsError: it is there already; of several who try, one succeeds.
        """
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o600)

    def write(self, file: int, buffers: Sequence[Buffer]) -> None:
        """Append all bytes of all buffers. Not durable until the file is synced."""
        waiting = [memoryview(buffer).cast("B") for buffer in buffers if len(buffer)]
        while waiting:
            written = os.writev(file, _a_call_full(waiting))
            while waiting and written >= len(waiting[0]):
                written -= len(waiting.pop(0))
            if written:
                waiting[0] = waiting[0][written:]

    def sync(self, file: int) -> None:
        """Make what was written to the file durable."""
        os.fdatasync(file)

    def close(self, file: int) -> None:
        """Close a descriptor."""
        os.close(file)

    def rename(self, path: Path, to: Path) -> None:
        """Put a file in the place of another, at once. Durable when the folder is synced."""
        path.replace(to)

    def delete(self, path: Path) -> None:
        """Remove a file, if it is there. Durable when the folder is synced."""
        path.unlink(missing_ok=True)

    def sync_folder(self, folder: Path) -> None:
        """Make what was created, renamed and deleted in a folder durable."""
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def settle(self, path: Path) -> None:
        """Make what others wrote to a file durable, and have the disk's own bytes read from now on.

        Linux counts what a failed sync could not write as written: it stays in memory to be read,
        and no later sync writes it. Forgetting what is in memory shows what the disk has.
        """
        file = os.open(path, os.O_RDONLY)
        try:
            os.fdatasync(file)
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(file)

    def open(self, path: Path) -> BinaryIO:
        """Open a file to read it."""
        return path.open("rb")

    def read_short(self, path: Path) -> bytes:
        """Give the content of a file of at most 4 KiB, as it is now."""
        file = os.open(path, os.O_RDONLY)
        try:
            return os.read(file, 4096)
        finally:
            os.close(file)

    def names(self, folder: Path) -> list[str]:
        """Give the names of the files in a folder, sorted."""
        return sorted(os.listdir(folder))  # noqa: PTH208 (names are what is wanted)


def _a_call_full(buffers: Sequence[memoryview]) -> list[memoryview]:
    """Give the first buffers, as many as one call takes."""
    taken, room = [], _MAX_CALL_BYTES
    for buffer in buffers[:_MAX_BUFFERS]:
        if room <= 0:
            break
        taken.append(buffer[:room])
        room -= len(buffer)
    return taken
