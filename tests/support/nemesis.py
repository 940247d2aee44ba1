"""A nemesis: kills and freezes the processes of a search at random times."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Mapping

from support.runs import SearchProcess, is_alive

KINDS = ("shard", "replica", "child", "ledger")


class Nemesis:
    """Strikes one process after another of a search, of each kind as often.

    Whoever is struck by SIGSTOP stays frozen, until somebody notices.
    """

    def __init__(
        self, search: SearchProcess, seed: int, pause_s: tuple[float, float], frozen: float = 0.2
    ) -> None:
        """Plan to strike after pauses of so long, uniformly drawn; frozen is a probability."""
        self.struck: list[str] = []
        self._search = search
        self._draw = random.Random(seed)
        self._pause_s = pause_s
        self._frozen = frozen
        self._is_frozen: set[int] = set()

    def strike(self, number: int, timeout_s: float) -> None:
        """Strike so often; return before if the search ends or the time is over."""
        deadline = time.monotonic() + timeout_s
        while len(self.struck) < number and time.monotonic() < deadline:
            time.sleep(self._draw.uniform(*self._pause_s))
            if not self._search.is_running:
                return
            kind = KINDS[len(self.struck) % len(KINDS)]
            if victims := self._alive(kind):
                self._strike(self._draw.choice(sorted(victims)), victims)

    def _alive(self, kind: str) -> Mapping[str, int]:
        return {
            name: pid
            for name, pid in self._search.pids().items()
            if name.startswith(kind) and pid not in self._is_frozen and is_alive(pid)
        }

    def _strike(self, name: str, victims: Mapping[str, int]) -> None:
        is_freezing = self._draw.random() < self._frozen
        number = signal.SIGSTOP if is_freezing else signal.SIGKILL
        try:
            os.kill(victims[name], number)
        except ProcessLookupError:
            return
        if is_freezing:
            self._is_frozen.add(victims[name])
        self.struck.append(f"{number.name} {name}")
