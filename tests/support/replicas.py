"""A controller replica for tests: it samples nothing, and notes what it is told."""

from __future__ import annotations

import json
import os
import threading
import time
from typing import Any

import ray
from support.actors import Living

from workers.pool import PoolStatus
from workers.process import ProcessSetup
from workers.remote import control


class NotingReplica(Living):
    """Takes the place of a ReplicaProcess: notes what it is told, and has the workers it is given.

    It works until it is drained, or until a file of its name is in the folder.
    """

    def __init__(
        self,
        setup: ProcessSetup,
        replica: int,
        plan: Any,
        ledger: str,
        data: list[Any],
        num_workers: int,
    ) -> None:
        assert (ledger, ray.get(data[0])) == ("ledger", "data")
        self._name = f"replica-{replica}"
        self._folder = setup.log_dir
        self._num_workers = num_workers
        self._is_drained = threading.Event()
        self._note("born", num_workers, os.getpid())

    def run(self) -> None:
        self._note("run")
        end = self._folder / f"{self._name}-returns"
        while not self._is_drained.is_set() and not end.exists():
            time.sleep(0.02)
        end.unlink(missing_ok=True)

    @control
    def drain(self) -> None:
        self._note("drain")
        self._is_drained.set()

    @control
    def resize(self, num_workers: int) -> None:
        self._num_workers = num_workers
        self._note("resize", num_workers)

    @control
    def status(self) -> PoolStatus:
        path = self._folder / f"{self._name}-starting"
        num_starting = min(int(path.read_text()) if path.exists() else 0, self._num_workers)
        return PoolStatus(self._num_workers, self._num_workers - num_starting)

    def _note(self, *what: object) -> None:
        with (self._folder / f"{self._name}.notes").open("a") as notes:
            notes.write(f"{json.dumps(what)}\n")
