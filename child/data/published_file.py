"""A file of a data set as its authors published it, and how to tell that it is whole."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import NamedTuple

_MISSING = "missing"


class Finding(NamedTuple):
    """What lies at a place. flaw: what is wrong with it, in words; None where it is whole."""

    place: Path
    flaw: str | None

    @property
    def is_whole(self) -> bool:
        return self.flaw is None

    @property
    def is_missing(self) -> bool:
        return self.flaw == _MISSING


@dataclass(frozen=True)
class PublishedFile:
    """A file, and what is known of its content.

    path: where it belongs, below the folder of the data sets.
    md5: of its bytes, in hexadecimal; None where nobody published one.
    num_bytes: None where it is not known.
    unpacked_md5: of what a .gz holds. One that somebody has packed again is as good as the first.
    urls: where it can be downloaded, the best first.
    """

    path: Path
    md5: str | None = None
    num_bytes: int | None = None
    unpacked_md5: str | None = None
    urls: tuple[str, ...] = ()

    def look(self, folder: Path) -> Finding:
        """Look for the file at its place and, under its name alone, in the folder itself.

        In the folder only where its checksum is known: other sets have files of the same name.
        """
        here = self.judge(folder / self.path)
        if here.is_whole or self.md5 is None:
            return here
        there = self.judge(folder / self.path.name)
        return there if there.is_whole or (here.is_missing and not there.is_missing) else here

    def judge(self, place: Path) -> Finding:
        """Say whether what lies at a place is the file."""
        return Finding(place, self._flaw(place))

    def _flaw(self, place: Path) -> str | None:
        if not place.is_file():
            return _MISSING
        size = place.stat().st_size
        if self.num_bytes is not None and size != self.num_bytes:
            return f"has {size} bytes, must have {self.num_bytes}"
        if self.md5 is None:
            return None
        with place.open("rb") as file:
            md5 = _md5(file)
        if md5 == self.md5 or self._is_packed_again(place):
            return None
        return f"has the MD5 checksum {md5}, must have {self.md5}"

    def _is_packed_again(self, place: Path) -> bool:
        if self.unpacked_md5 is None:
            return False
        try:
            with gzip.open(place) as file:
                return _md5(file) == self.unpacked_md5
        except (OSError, EOFError, zlib.error):
            return False


def _md5(file: BufferedReader | gzip.GzipFile) -> str:
    # Against accidents alone; saying so lets it work where cryptography must not use MD5.
    return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
