"""Disks that lose what was not synced, and disks that fail."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random
from typing import BinaryIO, Literal

from ps.disk import Buffer, Disk


class HastyDisk(Disk):
    """Syncs nothing: for tests in which no power is cut, which would wait for real disks."""

    def sync(self, file: int) -> None:
        pass

    def sync_folder(self, folder: Path) -> None:
        pass

    def settle(self, path: Path) -> None:
        pass


class UnwrittenDisk(HastyDisk):
    """A disk whose next sync fails when a test says so: what was not synced then never reaches it.

    It can be read all the same, and later syncs succeed, until the file is settled: so does Linux,
    for as long as it keeps the file in memory.
    """

    def __init__(self) -> None:
        self.is_failing = False
        self._synced: dict[tuple[int, int], int] = {}  # bytes of each file on disk
        self._unwritten: set[tuple[int, int]] = set()

    def sync(self, file: int) -> None:
        status = os.fstat(file)
        if self.is_failing:
            self.is_failing = False
            self._unwritten.add(_inode(status))
            raise OSError(errno.EIO, "injected")
        if _inode(status) not in self._unwritten:
            self._synced[_inode(status)] = status.st_size

    def settle(self, path: Path) -> None:
        if _inode(path.stat()) in self._unwritten:
            os.truncate(path, self._synced[_inode(path.stat())])


class PowerCut(BaseException):
    """The machine has stopped. No code may catch this and go on."""


class _Stored:
    """One file, under whatever name: its bytes, and how many of them are synced."""

    def __init__(self, content: bytes = b"") -> None:
        self.content = bytearray(content)
        self.num_synced = len(content)


# A name appeared in a folder (what it stands for, and the name it had before), or went away.
_Change = tuple[str, _Stored | None, str | None]


class UnsyncedDisk(Disk):
    """A real folder, of which a power cut keeps what was synced, and any part of the rest.

    It knows of every file which bytes were synced, and of every folder which names were. A folder
    counts as one more name in the folder around it. Nothing is really synced, so that it is fast.

    Threads: may be called from many.
    """

    def __init__(self, root: Path) -> None:
        """Take note of a folder: what is in it by now is synced."""
        self.root = root
        self._lock = threading.Lock()  # guards all below
        self._is_stopped = False
        self._descriptors: set[int] = set()
        self._inodes: dict[tuple[int, int], _Stored] = {}
        self._present: dict[Path, dict[str, _Stored]] = {}
        self._synced: dict[Path, dict[str, _Stored]] = {}
        self._changes: dict[Path, list[_Change]] = {}
        self._known_folders = {root}
        for folder, folders, names in os.walk(root):
            self._known_folders |= {Path(folder) / name for name in folders}
            for name in names:
                path = Path(folder) / name
                stored = _Stored(path.read_bytes())
                self._inodes[_inode(path.stat())] = stored
                self._present.setdefault(Path(folder), {})[name] = stored
        self._synced = {folder: dict(names) for folder, names in self._present.items()}

    @property
    def is_stopped(self) -> bool:
        return self._is_stopped

    def stop(self) -> None:
        """Cut the power: from now on every operation raises PowerCut and does nothing."""
        with self._lock:
            self._is_stopped = True

    def resume(self) -> None:
        """Go on as after the death of a process alone: what was written and not synced is there."""
        with self._lock:
            self._is_stopped = False

    def crash(self, into: Path, keep: Literal["nothing", "everything"] | Random) -> Path:
        """Write into a new folder what may be found after the power was cut at this instant.

        Args:
            keep: of what was not synced. A random number generator keeps a prefix of the bytes of
                each file and any of the changes of each folder.
        """
        self.stop()
        into.mkdir()
        with self._lock:
            for folder in sorted(self._known_folders):
                (into / folder.relative_to(self.root)).mkdir(parents=True, exist_ok=True)
            for folder in {*self._present, *self._synced}:
                if not self._is_reachable(folder, keep):
                    continue
                for name, stored in self._names_after(folder, keep).items():
                    end = _length_after(stored, keep)
                    path = into / folder.relative_to(self.root) / name
                    path.write_bytes(stored.content[:end])
        return into

    def close_all(self) -> None:
        """Close the descriptors that those who were stopped have left open."""
        with self._lock:
            while self._descriptors:
                with suppress(OSError):
                    os.close(self._descriptors.pop())

    def create(self, path: Path) -> int:
        with self._running():
            file = super().create(path)
            self._descriptors.add(file)
            stored = self._inodes[_inode(os.fstat(file))] = _Stored()
            self._present.setdefault(path.parent, {})[path.name] = stored
            self._changes.setdefault(path.parent, []).append((path.name, stored, None))
            return file

    def write(self, file: int, buffers: Sequence[Buffer]) -> None:
        with self._running():
            super().write(file, buffers)
            self._inodes[_inode(os.fstat(file))].content += b"".join(buffers)

    def sync(self, file: int) -> None:
        with self._running():
            # Whichever descriptor of a file is synced, all that was written to it is.
            stored = self._inodes[_inode(os.fstat(file))]
            stored.num_synced = len(stored.content)

    def settle(self, path: Path) -> None:
        with self._running():
            stored = self._inodes[_inode(path.stat())]
            stored.num_synced = len(stored.content)

    def close(self, file: int) -> None:
        with self._lock:
            self._descriptors.discard(file)
            super().close(file)

    def rename(self, path: Path, to: Path) -> None:
        with self._running():
            super().rename(path, to)
            stored = self._present[path.parent].pop(path.name)
            self._present[to.parent][to.name] = stored
            assert path.parent == to.parent, "a change of one folder is lost or kept as a whole"
            self._changes.setdefault(to.parent, []).append((to.name, stored, path.name))

    def delete(self, path: Path) -> None:
        with self._running():
            super().delete(path)
            if self._present.get(path.parent, {}).pop(path.name, None) is not None:
                self._changes.setdefault(path.parent, []).append((path.name, None, None))

    def sync_folder(self, folder: Path) -> None:
        with self._running():
            if not folder.is_relative_to(self.root):
                return  # what lies around the disk is durable
            self._synced[folder] = dict(self._present.get(folder, {}))
            self._changes[folder] = []
            self._known_folders |= {path for path in folder.iterdir() if path.is_dir()}

    def open(self, path: Path) -> BinaryIO:
        with self._running():
            return super().open(path)

    def read_short(self, path: Path) -> bytes:
        with self._running():
            return super().read_short(path)

    def names(self, folder: Path) -> list[str]:
        with self._running():
            return super().names(folder)

    @contextmanager
    def _running(self) -> Iterator[None]:
        with self._lock:
            if self._is_stopped:
                raise PowerCut
            yield

    def _is_reachable(self, folder: Path, keep: object) -> bool:
        """Tell whether the folder itself is still there: every name on the way to it is."""
        if keep == "everything":
            return True
        way = [folder, *folder.parents]
        return all(each in self._known_folders for each in way[: way.index(self.root)])

    def _names_after(
        self, folder: Path, keep: Literal["nothing", "everything"] | Random
    ) -> dict[str, _Stored]:
        if keep == "everything":
            return self._present.get(folder, {})
        names = dict(self._synced.get(folder, {}))
        if isinstance(keep, Random):
            for name, stored, before in self._changes.get(folder, []):
                if keep.random() < 0.5:
                    continue
                if stored is None:
                    names.pop(name, None)
                    continue
                if before is not None:
                    names.pop(before, None)
                names[name] = stored
        return names


Operation = Literal["create", "write", "sync", "rename", "delete", "sync_folder", "open"]

_ERRORS: dict[str, int] = {
    "create": errno.ENOSPC,
    "write": errno.ENOSPC,
    "sync": errno.EIO,
    "rename": errno.EIO,
    "delete": errno.EIO,
    "sync_folder": errno.EIO,
    "open": errno.EIO,
}


class FailingDisk(HastyDisk):
    """Fails the n-th operation, of one kind or of all, counted from 1; all others succeed.

    A write that fails has written half of its bytes; every other operation has done nothing. A test
    raises n until `fired` stays False: then each has failed once. A test that never looks at
    `fired` has proved nothing.

    Threads: may be called from many.
    """

    def __init__(self, n: int, kind: Operation | None = None, is_lasting: bool = False) -> None:
        """Fail operation n of a kind, or of all kinds together.

        Args:
            is_lasting: fail all later ones of the kind as well, as a full disk does.
        """
        if n < 1:
            raise ValueError(f"n={n}: operations count from 1")
        self.n = n
        self.kind = kind
        self.is_lasting = is_lasting
        self.fired: str | None = None  # which operation failed, and on what
        self.num_operations = 0
        self._lock = threading.Lock()  # guards the two above

    def create(self, path: Path) -> int:
        self._pass("create", path)
        return super().create(path)

    def write(self, file: int, buffers: Sequence[Buffer]) -> None:
        try:
            self._pass("write", file)
        except OSError:
            data = b"".join(buffers)
            super().write(file, [data[: len(data) // 2]])
            raise
        super().write(file, buffers)

    def sync(self, file: int) -> None:
        self._pass("sync", file)
        super().sync(file)

    def rename(self, path: Path, to: Path) -> None:
        self._pass("rename", path)
        super().rename(path, to)

    def delete(self, path: Path) -> None:
        self._pass("delete", path)
        super().delete(path)

    def sync_folder(self, folder: Path) -> None:
        self._pass("sync_folder", folder)
        super().sync_folder(folder)

    def settle(self, path: Path) -> None:
        self._pass("sync", path)

    def open(self, path: Path) -> BinaryIO:
        self._pass("open", path)
        return super().open(path)

    def read_short(self, path: Path) -> bytes:
        self._pass("open", path)
        return super().read_short(path)

    def _pass(self, operation: Operation, target: object) -> None:
        if self.kind not in (None, operation):
            return
        with self._lock:
            self.num_operations += 1
            is_due = self.num_operations == self.n
            if not is_due and not (self.is_lasting and self.num_operations > self.n):
                return
            self.fired = self.fired or f"{operation} {self.num_operations} on {target}"
        code = _ERRORS[operation]
        raise OSError(code, f"{os.strerror(code)} (injected)")


def _inode(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _length_after(stored: _Stored, keep: Literal["nothing", "everything"] | Random) -> int:
    if keep == "everything":
        return len(stored.content)
    if isinstance(keep, Random):
        return keep.randint(stored.num_synced, len(stored.content))
    return stored.num_synced
