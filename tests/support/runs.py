"""Searches run for a test: small settings, and the processes behind a run directory."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from support.waiting import wait_until

from controller.records import Progress
from deploy.run import Run

START_S = 90
# The processes of a search are nicer than whoever looks at them: too often would slow them down.
LOOK_EVERY_S = 0.5

# Small enough for a test, with more of everything than one.
SMALL = {
    "num_trials": 10,
    "num_replicas": 2,
    "num_shards": 3,
    "children.per_replica": 2,
    "children.num_cpus": 0.25,
    "training.num_epochs": 1,
    "space.num_filters": [4, 8],
    "space.skip_connections": "true",
    "space.layer_types": "[convolution, max_pooling]",
    "space.learning_rates": "[0.02, 0.05]",
    "schedule.num_layers": 3,
}


def overrides(**changes: object) -> list[str]:
    """Give the arguments of `nasrl search` for the small settings, with changes by dotted key."""
    return [f"--set={key}={value}" for key, value in (SMALL | changes).items()]


class SearchProcess:
    """`nasrl search` in a process of its own, killed at the end of the block."""

    def __init__(self, path: Path, *arguments: str) -> None:
        """Start it with these arguments; its run directory is, or will be, at path."""
        self.path = path
        self._process = subprocess.Popen(
            [sys.executable, "-m", "nasrl", "search", *arguments],
            cwd=path.parent,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    @classmethod
    def new(cls, path: Path, **changes: object) -> Self:
        """Start a new search with the small settings."""
        return cls(path, *overrides(**changes), "--run-dir", str(path))

    @classmethod
    def resumed(cls, path: Path, *arguments: str) -> Self:
        """Go on with a search."""
        return cls(path, "--resume", str(path), *arguments)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def progress(self) -> Progress | None:
        """Read the ledger, if it is there."""
        if not (self.path / "ledger.sqlite").exists():
            return None
        run = Run(self.path)
        if not run.has_begun:
            return None
        with run.ledger() as ledger:
            return ledger.progress()

    def num_recorded(self) -> int:
        progress = self.progress()
        return 0 if progress is None else progress.num_recorded

    def wait_for_trials(self, number: int) -> None:
        def is_there() -> bool:
            assert self.is_running, self.end(1)
            time.sleep(LOOK_EVERY_S)
            return self.num_recorded() >= number

        wait_until(is_there, f"{number} trials", START_S)

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def end(self, timeout_s: float) -> tuple[int, str]:
        """Wait for the end; give exit code and output."""
        output, _ = self._process.communicate(timeout=timeout_s)
        return self._process.returncode, output

    def pids(self) -> dict[str, int]:
        """Give the newest process of each name, such as shard-0, whether it lives or not."""
        names = [log.stem for log in (self.path / "logs").glob("*.log") if log.stem != "search"]
        return {name: pid_of(self.path, name) for name in names if _pids_in(self.path, name)}


def pid_of(run: Path, process: str) -> int:
    """Give the id of the newest process of a name, such as shard-0, from its log."""
    pids = _pids_in(run, process)
    assert pids, f"{process} has not logged its process id"
    return pids[-1]


def _pids_in(run: Path, process: str) -> list[int]:
    log = (run / "logs" / f"{process}.log").read_text()
    return [int(pid) for pid in re.findall(r"process (\d+)$", log, re.M)]


def is_alive(pid: int) -> bool:
    """Tell whether a process runs; one that has ended and was not reaped yet does not."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


def wait_until_gone(pids: Mapping[str, int]) -> None:
    """Return when none of these processes is left."""
    for name, pid in pids.items():
        wait_until(lambda pid=pid: not is_alive(pid), f"the end of {name}", 15)
