"""Searches whose shards have TLS, or are started by somebody else and killed meanwhile."""

import os
import signal
import socket
import subprocess
import sys

import pytest
from support.runs import overrides
from support.waiting import wait_until

from deploy.cli import main
from deploy.run import Run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def assert_complete(run, num_shards):
    """Every trial is in one closed push, and every shard has accepted every push once."""
    with run.ledger() as ledger:
        trials, pushes = ledger.trials(), ledger.pushes()
        assert ledger.progress().state == "finished"
    carried = [trial for push in pushes for trial in push.trials]
    assert sorted(carried) == [trial.trial for trial in trials]
    assert all(push.closed_at is not None for push in pushes)
    for shard in range(num_shards):
        assert sorted(push.versions[shard] for push in pushes) == list(range(1, len(pushes) + 1))


def test_search_with_tls_on_loopback_runs_to_its_end(tmp_path, capsys):
    path = tmp_path / "run"
    changes = overrides(**{"shards.tls": "always"})
    assert main(["search", *changes, "--run-dir", str(path)]) == 0, capsys.readouterr()
    assert_complete(Run(path), num_shards=3)
    names = {file.stem for file in (path / "certificates").glob("*.key")}
    assert names == {
        *("authority", "launcher", "observer", "shard-0", "shard-1", "shard-2"),
        *("replica-0", "replica-1"),
    }
    assert all(file.stat().st_mode & 0o077 == 0 for file in (path / "certificates").glob("*.key"))


class HandStarted:
    """Shards of a run that `nasrl shard` serves, each in a process of its own."""

    def __init__(self, run_path, addresses):
        self._run_path = run_path
        self._addresses = addresses
        self._processes = {}

    def start(self, index):
        command = [sys.executable, "-m", "nasrl", "shard", str(self._run_path), f"--index={index}"]
        log = (self._run_path / "logs" / f"hand-{index}.log").open("ab")
        with log:
            process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self._run_path)
        self._processes[index] = process

    def kill(self, index):
        os.kill(self._processes[index].pid, signal.SIGKILL)
        self._processes[index].wait(timeout=10)

    def end(self):
        for process in self._processes.values():
            process.send_signal(signal.SIGTERM)
        return [process.wait(timeout=30) for process in self._processes.values()]

    def close(self):
        for process in self._processes.values():
            process.kill()
            process.wait(timeout=10)


def free_addresses(number):
    bound = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    addresses = [f"127.0.0.1:{each.getsockname()[1]}" for each in bound]
    for each in bound:
        each.close()
    return addresses


def test_search_goes_on_when_shards_that_somebody_else_started_are_killed_and_restarted(tmp_path):
    path, addresses = tmp_path / "run", free_addresses(2)
    changes = overrides(
        **{"num_shards": 2, "shards.addresses": addresses, "num_trials": 60, "shards.tls": "always"}
    )
    search = subprocess.Popen(
        [sys.executable, "-m", "nasrl", "search", *changes, "--run-dir", str(path)],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    shards = HandStarted(path, addresses)
    try:
        wait_until(lambda: (path / "certificates" / "shard-1.key").exists(), "certificates", 60)
        for index in range(2):
            shards.start(index)
        wait_until(lambda: (path / "endpoints.json").exists(), "the search runs", 120)
        killed_at = []
        for index in (0, 1, 0):
            before = num_pushed(path)
            wait_until(lambda before=before: num_pushed(path) >= before + 3, "pushes", 60)
            shards.kill(index)
            killed_at.append(num_pushed(path))
            shards.start(index)
        output, _ = search.communicate(timeout=120)
        assert search.returncode == 0, output
        assert "the shards are expected at" in output
        assert killed_at[-1] < 30, "the search was over before the last kill"
        assert shards.end() == [0, 0]
    finally:
        shards.close()
        search.kill()
        search.communicate(timeout=30)
    assert_complete(Run(path), num_shards=2)


def num_pushed(path):
    with Run(path).ledger() as ledger:
        return sum(push.closed_at is not None for push in ledger.pushes())
