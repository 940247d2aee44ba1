"""Copies of the user's code, where processes of a search find it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

# Where a run directory holds them, beside its settings.
CODE_FOLDER = "code"


def copy_code(paths: Sequence[Path], folder: Path) -> None:
    """Put files, and packages as folders, into a folder that is there.

    Raises:
        OSError: they cannot be read or written.
    """
    for path in paths:
        if path.is_dir():
            without = shutil.ignore_patterns("__pycache__", ".*")
            shutil.copytree(path, folder / path.name, ignore=without, ignore_dangling_symlinks=True)
        else:
            shutil.copy2(path, folder)
    # A search is gone on with from these: they outlive a power cut as its ledger does.
    for copied in [folder, *folder.rglob("*")]:
        descriptor = os.open(copied, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
