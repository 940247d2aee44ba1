"""What can go wrong when a network is exported."""

from __future__ import annotations


class ExportError(Exception):
    """A network cannot be exported; nothing was written, and the message says why.

    ExportError
      CannotExport  what was asked for is not there: ask for something else
    """


class CannotExport(ExportError):
    """There is no such run, trial or data, or the folder is taken."""
