"""The ledger as a Ray actor: the one writer of a search."""

from __future__ import annotations

import os
from typing import Any

from controller.ledger import Ledger
from workers.process import ProcessSetup
from workers.remote import THIS_NODE, control, spawn


class LedgerProcess(Ledger):
    """The ledger, in a process of its own."""

    def __init__(self, setup: ProcessSetup, url: str) -> None:
        setup.enter("ledger")
        super().__init__(url)

    @control
    def ping(self) -> int:
        """Answer with the process id: the process lives."""
        return os.getpid()


def spawn_ledger(setup: ProcessSetup, url: str) -> Any:
    """Start a LedgerProcess actor on this node, which Ray restarts whenever it dies."""
    return spawn(LedgerProcess, setup, url, is_restarted=True, place=THIS_NODE)
