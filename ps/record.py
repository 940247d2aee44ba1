"""One record of a journal: a header with a checksum of its own, and a body with another."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import BinaryIO

import google_crc32c
import numpy as np

from ps.disk import Buffer
from ps.errors import CorruptState

# magic, kind, replica, sequence, incarnation, base version, sample version, body bytes, body's
# checksum, the checksum of the header before this one; then the checksum of all these.
_FIELDS = struct.Struct("<4sIIQQQQQII")
_CHECKSUM = struct.Struct("<I")
_MAGIC = b"nas2"  # changes with the fields; see `ps.plan.FORMAT`
HEADER_BYTES = _FIELDS.size + _CHECKSUM.size
MAX_BODY_BYTES = 1 << 40


class Kind(IntEnum):
    """What a record says; the numbers stand on disk."""

    SEGMENT = 1  # the first of each file: which, and what came before it (JSON)
    INITIALIZE = 2  # the first values of the slice
    PUSH = 3  # an accepted push; the body is its gradient
    FENCE = 4  # a newer incarnation of a replica was seen without a push


@dataclass(frozen=True)
class Record:
    """One record; the fields of a push are those of `ps.push.Push`, and zero in other kinds."""

    kind: Kind
    body: Buffer = b""
    replica: int = 0
    sequence: int = 0
    incarnation: int = 0
    base_version: int = 0
    sample_version: int = 0


class TornRecord(Exception):
    """The file ends inside a record, or in zeros: a crash of a life that had told nobody of it."""


def checksum(data: Buffer) -> int:
    """Give the CRC-32C of some bytes."""
    # The library takes bytes and arrays, but no memoryview.
    value: int = google_crc32c.value(
        data if isinstance(data, bytes) else np.frombuffer(data, np.uint8)
    )
    return value


def pack_header(record: Record, body_checksum: int, chain: int) -> tuple[bytes, int]:
    """Give the header that goes before the body, and the chain to hand to the next record.

    Args:
        body_checksum: that of the record's body; it takes time and is made outside of locks.
        chain: what the record before gave; 0 for the first of all.
    """
    fields = _FIELDS.pack(
        _MAGIC,
        record.kind,
        record.replica,
        record.sequence,
        record.incarnation,
        record.base_version,
        record.sample_version,
        len(record.body),
        body_checksum,
        chain,
    )
    own = checksum(fields)
    return fields + _CHECKSUM.pack(own), own


def read_record(file: BinaryIO, path: Path, chain: int | None) -> tuple[Record, int] | None:
    """Read the next record and give it with the chain behind it; None at the end of the file.

    Args:
        path: of the file, for messages.
        chain: that of the record before; None takes what the header says.

    Raises:
        TornRecord: the file ends inside the record.
        CorruptState: a checksum, the chain or a number is wrong; names file and offset.
    """
    offset = file.tell()
    header = file.read(HEADER_BYTES)
    if not header:
        return None
    if len(header) < HEADER_BYTES or _is_blank(header, file):
        raise TornRecord
    fields, (own,) = header[: _FIELDS.size], _CHECKSUM.unpack(header[_FIELDS.size :])
    if checksum(fields) != own:
        raise CorruptState(path, offset, "the checksum of a record's header is wrong")
    magic, kind, replica, sequence, incarnation, base, sampled, length, body_sum, before = (
        _FIELDS.unpack(fields)
    )
    if magic != _MAGIC or kind not in Kind.__members__.values() or length > MAX_BODY_BYTES:
        raise CorruptState(path, offset, f"no record of this version of nasrl (kind {kind})")
    if chain is not None and before != chain:
        raise CorruptState(path, offset, "a record does not follow the one before it")
    body = file.read(length)
    if len(body) < length:
        raise TornRecord
    if checksum(body) != body_sum:
        raise CorruptState(path, offset, "the checksum of a record's body is wrong")
    record = Record(Kind(kind), body, replica, sequence, incarnation, base, sampled)
    return record, own


def _is_blank(header: bytes, file: BinaryIO) -> bool:
    """Tell whether from here on all is zero: some file systems keep the length of lost bytes."""
    if any(header):
        return False
    return all(not chunk.strip(b"\0") for chunk in iter(lambda: file.read(1 << 20), b""))
