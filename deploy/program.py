"""What the user types to run nasrl."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path


def program() -> str:
    """Give what the user can type to run nasrl again."""
    started = Path(sys.argv[0])
    if started.name != "nasrl":
        return "python -m nasrl"
    is_on_path = shutil.which("nasrl") == str(started.absolute())
    return "nasrl" if is_on_path else shlex.quote(str(started))
