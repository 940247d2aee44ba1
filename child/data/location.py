"""Where data lie, as settings hold it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field


def _absolute(text: str) -> str:
    try:
        return str(Path(text).expanduser().absolute())
    except RuntimeError as error:
        raise ValueError(
            f"must begin with / where ~ is nobody's home folder on this machine ({error})"
        ) from error


# Absolute as soon as it is read: a run directory that is resumed from elsewhere means the same.
FolderPath = Annotated[str, Field(min_length=1, validate_default=True), AfterValidator(_absolute)]
