"""A controller replica for tests: it samples nothing, and notes what it is told."""

from __future__ import annotations

import json
import os
import threading
import time
from collections import Counter
from typing import Any

import ray
from support.actors import Living

from workers.pool import PoolStatus
from workers.process import ProcessSetup
from workers.remote import control
from workers.replica import ReplicaStatus
from workers.slots import Slot, first


class NotingReplica(Living):
    """Takes the place of a ReplicaProcess: notes what it is told, and has the workers it is given.

    It works until it is drained, or until a file of its name is in the folder. Others say how many
    of its workers start still, or leave, and that none can be constructed.
    """

    def __init__(
        self,
        setup: ProcessSetup,
        replica: int,
        plan: Any,
        ledger: str,
        data: list[Any],
        slots: Counter[Slot],
    ) -> None:
        assert (ledger, ray.get(data[0])) == ("ledger", "data")
        self._name = f"replica-{replica}"
        self._folder = setup.log_dir
        self._slots = slots
        self._is_drained = threading.Event()
        self._note("born", _listed(slots), os.getpid())

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
    def resize(self, slots: Counter[Slot]) -> None:
        self._slots = slots
        self._note("resize", _listed(slots))

    @control
    def status(self) -> ReplicaStatus:
        starting = first(self._told("starting"), self._slots)
        unborn = "RuntimeError: no CUDA device" if self._told("unborn") else ""
        trial = self._told("training")
        training = ((trial, "host: cpu", 2.5),) if trial else ()
        ready = self._slots - starting
        pool = PoolStatus(self._slots, ready, starting, self._told("leaving"), training, unborn)
        port = self._told("metrics")
        return ReplicaStatus(pool, f"host:{port}" if port else None)

    def _told(self, what: str) -> int:
        """Give what a test wrote for it."""
        path = self._folder / f"{self._name}-{what}"
        return int(path.read_text()) if path.exists() else 0

    def _note(self, *what: object) -> None:
        with (self._folder / f"{self._name}.notes").open("a") as notes:
            notes.write(f"{json.dumps(what)}\n")


def _listed(slots: Counter[Slot]) -> list[tuple[str, float, int]]:
    """Give (place, GPUs of each, number) for each kind of slot."""
    return [(slot.place, slot.num_gpus, number) for slot, number in slots.items()]
