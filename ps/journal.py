"""The append-only log of what a shard has accepted, synced in groups before anybody is told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from ps import points
from ps.disk import Buffer, Disk
from ps.epoch import Epoch
from ps.errors import DiskFailure, StateError
from ps.folder import Segment
from ps.line import Place, segment_record
from ps.record import Record, checksum, pack_header


class Group:
    """Records that are written and synced together, or not at all as far as anybody is told."""

    def __init__(self) -> None:
        self.pending: list[Buffer | Segment] = []  # a segment: go on in a new file
        self.has_writer = False
        self.failure: StateError | None = None
        # Held until the group is on disk: who waits for that takes it, and lets it go at once.
        self.is_waited_for = threading.Lock()
        self.is_waited_for.acquire()


class Journal:
    """What one life of a shard writes: segments, each of which names what came before it.

    Laws:
        Records are on disk in the order of `append`. `commit` returns when a record and all before
        it are synced and the epoch was then still this life's own. What is appended while others
        are being written shares one sync.
        Whoever appends must commit, for others may wait for him to.
        Once a write, a sync or the epoch has failed, every `commit` fails with the same error: what
        is in the file is unknown, and a second sync would not tell.

    Threads: `append`, `rotate` and `present` by one at a time; `commit` by many.
    """

    def __init__(
        self,
        disk: Disk,
        folder: Path,
        epoch: Epoch,
        identity: dict[str, object],
        predecessor: Place | None,
        on_synced: Callable[[float], None] = lambda _: None,
    ) -> None:
        """Begin the first segment of the life, and make that durable.

        Args:
            identity: what the folder belongs to; written at the begin of each segment.
            predecessor: where the life before it ended; None in a new folder.
            on_synced: is told how many seconds each sync took.

        Raises:
            DiskFailure, PastEpoch: see `ps.errors`.
        """
        self._disk = disk
        self._folder = folder
        self._epoch = epoch
        self._identity = identity
        self._on_synced = on_synced
        self._segment = Segment(epoch.number, 0)
        self._offset = 0  # of the segment, in bytes, with what is pending
        self._chain = 0 if predecessor is None else predecessor.chain
        # Guards which group is open, what is pending in it, and who writes it.
        self._swap_lock = threading.Lock()
        self._open = Group()  # takes what is appended
        self._last = self._open  # the newest that has records
        self._write_lock = threading.Lock()  # guards the file and the failure
        self._file = epoch.first_file
        self._failure: StateError | None = None
        self.commit(self.append(segment_record(identity, self._segment, predecessor)))

    @property
    def segment_bytes(self) -> int:
        """Length of the segment that is written now, with what is pending."""
        return self._offset

    @property
    def present(self) -> Group:
        """What to commit for all that was appended so far to be durable."""
        return self._last

    def append(self, record: Record, body_checksum: int | None = None) -> Group:
        """Queue a record, and give what to commit. The body must stay as it is until then."""
        if body_checksum is None:
            body_checksum = checksum(record.body)
        header, self._chain = pack_header(record, body_checksum, self._chain)
        self._offset += len(header) + len(record.body)
        with self._swap_lock:
            self._last = self._open
            self._open.pending += (header, record.body)
            return self._open

    def rotate(self) -> tuple[Segment, Group]:
        """Let what is appended from now on go to a new segment; give it, and what to commit."""
        place = Place(self._segment, self._offset, self._chain)
        self._segment = Segment(self._segment.epoch, self._segment.number + 1)
        self._offset = 0
        with self._swap_lock:
            self._open.pending.append(self._segment)
        return self._segment, self.append(segment_record(self._identity, self._segment, place))

    def commit(self, group: Group) -> None:
        """Return when everything in a group is durable.

        The first who comes writes and syncs it for all; the others wait.

        Raises:
            DiskFailure: it could not be written or synced; it may be on disk all the same.
            PastEpoch: a newer life has taken over, and may not have read it.
        """
        with self._swap_lock:
            is_writer = group is self._open and not group.has_writer
            if is_writer:
                group.has_writer = True
        if is_writer:
            with self._write_lock:
                self._write(group)
        with group.is_waited_for:
            pass
        if group.failure is not None:
            raise group.failure

    def close(self) -> None:
        """Close the file, once nobody commits any more."""
        self._disk.close(self._file)

    def _write(self, group: Group) -> None:
        """Write the open group, and open another."""
        with self._swap_lock:
            self._open = Group()
        # Until it is known to be on disk, it is not: whatever ends the writing.
        failure: StateError | None = self._failure or DiskFailure(
            f"{self._folder}: the journal's writer was stopped"
        )
        try:
            if self._failure is None:
                self._write_pending(group.pending)
                failure = None
        except StateError as error:
            failure = error
        except Exception as error:  # noqa: BLE001 (whoever waits must hear of it)
            failure = DiskFailure(f"{self._folder}: the journal cannot be written: {error}")
            failure.__cause__ = error
        finally:
            self._failure = group.failure = failure
            group.pending = []
            group.is_waited_for.release()

    def _write_pending(self, pending: list[Buffer | Segment]) -> None:
        buffers: list[Buffer] = []
        for item in pending:
            if isinstance(item, Segment):
                self._flush(buffers)
                buffers = []
                points.reached("journal rotated")
                before, self._file = self._file, self._disk.create(self._folder / item.file_name)
                self._disk.close(before)
                self._disk.sync_folder(self._folder)
            else:
                buffers.append(item)
        self._flush(buffers)
        self._epoch.check()

    def _flush(self, buffers: list[Buffer]) -> None:
        self._disk.write(self._file, buffers)
        points.reached("journal written")
        before = time.monotonic()
        self._disk.sync(self._file)
        self._on_synced(time.monotonic() - before)
        points.reached("journal synced")
