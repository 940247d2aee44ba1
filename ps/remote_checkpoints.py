"""The checkpoints of a shard at a URL, by which it comes back on another node."""

from __future__ import annotations

import json
import logging
import os
import re
import secrets
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from ps.checkpoint import parse_checkpoint, put_checkpoint
from ps.disk import Disk
from ps.errors import PastEpoch, RemoteFailure, StateError
from ps.folder import CheckpointName, Segment, shard_folder
from ps.line import begin_line, check_identity, newest_head
from ps.record import checksum

logger = logging.getLogger(__name__)

_LIFE = re.compile(r"life-(\d{8,})\.json")


class RemoteCheckpoints:
    """What the lives of one shard have in common where they share no folder.

    Laws:
        A checkpoint whose bytes do not have the checksum in its name is passed over, so that one
        which is being written, or was cut short, does no harm. The two newest are kept.
        Lives in different folders have different numbers: each makes the file of its number here.
        Where the store cannot make a file exclusively, two that begin at the same moment may make
        the same one; the last of them to write it goes on, and the other sees it at its first
        upload.
        A life that finds a newer one here, before or after it uploads, is over.

    Threads: one at a time.
    """

    def __init__(self, url: str, identity: Mapping[str, Any]) -> None:
        """Reach for the store.

        Args:
            identity: of the shard, as in its folder: what is at the URL must be of the same.

        Raises:
            RemoteFailure: the store cannot be reached; says which package is missing, if one is.
            StateMismatch: another search, or another shard of it, uses the URL.
        """
        self.url = f"{url.rstrip('/')}/{shard_folder(Path(), identity['shard']).name}"
        self._identity = dict(identity)
        says = {
            "identity": self._identity,
            "host": socket.gethostname(),
            "process": os.getpid(),
            "token": secrets.token_hex(8),  # tells two of one number apart
        }
        self._claim = json.dumps(says).encode()
        with self._reaching("cannot be reached"):
            self._store, self._folder = _open(self.url)
        names = self._names()
        for number in sorted(_lives(names), reverse=True):
            claim = self._read_claim(number)
            if claim is not None:
                check_identity(claim["identity"], self._identity, self.url)
                break

    def newest_life(self) -> int:
        """Give the highest number that a life has had, or 0."""
        names = self._names()
        return max([*_lives(names), *(name.segment.epoch for name in _checkpoints(names))] or [0])

    def claim(self, number: int) -> bool:
        """Take the number of a life, unless another has it; tell whether that succeeded."""
        with self._reaching(f"life {number} cannot be claimed"):
            path = self._path(_life_name(number))
            try:
                try:
                    self._create(path)
                except FileNotFoundError:
                    self._store.makedirs(self._folder, exist_ok=True)
                    self._create(path)
            except FileExistsError:
                return False
        return True

    def bring_newest(self, disk: Disk, folder: Path) -> None:
        """Put the newest checkpoint into a folder where the shard has not come so far.

        It becomes the newest of the folder's line, so that recovery goes on from it. A folder of
        which a newer life has written stays as it is.

        Raises:
            RemoteFailure: it cannot be read. StateMismatch: it is of another search.
            CorruptState, DiskFailure: see `ps.recovery.recover`.
        """
        segments = [s for name in disk.names(folder) if (s := Segment.parse(name))]
        head = newest_head(disk, folder, segments)
        for name in sorted(_checkpoints(self._names()), reverse=True):
            if head is not None and name.segment <= head.segment:
                return
            where = f"{self.url}/{name.file_name}"
            with self._reaching(f"{name.file_name} cannot be read"):
                data = self._store.cat_file(self._path(name.file_name))
            if checksum(data) != name.checksum:
                logger.warning("%s is not whole; going on from what came before it", where)
                continue
            identity, _ = parse_checkpoint(data)
            check_identity(identity, self._identity, where)
            put_checkpoint(disk, folder, name, data)
            begin_line(disk, folder, name.segment, identity)
            logger.info("%s: going on from it in %s", where, folder)
            return

    def uploaded(self) -> list[CheckpointName]:
        """Give the checkpoints that are there; the last to be uploaded may not be whole."""
        return _checkpoints(self._names())

    def upload(self, number: int, name: CheckpointName, data: bytes) -> None:
        """Store a checkpoint, and remove what it makes superfluous.

        Args:
            number: of this life, which it has claimed.

        Raises:
            PastEpoch: a newer life has begun, maybe on another node.
            RemoteFailure: it cannot be stored; what was there is there.
        """
        self._check(number)
        with self._reaching(f"{name.file_name} cannot be uploaded"):
            path = self._path(name.file_name)
            try:
                self._store.pipe_file(path, data)
                self._store.invalidate_cache()
                size = self._store.size(path)
                if size != len(data):
                    raise OSError(f"{size} bytes arrived of {len(data)}")
            except BaseException:
                with suppress(Exception):
                    self._store.rm_file(path)
                raise
        self._check(number)
        with self._reaching("what is superfluous cannot be removed"):
            names = self._names()
            kept = sorted(_checkpoints(names))[-2:]
            old = [each.file_name for each in _checkpoints(names) if each < min(kept)]
            old += [_life_name(life) for life in _lives(names) if life < number]
            for file_name in old:
                with suppress(FileNotFoundError):
                    self._store.rm_file(self._path(file_name))

    def _check(self, number: int) -> None:
        lives = _lives(self._names())
        newest = max(lives, default=0)
        if newest > number:
            raise PastEpoch(
                f"{self.url} has life {newest} of the shard: must be {number}, this one; another "
                "has taken over, and this one ends"
            )
        # Whoever tidies up by age may have removed the claim of a life that is still the newest.
        is_mine = self.claim(number) if number not in lives else self._holds(number)
        if not is_mine:
            raise PastEpoch(
                f"{self.url} has another life {number} of the shard, which began at the same "
                "moment and goes on; this one ends"
            )

    def _holds(self, number: int) -> bool:
        with self._reaching(f"{_life_name(number)} cannot be read"):
            return bool(self._store.cat_file(self._path(_life_name(number))) == self._claim)

    def _create(self, path: str) -> None:
        if isinstance(self._store, LocalFileSystem):
            # Its own way to create a file looks first, and then writes.
            with self._store.open(path, "xb") as file:
                file.write(self._claim)
        else:
            self._store.pipe_file(path, self._claim, mode="create")

    def _read_claim(self, number: int) -> dict[str, Any] | None:
        """Give what a life has written when it began, or None if it had not yet."""
        with self._reaching(f"{_life_name(number)} cannot be read"):
            try:
                content = self._store.cat_file(self._path(_life_name(number)))
            except FileNotFoundError:
                return None
        try:
            claim: dict[str, Any] = json.loads(content)
        except ValueError:
            return None
        return claim

    def _names(self) -> list[str]:
        with self._reaching("cannot be listed"):
            self._store.invalidate_cache()
            try:
                found = self._store.ls(self._folder, detail=False)
            except FileNotFoundError:
                return []
            return [path.rstrip("/").rpartition("/")[2] for path in found]

    def _path(self, file_name: str) -> str:
        return f"{self._folder}/{file_name}"

    @contextmanager
    def _reaching(self, what: str) -> Iterator[None]:
        try:
            yield
        except StateError:
            raise
        except Exception as error:
            raise RemoteFailure(
                f"{self.url}: {what}: {str(error) or repr(error)}; {_remedy(error)}"
            ) from error


def _open(url: str) -> tuple[Any, str]:
    store, folder = fsspec.core.url_to_fs(url)
    return store, folder.rstrip("/")


def _remedy(error: BaseException) -> str:
    missing = error.__cause__
    if isinstance(missing, ModuleNotFoundError) and missing.name:
        return (
            f"its package must be installed on every node of the shards: pip install {missing.name}"
        )
    return "this node must be able to list, read, write and delete there"


def _life_name(number: int) -> str:
    return f"life-{number:08d}.json"


def _lives(names: list[str]) -> list[int]:
    return [int(match[1]) for name in names if (match := _LIFE.fullmatch(name))]


def _checkpoints(names: list[str]) -> list[CheckpointName]:
    return [found for name in names if (found := CheckpointName.parse(name))]
