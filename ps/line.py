"""The line of journal segments from life to life: which follows which, and from where."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ps.disk import Disk
from ps.errors import CorruptState, DiskFailure, StateMismatch
from ps.folder import TEMPORARY_SUFFIX, Segment
from ps.record import Kind, Record, TornRecord, checksum, pack_header, read_record

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Place:
    """A place between two records: segment, offset in bytes, and the chain up to there."""

    segment: Segment
    offset: int
    chain: int


@dataclass(frozen=True)
class Head:
    """What the first record of a segment says."""

    segment: Segment
    predecessor: Place | None
    identity: dict[str, Any]


def segment_record(
    identity: Mapping[str, object], segment: Segment, predecessor: Place | None
) -> Record:
    """Give the first record of a segment.

    Args:
        identity: what the folder belongs to; a shard of another identity refuses to read on.
        predecessor: where the segment before it ended; what was written there later is void.
    """
    says = {
        "identity": dict(identity),
        "segment": [segment.epoch, segment.number],
        "predecessor": predecessor
        and [
            predecessor.segment.epoch,
            predecessor.segment.number,
            predecessor.offset,
            predecessor.chain,
        ],
    }
    return Record(Kind.SEGMENT, json.dumps(says).encode())


def begin_line(disk: Disk, folder: Path, segment: Segment, identity: Mapping[str, object]) -> None:
    """Write a segment that has nothing but its first record, for a checkpoint from elsewhere.

    Raises:
        DiskFailure: it cannot be written.
    """
    # A shard may begin without a checkpoint only where nothing came before. Here something did,
    # which is not there, so that the loss of the checkpoint is noticed.
    record = segment_record(identity, segment, Place(Segment(0, 0), 0, 0))
    header, _ = pack_header(record, checksum(record.body), 0)
    path = folder / segment.file_name
    beside = path.with_name(path.name + TEMPORARY_SUFFIX)
    try:
        disk.delete(beside)
        file = disk.create(beside)
        try:
            disk.write(file, [header, record.body])
            disk.sync(file)
        finally:
            disk.close(file)
        disk.rename(beside, path)
        disk.sync_folder(folder)
    except OSError as error:
        raise DiskFailure(f"{path}: the segment cannot be written: {error}") from error


def read_head(disk: Disk, folder: Path, segment: Segment) -> Head | None:
    """Read the first record of a segment; None if its life ended before it was written.

    Raises:
        CorruptState: it is there and cannot be right.
    """
    path = folder / segment.file_name
    try:
        with disk.open(path) as file:
            read = read_record(file, path, None)
    except TornRecord:
        return None
    if read is None:
        return None
    record, _ = read
    says = json.loads(bytes(record.body)) if record.kind is Kind.SEGMENT else {}
    if says.get("segment") != [segment.epoch, segment.number]:
        raise CorruptState(path, 0, f"the first record is not that of {segment.file_name}")
    before = says["predecessor"]
    place = before and Place(Segment(before[0], before[1]), before[2], before[3])
    return Head(segment, place, says["identity"])


def check_identity(
    found: Mapping[str, Any], expected: Mapping[str, Any], where: Path | str
) -> None:
    """Return if a state belongs to the shard that is to go on from it.

    Args:
        where: its file, or its URL.

    Raises:
        StateMismatch: it does not; names every difference.
    """
    keys = {key for key in {*found, *expected} if found.get(key) != expected.get(key)}
    if "num_parameters" in keys:
        keys.discard("layout_sha256")  # which follows from it, and tells nobody anything
    differing = [
        f"{key}={found.get(key)!r} instead of {expected.get(key)!r}" for key in sorted(keys)
    ]
    if differing:
        kind = "folder" if isinstance(where, Path) else "checkpoint_url"
        raise StateMismatch(
            f"{where} holds a state of {'; '.join(differing)}: must be the same as when it was "
            f"begun; give the old settings, or another {kind}"
        )


def read_segment(
    disk: Disk, folder: Path, segment: Segment, successor: Head | None
) -> Iterator[tuple[Record, Place]]:
    """Give every record of a segment with the place behind it, the first one included.

    Args:
        successor: the segment that goes on from this one and says where it ends; None for the
            last of the line, which ends with its last whole record.

    Raises:
        CorruptState: a record is wrong, or the segment ends before its successor begins.
    """
    path = folder / segment.file_name
    end = None if successor is None else successor.predecessor
    chain: int | None = None
    with disk.open(path) as file:
        while end is None or file.tell() < end.offset:
            offset, is_torn = file.tell(), False
            try:
                read = read_record(file, path, chain)
            except TornRecord:
                read, is_torn = None, True
            if read is None:
                if end is None:
                    if is_torn:
                        logger.warning(
                            "%s: 1 record cut short at offset %d, passed over (it was never "
                            "acknowledged)",
                            path,
                            offset,
                        )
                    return
                raise CorruptState(
                    path, offset, f"the file ends here, and its successor begins at {end.offset}"
                )
            record, chain = read
            yield record, Place(segment, file.tell(), chain)
        if end is not None and (file.tell(), chain) != (end.offset, end.chain):
            raise CorruptState(path, end.offset, "its successor goes on from another record")


def newest_head(disk: Disk, folder: Path, segments: Sequence[Segment]) -> Head | None:
    """Give the head of the newest segment that was begun, None if none was."""
    for segment in sorted(segments, reverse=True):
        head = read_head(disk, folder, segment)
        if head is not None:
            return head
    return None
