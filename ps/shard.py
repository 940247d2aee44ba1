"""One life of a shard: its store in memory, its journal and checkpoints on disk."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from ps import points
from ps.description import ShardDescription
from ps.disk import Disk
from ps.epoch import Epoch
from ps.errors import DiskFailure, RemoteFailure, ShardError, ShardUnavailable, StateError
from ps.journal import Group, Journal
from ps.kept_checkpoints import KeptCheckpoints
from ps.layout import FlatVector
from ps.metrics import ShardMetrics
from ps.plan import ShardPlan
from ps.push import Push, PushAnswer
from ps.record import Kind, Record, checksum
from ps.recovery import recover
from ps.remote_checkpoints import Patience, RemoteCheckpoints
from ps.storage import StorageSettings
from ps.store import Store

logger = logging.getLogger(__name__)

T = TypeVar("T")

# How often a life looks whether it is still the newest, however idle it is.
EPOCH_CHECK_S = 1.0


class Shard:
    """A store that keeps its promises.

    Laws:
        What a call has answered survives a crash at any instant (with a journal), and what it has
        shown does, too: no version is seen before it is durable.
        Once the state cannot be written, nothing is answered any more, and `on_end` is told why,
        once. So it is when a newer life has taken over, which this one sees when it next writes,
        or a second later; until then it pulls what was true, and its epoch says so. One that has
        taken over in another folder, by way of the URL, it sees when it next uploads.

    Threads: every method may be called from many. One lock guards the store and the order of the
    journal; it is not held while anything is written.
    """

    def __init__(
        self,
        plan: ShardPlan,
        storage: StorageSettings,
        folder: Path | None,
        *,
        metrics: ShardMetrics | None = None,
        on_end: Callable[[StateError], None] = lambda _: None,
        is_taking_over: bool = False,
        disk: Disk | None = None,
        search_id: str | None = None,
    ) -> None:
        """Begin a new life: fence older ones off, and go on from what they acknowledged.

        A store at checkpoint_url that cannot be reached is waited for, about two minutes.

        Args:
            folder: where the state is kept; not used with `durability: none`.
            is_taking_over: see `ps.epoch.Epoch.claim`.
            search_id: see `ps.remote_checkpoints.RemoteCheckpoints`.

        Raises:
            StateError: see there; the state is as it was.
        """
        self._plan = plan
        self._storage = storage
        self._metrics = metrics or ShardMetrics(plan.shard)
        self._on_end = on_end
        self._lock = threading.Lock()
        # Guarded by the lock: the store, the order of records, and these.
        self._failure: StateError | None = None
        self._is_end_told = False
        self._num_since_checkpoint = 0
        self._is_closed = False
        self._journal: Journal | None = None
        if storage.durability == "none":
            self._store = Store(plan)
            self._watch()
            return
        if folder is None:
            raise ValueError(f"durability={storage.durability!r}: a folder must be given")
        self._disk = disk or Disk()
        self._folder = folder
        self._identity = plan.identity | {"durability": storage.durability}
        self._checkpoint_lock = threading.Lock()  # one checkpoint at a time
        self._is_due = threading.Event()
        self._begin(is_taking_over, search_id)
        self._watch()
        self._keeper = threading.Thread(
            target=self._keep, name=f"shard-{plan.shard}-keeper", daemon=True
        )
        self._keeper.start()

    @property
    def is_initialized(self) -> bool:
        return self._store.is_initialized

    @property
    def version(self) -> int:
        """How many pushes are accepted; those still in flight may not be durable."""
        return self._store.version

    @property
    def epoch(self) -> int:
        """The number of this life, from 1; 0 where nothing is kept on disk."""
        return 0 if self._journal is None else self._epoch.number

    def initialize(self, layout_sha256: bytes, values_sha256: bytes, values: FlatVector) -> int:
        """Give the slice its first values, (P,) float32; returns the version when it is durable.

        Where checkpoints have a URL, there is one at it then.

        Repeats: the same again changes nothing.

        Raises:
            InvalidRequest, InitializedOtherwise, ShardUnavailable: see `ps.errors`.
        """
        self._store.check_values(layout_sha256, values_sha256, values)
        record = Record(Kind.INITIALIZE, values.tobytes())
        try:
            with self._lock:
                self._check_alive()
                if self._store.initialize(values_sha256, values) and self._journal is not None:
                    try:
                        self._journal.append(record)
                    except Exception as error:
                        self._failure = self._broken_off("Initialize", error)
                        raise self._failure from error
                version, group = self._store.version, self._present()
        except StateError as error:
            self._fail(error)
            raise self._ended(error) from error
        self._commit(group)
        if self._journal is not None and self._checkpoints.lacks_upload:
            self.checkpoint()
        return version

    def pull(
        self, read: Callable[[int, FlatVector], T], known_version: int | None = None
    ) -> T | None:
        """Read the values at exactly one version, when that is durable.

        Args:
            read: is given the version and a view of the values, (P,) float32, under the lock: it
                copies what it needs, and its result is returned.
            known_version: what the caller has; if it is the present one, None is returned.

        Raises:
            NotInitialized, ShardUnavailable: see `ps.errors`.
        """
        with self._lock:
            self._check_alive()
            values, version = self._store.values, self._store.version
            result = None if version == known_version else read(version, values)
            group = self._present()
        self._commit(group)
        return result

    def push(self, push: Push, read: Callable[[PushAnswer, int, FlatVector], T]) -> T:
        """Accept one gradient, at most once however often it is sent.

        Args:
            read: is given the answer, the present version and a view of the values at it, under
                the lock; what it returns is returned when the push is durable.

        Repeats: the replica's last push again gets its first answer, marked as repeated.

        Raises:
            NotInitialized, InvalidRequest, OutOfSequence, PastIncarnation, StalePush,
            ShardUnavailable: see `ps.errors`.
        """
        group = None
        try:
            self._store.check_gradient(push)
            body = push.gradient.data.cast("B")
            body_checksum = checksum(body) if self._is_recording else 0
            with self._lock:
                self._check_alive()
                answer = self._accept(push, body, body_checksum)
                points.reached("push queued")
                group = self._present()
                result = read(answer, self._store.version, self._store.values)
        except StateError as error:
            self._fail(error)
            raise self._ended(error) from error
        except ShardUnavailable:
            raise
        except ShardError as error:
            with self._lock:
                self._store.count_refused()
            self._metrics.refused(type(error).__name__)
            raise
        finally:
            # Also where no answer can be made: the push is accepted.
            self._commit(group)
        self._metrics.accepted(push.replica, answer)
        points.reached("push durable")
        return result

    def checkpoint(self) -> int:
        """Write a checkpoint now, and give its version when it has been read back, and uploaded.

        Raises:
            ShardUnavailable: it cannot be written, and the shard ends; or it cannot be uploaded.
        """
        if self._journal is None:
            raise ShardUnavailable(
                f"{self._plan.who} keeps nothing on disk (durability: none): no checkpoint"
            )
        try:
            version = self._checkpoint()
            self._checkpoints.upload()
        except RemoteFailure as error:
            raise ShardUnavailable(
                f"{self._plan.who} has its checkpoint on this node alone: {error}"
            ) from error
        except StateError as error:
            self._fail(error)
            raise self._ended(error) from error
        return version

    def describe(self) -> ShardDescription:
        """Give everything that can be said about the shard in a few numbers.

        Raises:
            ShardUnavailable: what it would say cannot be made durable.
        """
        with self._lock:
            self._check_alive()
            described, group = self._store.describe(), self._present()
        self._commit(group)
        return replace(
            described,
            epoch=self.epoch,
            durability=self._storage.durability,
            metrics_port=self._metrics.port,
        )

    def close(self) -> None:
        """Stop, once nobody calls any more; without a journal of pushes, write a last checkpoint.

        A repeat does nothing.
        """
        if self._journal is None:
            return
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
        self._is_due.set()
        self._keeper.join()
        try:
            if not self._is_recording and self._failure is None:
                if self._num_since_checkpoint:
                    self._checkpoint()
                self._checkpoints.upload()
        except RemoteFailure:
            logger.error("%s: its last checkpoint is on this node alone", self._plan.who)
        except StateError as error:
            self._fail(error)
        finally:
            self._checkpoints.close()
            try:
                self._journal.close()
            finally:
                self._epoch.release()

    @property
    def _is_recording(self) -> bool:
        return self._storage.durability == "journal"

    def _begin(self, is_taking_over: bool, search_id: str | None) -> None:
        before = time.monotonic()
        url, patience = self._storage.checkpoint_url, Patience()
        remote = uploaded = None
        if url is not None:
            reach = partial(RemoteCheckpoints, url, self._identity, search_id)
            remote = patience.insist(reach)
        self._epoch = patience.insist(
            partial(Epoch.claim, self._disk, self._folder, is_taking_over, remote)
        )
        try:
            if remote is not None:
                bring = partial(remote.bring_newest, self._disk, self._folder)
                uploaded = patience.insist(bring)
            found = recover(
                self._disk,
                self._folder,
                self._epoch.number,
                self._plan,
                self._identity,
                may_have_lost=not self._is_recording,
            )
            points.reached("state replayed")
            self._store = found.store
            self._num_since_checkpoint = found.num_replayed
            self._journal = Journal(
                self._disk,
                self._folder,
                self._epoch,
                self._identity,
                found.place,
                self._metrics.synced,
            )
            points.reached("journal begun")
            self._checkpoints = KeptCheckpoints(
                self._disk,
                self._folder,
                self._epoch,
                self._identity,
                found.checkpoint,
                remote,
                uploaded,
                self._metrics,
                self._fail,
            )
            if self._store.is_initialized and self._checkpoints.lacks_upload:
                self._is_due.set()
        except BaseException:
            self._disk.close(self._epoch.first_file)
            self._epoch.release()
            raise
        took_s = time.monotonic() - before
        self._metrics.recovered(took_s, self.epoch)
        logger.info(
            "%s, life %d: version %d, %d records replayed, %.2f s",
            self._plan.who,
            self.epoch,
            self._store.version,
            found.num_replayed,
            took_s,
        )

    def _accept(self, push: Push, body: memoryview, body_checksum: int) -> PushAnswer:
        """Apply a push and queue its record."""
        before = time.perf_counter()
        try:
            answer, change = self._store.push(push)
            if change is not None:
                self._write_down(push, change, body, body_checksum)
        except ShardError:
            raise
        except Exception as error:
            self._failure = self._broken_off(push.name, error)
            raise self._failure from error
        self._metrics.applied(time.perf_counter() - before)
        return answer

    def _broken_off(self, what: str, error: Exception) -> DiskFailure:
        """Say that memory may be ahead of the disk: only a new life knows what was accepted."""
        return DiskFailure(f"{self._plan.who}: {what} was broken off: {error!r}")

    def _write_down(self, push: Push, change: Kind, body: memoryview, body_checksum: int) -> None:
        self._num_since_checkpoint += 1
        if self._journal is None:
            return
        if self._is_recording:
            if change is Kind.FENCE:
                record = Record(change, replica=push.replica, incarnation=push.incarnation)
                self._journal.append(record)
            else:
                name = (push.replica, push.sequence, push.incarnation)
                record = Record(change, body, *name, push.base_version, push.sampled_at)
                self._journal.append(record, body_checksum)
        storage = self._storage
        if (
            self._num_since_checkpoint >= storage.checkpoint_pushes
            or self._journal.segment_bytes >= storage.checkpoint_journal_bytes
        ):
            self._is_due.set()

    def _watch(self) -> None:
        self._metrics.watch(lambda: self._store.version, self._segment_bytes)

    def _segment_bytes(self) -> int:
        return 0 if self._journal is None else self._journal.segment_bytes

    def _present(self) -> Group | None:
        return None if self._journal is None else self._journal.present

    def _commit(self, group: Group | None) -> None:
        if self._journal is None or group is None:
            return
        try:
            self._journal.commit(group)
        except StateError as error:
            self._fail(error)
            raise self._ended(error) from error

    def _check_alive(self) -> None:
        if self._failure is not None:
            raise self._ended(self._failure)

    def _ended(self, failure: StateError) -> ShardUnavailable:
        return ShardUnavailable(f"{self._plan.who} has ended: {failure}")

    def _fail(self, failure: StateError) -> None:
        with self._lock:
            self._failure = self._failure or failure
            if self._is_end_told:
                return
            self._is_end_told = True
            first = self._failure  # which may have been met elsewhere, and is the cause
        logger.error("%s ends: %s", self._plan.who, first)
        self._on_end(first)

    def _keep(self) -> None:
        """Write checkpoints when they are due, and otherwise look whether this life is over."""
        while True:
            is_due = self._is_due.wait(EPOCH_CHECK_S)
            if self._is_closed or self._failure is not None:
                return
            try:
                if is_due:
                    self._is_due.clear()
                    self._checkpoint()
                    self._checkpoints.upload_soon()
                else:
                    self._epoch.check()
            except StateError as error:
                self._fail(error)
            except Exception as error:
                logger.exception("%s: the checkpoint failed", self._plan.who)
                self._fail(DiskFailure(f"{self._folder}: the checkpoint failed: {error!r}"))

    def _checkpoint(self) -> int:
        assert self._journal is not None, "only a shard with a folder has checkpoints"
        with self._checkpoint_lock:
            before = time.monotonic()
            with self._lock:
                self._check_alive()
                state = self._store.state()
                segment, group = self._journal.rotate()
                self._num_since_checkpoint = 0
            self._journal.commit(group)
            self._checkpoints.write(segment, state)
            self._metrics.checkpointed(time.monotonic() - before)
            return state.numbers["version"]
