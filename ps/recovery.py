"""What older lives of a shard left on disk becomes a store again."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ps.checkpoint import read_checkpoint
from ps.disk import Disk
from ps.errors import CorruptState, DiskFailure, ShardError
from ps.folder import CheckpointName, Segment
from ps.layout import FlatVector
from ps.line import Head, Place, check_identity, newest_head, read_head, read_segment
from ps.plan import ShardPlan
from ps.push import Push
from ps.record import Kind, Record
from ps.state import StoreState
from ps.store import Store

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recovered:
    """A store as it was acknowledged last.

    place: behind the last record that is in it; None if nothing was ever written.
    checkpoint: what it was begun from, None if that was the begin of the journal.
    num_replayed: records since then.
    """

    store: Store
    place: Place | None
    checkpoint: CheckpointName | None
    num_replayed: int


def recover(
    disk: Disk,
    folder: Path,
    epoch: int,
    plan: ShardPlan,
    identity: Mapping[str, Any],
    may_have_lost: bool = False,
) -> Recovered:
    """Read the state of all lives before this one: the newest checkpoint, then the journal.

    A life names in the first record of its journal where the life before it ended, so the line is
    followed backwards from the newest segment to the first checkpoint that can be read; whatever is
    not on the line was told to nobody. The last record of the line may be torn, and is left out.

    Args:
        epoch: of this life; its own files are left out.
        identity: what the state must belong to.
        may_have_lost: see `ps.store.Store`.

    Raises:
        CorruptState: a file does not hold what was written to it; names file and offset.
        StateMismatch: it is the state of another shard, layout or settings.
        DiskFailure: a file cannot be read.
    """
    try:
        return _recover(disk, folder, epoch, plan, identity, may_have_lost)
    except OSError as error:
        raise DiskFailure(f"{folder}: the state cannot be read: {error}") from error


def _recover(
    disk: Disk,
    folder: Path,
    epoch: int,
    plan: ShardPlan,
    identity: Mapping[str, Any],
    may_have_lost: bool,
) -> Recovered:
    names = disk.names(folder)
    segments = [s for name in names if (s := Segment.parse(name)) and s.epoch < epoch]
    checkpoints = [c for name in names if (c := CheckpointName.parse(name))]
    head = newest_head(disk, folder, segments)
    if head is None:
        if checkpoints:
            path = folder / checkpoints[-1].file_name
            raise CorruptState(path, 0, "the journal that the checkpoint is of is gone")
        return Recovered(Store(plan), None, None, 0)
    check_identity(head.identity, identity, folder / head.segment.file_name)
    line, checkpoint, state = _follow(disk, folder, head, checkpoints, identity)
    # A killed process leaves behind what it had written and not synced, a failing disk what it
    # could not sync. This life builds on what it reads: no power cut may take it away any more.
    disk.settle(folder / line[-1].segment.file_name)
    store = Store(plan, may_have_lost)
    if state is not None:
        store.load(state)
    place, num_replayed = None, 0
    for index, head in enumerate(line):
        successor = line[index + 1] if index + 1 < len(line) else None
        for record, place in read_segment(disk, folder, head.segment, successor):
            _replay(store, record, folder / head.segment.file_name, place)
            num_replayed += record.kind is not Kind.SEGMENT
    return Recovered(store, place, checkpoint, num_replayed)


def _follow(
    disk: Disk,
    folder: Path,
    newest: Head,
    checkpoints: list[CheckpointName],
    expected: Mapping[str, Any],
) -> tuple[list[Head], CheckpointName | None, StoreState | None]:
    """Give the heads to replay, oldest first, and the checkpoint that they begin at."""
    line, unreadable = [newest], ""
    while True:
        head = line[-1]
        for name in [name for name in checkpoints if name.segment == head.segment]:
            try:
                identity, state = read_checkpoint(disk, folder, name)
            except CorruptState as error:
                logger.warning("%s; going on from what came before it", error.what)
                unreadable = f"; {error.what}"
                continue
            check_identity(identity, expected, folder / name.file_name)
            return line[::-1], name, state
        if head.predecessor is None:
            return line[::-1], None, None
        before = head.predecessor.segment
        try:
            older = read_head(disk, folder, before)
        except FileNotFoundError:
            older = None
        if older is None:
            path = folder / head.segment.file_name
            raise CorruptState(
                path, 0, f"it goes on from {before.file_name}, which is not there{unreadable}"
            )
        line.append(older)


def _replay(store: Store, record: Record, path: Path, place: Place) -> None:
    try:
        if record.kind is Kind.INITIALIZE:
            store.initialize(hashlib.sha256(record.body).digest(), _vector(record))
        elif record.kind is Kind.PUSH:
            push = Push(
                record.replica,
                record.sequence,
                record.incarnation,
                record.base_version,
                _vector(record),
                record.sample_version,
            )
            store.push(push)
        elif record.kind is Kind.FENCE:
            store.fence(record.replica, record.incarnation)
    except (ShardError, KeyError, ValueError) as error:
        raise CorruptState(
            path, place.offset, f"the record before cannot have been accepted: {error}"
        ) from error


def _vector(record: Record) -> FlatVector:
    return np.frombuffer(record.body, "<f4").astype(np.float32, copy=False)
