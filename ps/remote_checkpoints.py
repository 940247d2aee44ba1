"""The checkpoints of a shard at a URL, by which it comes back on another node."""

from __future__ import annotations

import json
import logging
import os
import re
import secrets
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import fsspec
from fsspec.implementations.local import LocalFileSystem

from ps.checkpoint import parse_checkpoint, put_checkpoint
from ps.disk import Disk
from ps.errors import PastEpoch, RemoteFailure, StateError, StateMismatch
from ps.folder import CheckpointName, Segment, shard_folder
from ps.line import begin_line, check_identity, newest_head
from ps.record import checksum

logger = logging.getLogger(__name__)

T = TypeVar("T")

# How long a life that begins waits for a store that it cannot reach. The launcher gives up a
# process that has not begun within 180 s (`workers.pulse.START_TIMEOUT_S`), and a search whose
# shard has not begun three times.
BEGIN_PATIENCE_S = 120.0
FIRST_WAIT_S = 0.5
MAX_WAIT_S = 10.0

# What no waiting cures: a package that is missing, and a store that says no.
_MISTAKES = (ImportError, PermissionError)

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
        What one search has put here no other goes on from, where both have told their names.

    Threads: one at a time.
    """

    def __init__(self, url: str, identity: Mapping[str, Any], search_id: str | None = None) -> None:
        """Reach for the store.

        Args:
            identity: of the shard, as in its folder: what is at the URL must be of the same.
            search_id: tells the search from all others, however alike they are; None takes the
                search for that which uses the URL.

        Raises:
            RemoteFailure: the store cannot be reached; says which package is missing, if one is.
            StateMismatch: another search, or another shard of it, uses the URL.
        """
        self.url = f"{url.rstrip('/')}/{shard_folder(Path(), identity['shard']).name}"
        self._identity = dict(identity)
        with self._reaching("cannot be reached"):
            self._store, self._folder = _open(self.url)
        says = {
            "identity": self._identity,
            # A life that was not told hands on what the one before it was.
            "search": self._check_search(search_id) or search_id,
            "host": socket.gethostname(),
            "process": os.getpid(),
            "token": secrets.token_hex(8),  # tells two of one number apart
        }
        self._claim = json.dumps(says).encode()

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

    def bring_newest(self, disk: Disk, folder: Path) -> CheckpointName | None:
        """Put the newest checkpoint into a folder where the shard has not come so far.

        It becomes the newest of the folder's line, so that recovery goes on from it. A folder of
        which a newer life has written stays as it is.

        Returns:
            The newest that is at the URL and whole, brought or not; None if there is none.

        Raises:
            RemoteFailure: it cannot be read. StateMismatch: it is of another search.
            CorruptState, DiskFailure: see `ps.recovery.recover`.
        """
        segments = [s for name in disk.names(folder) if (s := Segment.parse(name))]
        head = newest_head(disk, folder, segments)
        for name in sorted(_checkpoints(self._names()), reverse=True):
            where = f"{self.url}/{name.file_name}"
            with self._reaching(f"{name.file_name} cannot be read"):
                data = self._store.cat_file(self._path(name.file_name))
            if checksum(data) != name.checksum:
                logger.warning("%s is not whole: passed over", where)
                continue
            identity, _ = parse_checkpoint(data)
            check_identity(identity, self._identity, where)
            if head is None or name.segment > head.segment:
                put_checkpoint(disk, folder, name, data)
                begin_line(disk, folder, name.segment, identity)
                logger.info("%s: going on from it in %s", where, folder)
            return name
        return None

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

    def _check_search(self, search_id: str | None) -> str | None:
        """Give the search that uses the URL, if that is known, unless it is another."""
        for number in sorted(_lives(self._names()), reverse=True):
            claim = self._read_claim(number)
            if claim is None:
                continue
            check_identity(claim["identity"], self._identity, self.url)
            known: str | None = claim.get("search")
            if None not in (known, search_id) and known != search_id:
                raise StateMismatch(
                    f"{self.url} holds a state of search {known!r}: must be of {search_id!r}, this "
                    "one, or empty; each search needs a URL of its own: give another checkpoint_url"
                )
            return known
        return None

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


class Patience:
    """How long one life waits, in all that it asks of the store when it begins.

    Threads: one at a time.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._until = clock() + BEGIN_PATIENCE_S

    def insist(self, call: Callable[[], T]) -> T:
        """Call until the store can be reached, and give what the call returns.

        Raises:
            RemoteFailure: the time is over, or it is of no use to wait.
        """
        next_wait_s = FIRST_WAIT_S
        while True:
            try:
                return call()
            except RemoteFailure as error:
                left_s = self._until - self._clock()
                if left_s <= 0 or isinstance(error.__cause__, _MISTAKES):
                    raise
                wait_s = min(next_wait_s, left_s)
                logger.warning(
                    "waiting for the store of checkpoints, %.0f s more at the most; tried again in "
                    "%.1f s: %s",
                    left_s,
                    wait_s,
                    error,
                )
            self._sleep(wait_s)
            next_wait_s = min(2 * next_wait_s, MAX_WAIT_S)


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
