"""A folder that is there as a whole, or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.export.errors import CannotExport


def check_free(path: Path) -> None:
    """Check that a folder can be made at a path: nothing is there, or an empty folder.

    Raises:
        CannotExport: it cannot.
    """
    if path.is_dir() and not path.is_symlink() and not any(path.iterdir()):
        return
    if path.exists() or path.is_symlink():
        raise CannotExport(f"{path}: must not exist, or be an empty folder; give another")
    if not path.absolute().parent.is_dir():
        raise CannotExport(f"{path}: there is no folder {path.parent} to make it in")


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Give an empty folder beside the path; it gets there at the end, if nothing was raised.

    Raises:
        CannotExport: the path is taken, or the folder cannot be made.
    """
    check_free(path)
    try:
        beside = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.absolute().parent))
    except OSError as error:
        raise CannotExport(f"{path} cannot be made: {error}") from error
    try:
        yield beside
        beside.chmod(0o777 & ~_umask())
        try:
            beside.rename(path)
        except OSError as error:
            raise CannotExport(f"{path} cannot be made: {error}") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _umask() -> int:
    # It can only be read by setting it.
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
