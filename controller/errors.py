"""What the ledger says when it does not do what was asked."""

from __future__ import annotations


class LedgerError(Exception):
    """The ledger did not do what was asked.

    LedgerError
      NotOwner           a newer life of the replica is known, or the trial is somebody else's
      WrongState         the trial or push is not where the call wants it; a bug in the caller
      LedgerUnavailable  its process or its database does not answer

    The first two refuse, and leave the ledger as it was. After the last the change may or may not
    have been made.
    """


class NotOwner(LedgerError):
    """The caller is a past life of its replica, or the trial is not its own."""


class WrongState(LedgerError):
    """The trial or push is in another state than the call needs."""


class LedgerUnavailable(LedgerError):
    """The process that writes the ledger, or its database, is gone or cannot be used."""
