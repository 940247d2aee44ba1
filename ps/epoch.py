"""Which life of a shard owns its folder: proved by storage, and not by clocks."""

from __future__ import annotations

import fcntl
import logging
import os
from contextlib import suppress
from pathlib import Path

from ps import points
from ps.disk import Disk
from ps.errors import DiskFailure, PastEpoch, StateInUse
from ps.folder import EPOCH_FILE, LOCK_FILE, TEMPORARY_SUFFIX, Segment
from ps.record import checksum
from ps.remote_checkpoints import RemoteCheckpoints

logger = logging.getLogger(__name__)


class Epoch:
    """The number of one life of a shard, and its claim to the folder.

    Laws:
        Every life has a number of its own, higher than all before it: it is claimed by making the
        first journal file of that number, which one process alone can do. Lives that share a URL
        and no folder have numbers of their own by `RemoteCheckpoints`.
        A new life writes its number into EPOCH, durably, and only then reads the state of older
        lives. An older life reads EPOCH between syncing a push and answering it, so that it
        answers nothing whose record the new life may not have read.
        A lock on the folder keeps two processes of one host apart sooner and with a better
        message; nothing depends on it.

    Threads: `check` may be called from many.
    """

    def __init__(self, disk: Disk, folder: Path, number: int, file: int, lock: int | None) -> None:
        """Use `claim`."""
        self.number = number
        self.first_file = file  # the descriptor of the first journal file of this life, empty
        self._disk = disk
        self._folder = folder
        self._lock = lock
        self._path = folder / EPOCH_FILE
        self._content = _content(number)

    @classmethod
    def claim(
        cls,
        disk: Disk,
        folder: Path,
        is_taking_over: bool = False,
        remote: RemoteCheckpoints | None = None,
    ) -> Epoch:
        """Begin a new life of the shard in this folder, which is made if it is not there.

        Args:
            is_taking_over: do not stop at the lock of another process of this host, which may be
                frozen; it is fenced off all the same. The lock is taken where it is free.
            remote: where the number is claimed, too.

        Raises:
            RemoteFailure: it cannot be claimed there.
            StateInUse: another process of this host holds the folder.
            PastEpoch: a newer life began at the same moment.
            DiskFailure: the folder cannot be written.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for parent in folder.parents:
                # What others may not open was there before.
                with suppress(PermissionError):
                    disk.sync_folder(parent)
            lock = _lock(folder, is_taking_over)
            file = None
            try:
                number, file = _claim_number(disk, folder, remote)
                points.reached("epoch claimed")
                epoch = cls(disk, folder, number, file, lock)
                epoch._fence()
                points.reached("epoch written")
            except BaseException:
                if file is not None:
                    disk.close(file)
                if lock is not None:
                    os.close(lock)
                raise
        except OSError as error:
            raise DiskFailure(f"{folder}: the shard cannot begin: {error}") from error
        return epoch

    def check(self) -> None:
        """Return if this life still owns the folder.

        Raises:
            PastEpoch: a newer life has taken over.
            DiskFailure: EPOCH cannot be read.
        """
        try:
            content = self._disk.read_short(self._path)
        except OSError as error:
            raise DiskFailure(f"{self._path} cannot be read: {error}") from error
        if content != self._content:
            raise PastEpoch(
                f"{self._path} says {content!r}: must be {self._content!r}, this life of the "
                "shard; another has taken over, and this one ends"
            )

    def release(self) -> None:
        """Let the next life of this host begin. Close the journal first."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _fence(self) -> None:
        before = _read(self._disk, self._folder) or 0
        if before > self.number:
            raise self._overtaken(before)
        beside = self._folder / f"{EPOCH_FILE}-{self.number}{TEMPORARY_SUFFIX}"
        self._disk.delete(beside)
        file = self._disk.create(beside)
        try:
            self._disk.write(file, [self._content])
            self._disk.sync(file)
        finally:
            self._disk.close(file)
        self._disk.rename(beside, self._path)
        self._disk.sync_folder(self._folder)
        # Between the reading and the renaming above a newer life may have written its number. It
        # finds ours in its place when it next checks, and ends; here is how we find out.
        newest = max(segment.epoch for segment in _segments(self._disk, self._folder))
        if newest > self.number:
            raise self._overtaken(newest)

    def _overtaken(self, newest: int) -> PastEpoch:
        return PastEpoch(
            f"{self._folder}: life {newest} of the shard began while life {self.number} did; "
            "two are being started at the same time"
        )


def _claim_number(disk: Disk, folder: Path, remote: RemoteCheckpoints | None) -> tuple[int, int]:
    known = [segment.epoch for segment in _segments(disk, folder)]
    number = max([*known, _read(disk, folder) or 0, 0 if remote is None else remote.newest_life()])
    while True:
        number += 1
        try:
            file = disk.create(folder / Segment(number, 0).file_name)
        except FileExistsError:
            continue
        try:
            if remote is None or remote.claim(number):
                disk.sync_folder(folder)
                return number, file
        except BaseException:
            disk.close(file)
            raise
        # Another life has the number, on another node: ours stays an empty file, as after a crash.
        disk.close(file)


def _segments(disk: Disk, folder: Path) -> list[Segment]:
    return [segment for name in disk.names(folder) if (segment := Segment.parse(name))]


def _content(number: int) -> bytes:
    text = str(number).encode()
    return b"%s %08x\n" % (text, checksum(text))


def _read(disk: Disk, folder: Path) -> int | None:
    """Give the number in EPOCH, or None where there is none that can be read."""
    try:
        content = disk.read_short(folder / EPOCH_FILE)
    except FileNotFoundError:
        return None
    text = content.partition(b" ")[0]
    if not text.isdigit() or content != _content(int(text)):
        # The journal files say which numbers were taken, so nothing is lost by it.
        logger.warning("%s holds %r, which no shard wrote", folder / EPOCH_FILE, content)
        return None
    return int(text)


def _lock(folder: Path, is_taking_over: bool) -> int | None:
    lock = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.pread(lock, 32, 0).decode(errors="replace").strip() or "unknown"
        os.close(lock)
        if is_taking_over:
            logger.warning("%s is held by process %s: it is fenced off", folder, holder)
            return None
        raise StateInUse(
            f"{folder} is held by process {holder} of this host: must be free; end that process "
            "first, with kill -9 if it is frozen"
        ) from error
    except OSError as error:
        os.close(lock)
        logger.info("%s cannot be locked (%s); the epoch alone fences", folder, error)
        return None
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    return lock
