"""The two newest checkpoints of a shard, in its folder and, where it has one, at its URL."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from ps import points
from ps.checkpoint import write_checkpoint
from ps.disk import Disk
from ps.epoch import Epoch
from ps.errors import DiskFailure, RemoteFailure, StateError
from ps.folder import TEMPORARY_SUFFIX, CheckpointName, Segment
from ps.metrics import ShardMetrics
from ps.remote_checkpoints import RemoteCheckpoints
from ps.state import StoreState

logger = logging.getLogger(__name__)


class KeptCheckpoints:
    """What one life of a shard keeps of its checkpoints.

    An upload that fails costs a warning, and is tried again with the next checkpoint.

    Threads: `write` by one at a time; the others by many. Uploads have a thread of their own, so
    that a slow store holds nobody up who does not wait for it.
    """

    def __init__(
        self,
        disk: Disk,
        folder: Path,
        epoch: Epoch,
        identity: Mapping[str, object],
        found: CheckpointName | None,
        remote: RemoteCheckpoints | None,
        uploaded: CheckpointName | None,
        metrics: ShardMetrics,
        on_end: Callable[[StateError], None],
    ) -> None:
        """Begin with what the life before has left.

        Args:
            found: the checkpoint that this life has begun from, if any.
            uploaded: the newest that is at the URL; its bytes were seen to be whole.
            on_end: is told what ends the life, if an upload meets it that nobody waits for.
        """
        self._disk = disk
        self._folder = folder
        self._epoch = epoch
        self._identity = identity
        self._remote = remote
        self._metrics = metrics
        self._on_end = on_end
        self._names = [] if found is None else [found]
        self._lock = threading.Lock()  # guards which upload is the next
        self._next: Future[None] | None = None
        self._threads = ThreadPoolExecutor(1, "checkpoint-upload")
        self._lacks_upload = remote is not None and uploaded is None
        self._uploaded = uploaded
        self.upload_soon()

    @property
    def lacks_upload(self) -> bool:
        """Whether there is a URL, and no checkpoint of the shard at it yet."""
        return self._lacks_upload

    def write(self, segment: Segment, state: StoreState) -> None:
        """Write the state at the begin of a segment, and remove what is no longer needed.

        Raises:
            DiskFailure, PastEpoch: see `ps.errors`.
        """
        name = write_checkpoint(self._disk, self._folder, segment, self._identity, state)
        self._epoch.check()
        self._names = [*self._names[-1:], name]
        self._cut()

    def upload_soon(self) -> Future[None]:
        """Have the newest checkpoint uploaded, if there is a URL and it is not there."""
        with self._lock:
            waiting = self._next
            if waiting is None or waiting.running() or waiting.done():
                waiting = self._next = self._threads.submit(self._upload)
            return waiting

    def upload(self) -> None:
        """Return when the newest checkpoint is at the URL, where there is one.

        Raises:
            RemoteFailure, PastEpoch: see `RemoteCheckpoints.upload`.
        """
        if self._remote is not None:
            self.upload_soon().result()

    def close(self) -> None:
        """Wait for the upload under way, and begin no other."""
        self._threads.shutdown(cancel_futures=True)

    def _upload(self) -> None:
        if self._remote is None:
            return
        before = time.monotonic()
        try:
            while self._names and self._uploaded != (name := self._names[-1]):
                try:
                    with self._disk.open(self._folder / name.file_name) as file:
                        data = file.read()
                except OSError as error:
                    if name == self._names[-1]:
                        raise RemoteFailure(f"{name.file_name} cannot be read: {error}") from error
                    continue  # two newer ones have been written meanwhile
                self._remote.upload(self._epoch.number, name, data)
                self._uploaded, self._lacks_upload = name, False
                self._metrics.uploaded(time.monotonic() - before)
        except RemoteFailure as error:
            self._metrics.failed_to_upload()
            logger.warning("%s; it is tried again with the next checkpoint", error)
            raise
        except StateError as error:
            self._on_end(error)
            raise

    def _cut(self) -> None:
        """Remove what is older than the checkpoint before the newest."""
        if len(self._names) < 2:
            return
        oldest = self._names[0].segment
        try:
            for name in self._disk.names(self._folder):
                segment = Segment.parse(name)
                checkpoint = CheckpointName.parse(name.removesuffix(TEMPORARY_SUFFIX))
                if (segment is not None and segment < oldest) or (
                    checkpoint is not None and checkpoint.segment < oldest
                ):
                    self._disk.delete(self._folder / name)
                    points.reached("journal being cut")
            self._disk.sync_folder(self._folder)
        except OSError as error:
            raise DiskFailure(f"{self._folder}: the journal cannot be cut: {error}") from error
        points.reached("journal cut")
