"""What the ledger says when it does not make a change."""

from __future__ import annotations


class LedgerError(Exception):
    """The ledger did not make a change. What it refuses leaves it as it was before.

    LedgerError
      NotOwner    a newer life of the replica is known, or the trial is somebody else's
      WrongState  the trial or push is not where the call wants it; a bug in the caller
      LedgerUnavailable  nobody answers for the ledger; the change may or may not have been made
    """


class NotOwner(LedgerError):
    """The caller is a past life of its replica, or the trial is not its own."""


class LedgerUnavailable(LedgerError):
    """The process that writes the ledger is gone."""


class WrongState(LedgerError):
    """The trial or push is in another state than the call needs."""
