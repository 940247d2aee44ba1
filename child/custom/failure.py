"""An error in code of the user's, in words."""

from __future__ import annotations

import sysconfig
import traceback
from dataclasses import dataclass
from pathlib import Path

_LIBRARIES = tuple(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib"))
MAX_REASON = 200  # characters of a line of a table
MAX_TRACEBACK = 20_000


@dataclass(frozen=True)
class Failure:
    """What was raised, and where.

    reason: one line. traceback: from the line of the user's on; a long one lacks its middle.
    """

    reason: str
    traceback: str

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        """Describe an error that was raised by a call from this package."""
        own = Path(__file__).parent
        summary = traceback.TracebackException.from_exception(error, compact=True)
        for each in _chain(summary):
            each.stack = traceback.StackSummary.from_list(
                [frame for frame in each.stack if Path(frame.filename).parent != own]
            )
        said = _said(error).strip().splitlines()
        name = type(error).__name__
        reason = f"{name}: {said[0]}" if said else name
        if len(reason) > MAX_REASON:
            reason = f"{reason[: MAX_REASON - 3]}..."
        if frames := [frame for frame in summary.stack if _is_users(frame)]:
            last = frames[-1]
            reason += f" ({Path(last.filename).name}, line {last.lineno}, in {last.name})"
        text = "".join(summary.format())
        if len(text) > MAX_TRACEBACK:
            # A message may be of any length.
            half = MAX_TRACEBACK // 2
            text = f"{text[:half]}\n[...]\n{text[-half:]}"
        return cls(storable(reason), storable(text))


def storable(text: str) -> str:
    """Give a text that every database takes: without halves of characters, and without NUL."""
    whole = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return whole.replace("\0", "\\0")


def _said(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 (an error may be of any kind)
        return "(what it says cannot be printed)"


def _is_users(frame: traceback.FrameSummary) -> bool:
    """Tell the user's own lines from those of a library that they called."""
    return not frame.filename.startswith(("<", *_LIBRARIES))


def _chain(error: traceback.TracebackException) -> list[traceback.TracebackException]:
    """Give an error and all those behind it."""
    found, waiting = [], [error]
    while waiting:
        each = waiting.pop()
        found.append(each)
        waiting += [behind for behind in (each.__cause__, each.__context__) if behind is not None]
    return found
