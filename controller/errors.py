"""What the ledger says when it does not do what was asked."""

from __future__ import annotations


class LedgerError(Exception):
    """The ledger did not do what was asked.

    LedgerError
      Superseded         a newer life of the replica or of the search is known: end this one
      NotOwner           the trial is somebody else's by now: forget it, and go on
      StillAlive         a life of the search has not ended and gives signs: wait, or stop it
      WrongState         the trial or push is not where the call wants it; a bug in the caller
      UnusableDatabase   no ledger can be in such a database, or there: name another
      LedgerUnavailable  its process or its database does not answer; every call is safe to repeat

    All but the last refuse, and leave the ledger as it was. After the last the change may or may
    not have been made.
    """


class Superseded(LedgerError):
    """The caller is a past life of its replica, or of the search."""


class NotOwner(LedgerError):
    """The trial is not the caller's, or not any more."""


class StillAlive(LedgerError):
    """The newest life of the search has not ended, and gave a sign since it was looked at."""


class WrongState(LedgerError):
    """The trial or push is in another state than the call needs."""


class UnusableDatabase(LedgerError, ValueError):
    """The URL is of no database that the ledger can be in, or of one in the wrong place."""


class LedgerUnavailable(LedgerError):
    """The process that writes the ledger, or its database, is gone or cannot be used."""
