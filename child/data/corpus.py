"""Texts that somebody published as three files, and how a file of text is read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from child.data.errors import DataCorrupt, DataMissing


class Corpus(NamedTuple):
    """The files of a text: to train on, to validate on, to test on.

    subfolder: where they are in what their authors published, as it is unpacked.
    """

    train: str
    validation: str
    test: str
    subfolder: str

    @property
    def files(self) -> tuple[str, str, str]:
        return self.train, self.validation, self.test

    def missing(self, folder: Path) -> list[str]:
        """Name the files that are not in a folder."""
        return [name for name in self.files if not (folder / name).exists()]


def find(folder: Path, corpora: Sequence[Corpus], origin: str) -> tuple[Corpus, Path]:
    """Find the first of the corpora that is complete, and the folder with its files.

    Args:
        folder: the files lie directly in it, or in the corpus's subfolder of it.
        origin: what to get from where, for who has not got it.

    Raises:
        DataMissing: none is complete.
    """
    for corpus in corpora:
        for place in (folder, folder / corpus.subfolder):
            if not corpus.missing(place):
                return corpus, place
    wanted = ", or ".join(_wanted(folder, corpus) for corpus in corpora)
    what = "hold" if folder.is_dir() else "be a folder that holds"
    raise DataMissing(f"data.folder={folder}: must {what} {wanted}; {origin}, and put them there")


def _wanted(folder: Path, corpus: Corpus) -> str:
    """Say what is missing where the most is there."""
    places = (folder, folder / corpus.subfolder)
    missing = min((corpus.missing(place) for place in places), key=len)
    return ", ".join(f"{name} (missing)" if name in missing else name for name in corpus.files)


def read_text(path: Path) -> str:
    r"""Read a file of text in UTF-8; lines end with "\n", whatever ends them in the file.

    A byte order mark at the beginning is not part of the text.

    Raises:
        DataMissing: there is no such file, or none that can be read.
        DataCorrupt: it is not UTF-8, or has nothing but white space.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataMissing(f"{path}: must be a file that can be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise DataCorrupt(
            f"{path}: must be text in UTF-8, is not at byte {error.start} ({error.reason}); "
            "convert it, as with `iconv -f latin1 -t utf-8`"
        ) from error
    if not text.strip():
        raise DataCorrupt(f"{path}: must hold text, has none in its {path.stat().st_size} bytes")
    return text
