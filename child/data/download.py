"""Downloads: files that a data set is published as, brought into a folder whole or not at all."""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from http.client import HTTPException
from pathlib import Path
from typing import IO
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from child.data.errors import DownloadFailed
from child.data.published_file import PublishedFile

logger = logging.getLogger(__name__)

LOCK_FILE = ".nasrl-lock"
SILENCE_TIMEOUT_S = 30.0  # of a server: until it answers, and between two pieces of the file


def download(files: Sequence[PublishedFile], folder: Path) -> None:
    """Bring those of the files that do not lie whole in the folder there.

    A file gets its name only once it is whole, so that no download that was broken off, by
    whatever, is ever taken for one that was not. Folders that stay empty are removed again.

    Threads: any number, and any number of processes: one downloads, the others wait and find.
    Repeats: nothing is downloaded twice.

    Raises:
        DownloadFailed: no address gave one of the files, or it could not be written.
    """
    try:
        with _made([(folder / file.path).parent for file in files]), _lock(folder):
            for file in files:
                if not file.look(folder).is_whole:
                    _download(file, folder / file.path)
    except OSError as error:
        raise DownloadFailed(f"no download: nothing can be written there: {error}") from error


@contextmanager
def _made(folders: Sequence[Path]) -> Iterator[None]:
    """Remove those of the folders that come to be, and of those above, where nothing is in them."""
    above = {place for folder in folders for place in (folder, *folder.parents)}
    missing = sorted((p for p in above if not p.exists()), key=lambda p: len(p.parts))
    try:
        yield
    finally:
        for folder in reversed(missing):
            with suppress(OSError):
                folder.rmdir()


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Keep other processes from the folder; nothing of the lock is left behind."""
    place = folder / LOCK_FILE
    while (lock := _acquired(place)) is None:
        pass
    with lock:
        try:
            yield
        finally:
            place.unlink(missing_ok=True)


def _acquired(place: Path) -> IO[str] | None:
    """Wait for a lock; None if whoever had it removed it meanwhile: it keeps nobody away."""
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        lock = place.open("w")
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        logger.info("waiting for another process that downloads to %s", place.parent)
        fcntl.flock(lock, fcntl.LOCK_EX)
    with suppress(FileNotFoundError):
        if os.path.samestat(os.fstat(lock.fileno()), place.stat()):
            return lock
    lock.close()
    return None


def _download(file: PublishedFile, place: Path) -> None:
    partial = place.with_name(f"{place.name}.part")  # the lock's holder is the only one to write it
    failures = defaultdict(list)  # addresses by what came of them
    try:
        for url in file.urls:
            logger.info("downloading %s to %s", url, place)
            try:
                _fetch(url, partial)
            except (OSError, HTTPException) as error:
                failures[_reason(error)].append(url)
                continue
            flaw = file.judge(partial).flaw
            if flaw is None:
                partial.replace(place)
                return
            failures[f"what came {flaw}"].append(url)
    finally:
        partial.unlink(missing_ok=True)
    raise DownloadFailed(
        "\n".join(
            "\n  ".join([f"no download: {reason}", *urls]) for reason, urls in failures.items()
        )
    )


def _reason(error: OSError | HTTPException) -> str:
    """Give an error without what wraps it."""
    if isinstance(error, URLError) and not isinstance(error, HTTPError):
        reason = error.reason
        return (reason.strerror if isinstance(reason, OSError) else None) or str(reason)
    return str(error)


def _fetch(url: str, place: Path) -> None:
    request = Request(url, headers={"User-Agent": "nasrl"})  # noqa: S310 (addresses are constants)
    with urlopen(request, timeout=SILENCE_TIMEOUT_S) as response:  # noqa: S310 (as above)
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.open("wb") as file:
            shutil.copyfileobj(response, file)
