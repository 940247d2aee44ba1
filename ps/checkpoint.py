"""A shard's state in one file, written atomically and read back before anything relies on it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.numpy

from ps import points
from ps.disk import Disk
from ps.errors import CorruptState, DiskFailure
from ps.folder import TEMPORARY_SUFFIX, CheckpointName, Segment
from ps.record import checksum
from ps.state import StoreState


def write_checkpoint(
    disk: Disk, folder: Path, segment: Segment, identity: Mapping[str, object], state: StoreState
) -> CheckpointName:
    """Write the state at the begin of a segment, and return when it was read back from disk.

    It is a safetensors file. Its checksum is in its name, so that the name of a file that is in
    its place vouches for all of its bytes.

    Raises:
        DiskFailure: it cannot be written, or reads otherwise than it was written.
    """
    says = {"identity": dict(identity), "numbers": dict(state.numbers)}
    data = safetensors.numpy.save(dict(state.arrays), {"nasrl": json.dumps(says)})
    name = CheckpointName(segment, checksum(data))
    put_checkpoint(disk, folder, name, data)
    points.reached("checkpoint verified")
    return name


def put_checkpoint(disk: Disk, folder: Path, name: CheckpointName, data: bytes) -> None:
    """Write the bytes of a checkpoint, and return when they were read back from disk.

    Raises:
        DiskFailure: they cannot be written, or read otherwise than they were written.
    """
    path, beside = folder / name.file_name, folder / (name.file_name + TEMPORARY_SUFFIX)
    try:
        disk.delete(beside)
        file = disk.create(beside)
        try:
            disk.write(file, [data])
            points.reached("checkpoint written")
            disk.sync(file)
        finally:
            disk.close(file)
        points.reached("checkpoint synced")
        disk.rename(beside, path)
        points.reached("checkpoint renamed")
        disk.sync_folder(folder)
        read_checkpoint(disk, folder, name)
    except CorruptState as error:
        raise DiskFailure(f"{path}: reads otherwise than it was written") from error
    except OSError as error:
        raise DiskFailure(f"{path}: the checkpoint cannot be written: {error}") from error


def read_checkpoint(
    disk: Disk, folder: Path, name: CheckpointName
) -> tuple[dict[str, Any], StoreState]:
    """Give the identity and the state in a checkpoint.

    Raises:
        CorruptState: its bytes are not those that were written.
        OSError: it cannot be read.
    """
    path = folder / name.file_name
    with disk.open(path) as file:
        data = file.read()
    if checksum(data) != name.checksum:
        raise CorruptState(path, 0, "the checksum of the checkpoint is not the one in its name")
    return parse_checkpoint(data)


def parse_checkpoint(data: bytes) -> tuple[dict[str, Any], StoreState]:
    """Give the identity and the state in the bytes of a checkpoint, which are known to be right."""
    arrays = safetensors.numpy.load(data)
    # The library gives metadata for files alone. The layout is its public format: the length of
    # the JSON header in eight bytes, then the header.
    length = int.from_bytes(data[:8], "little")
    says = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["nasrl"])
    return says["identity"], StoreState(arrays, says["numbers"])
