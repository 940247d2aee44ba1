"""A file that is whole or not there, after a power cut, too."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from ps.disk import Disk


def write_durably(disk: Disk, path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write a file so that after a power cut, too, it is all of the old one or all of the new.

    Args:
        path: in a folder that exists.

    Raises:
        OSError: it was not written; the old one is there.
    """
    beside = path.with_name(f"{path.name}.tmp")
    disk.delete(beside)
    file = disk.create(beside)
    try:
        beside.chmod(mode)
        disk.write(file, [data])
        disk.sync(file)
    finally:
        disk.close(file)
    disk.rename(beside, path)
    disk.sync_folder(path.parent)


def write_new_durably(disk: Disk, path: Path, data: bytes) -> None:
    """Write a file where there is none, as `write_durably` does; of several writers one succeeds.

    Raises:
        FileExistsError: there is one, and it stays.
        OSError: it was not written.
    """
    beside = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
    write_durably(disk, beside, data)
    try:
        os.link(beside, path)
    finally:
        disk.delete(beside)
        disk.sync_folder(path.parent)


def make_durably(disk: Disk, folder: Path) -> None:
    """Make a folder where there is none; after a power cut it is still there.

    Args:
        folder: in one that exists.

    Raises:
        OSError: it cannot be made.
    """
    if not folder.is_dir():
        folder.mkdir(exist_ok=True)
        disk.sync_folder(folder.parent)
