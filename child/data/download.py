"""Downloads: files that a data set is published as, brought into a folder whole or not at all."""

from __future__ import annotations

import fcntl
import logging
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from urllib.request import Request, urlopen

from child.data.published_file import PublishedFile

logger = logging.getLogger(__name__)

LOCK_FILE = ".nasrl-lock"
SILENCE_TIMEOUT_S = 30.0  # of a server: until it answers, and between two pieces of the file


class DownloadFailed(Exception):
    """A file could not be downloaded; the message names every address with what came of it."""


def download(files: Sequence[PublishedFile], folder: Path) -> None:
    """Bring those of the files that do not lie whole in the folder there.

    A file gets its name only once it is whole, so that no download that was broken off, by
    whatever, is ever taken for one that was not.

    Threads: any number, and any number of processes: one downloads, the others wait and find.
    Repeats: nothing is downloaded twice.

    Raises:
        DownloadFailed: no address gave one of the files, or it could not be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _lock(folder):
            for file in files:
                if not file.look(folder).is_whole:
                    _download(file, folder / file.path)
    except OSError as error:
        raise DownloadFailed(f"no download: nothing can be written there: {error}") from error


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    with (folder / LOCK_FILE).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logger.info("waiting for another process that downloads to %s", folder)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _download(file: PublishedFile, place: Path) -> None:
    partial = place.with_name(f"{place.name}.part")  # the lock's holder is the only one to write it
    failures = []
    try:
        for url in file.urls:
            logger.info("downloading %s to %s", url, place)
            try:
                _fetch(url, partial)
            except (OSError, HTTPException) as error:
                failures.append(f"{url}: {error}")
                continue
            flaw = file.judge(partial).flaw
            if flaw is None:
                partial.replace(place)
                return
            failures.append(f"{url}: what came {flaw}")
    finally:
        partial.unlink(missing_ok=True)
    raise DownloadFailed(f"no download: {'; '.join(failures)}")


def _fetch(url: str, place: Path) -> None:
    request = Request(url, headers={"User-Agent": "nasrl"})  # noqa: S310 (addresses are constants)
    with urlopen(request, timeout=SILENCE_TIMEOUT_S) as response:  # noqa: S310 (as above)
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.open("wb") as file:
            shutil.copyfileobj(response, file)
