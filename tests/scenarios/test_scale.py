"""A search whose replicas come and go while it runs, and while its processes are killed."""

from __future__ import annotations

import os
import signal

import pytest
from support.audit import audit
from support.runs import SMALL, START_S, SearchProcess, is_alive, pid_of
from support.waiting import wait_until

from deploy.cli import main
from deploy.run import Run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

NUM_TRIALS = 60
CHANGES = {
    "num_trials": NUM_TRIALS,
    "num_replicas": 1,
    "training.num_epochs": 6,
    "shards.tls": "always",
}


def scaled_to(search, number):
    assert main(["scale", str(search.path), f"--replicas={number}"]) == 0
    assert Run(search.path).settings.num_replicas == number


def test_replicas_come_and_go_and_every_trial_counts_once(tmp_path, capsys):
    with SearchProcess.new(tmp_path / "run", **CHANGES) as search:
        search.wait_for_trials(2)
        scaled_to(search, 4)
        wait_until(lambda: trials_of(search, 3), "a trial of replica 3", START_S)

        # One of those that are too many is killed as it finishes.
        doomed, other = pid_of(search.path, "replica-3"), pid_of(search.path, "replica-2")
        os.kill(doomed, signal.SIGSTOP)  # so that it cannot finish first
        scaled_to(search, 2)
        os.kill(doomed, signal.SIGKILL)
        wait_until(lambda: not is_alive(other), "the end of replica 2", START_S)
        scaled_to(search, 3)
        wait_until(lambda: pid_of(search.path, "replica-2") != other, "replica 2 again", START_S)

        # What it was scaled to last is what it goes on with.
        search.send(signal.SIGKILL)
        search.end(START_S)
    with SearchProcess.resumed(tmp_path / "run") as search:
        code, said = search.end(200)
        assert code == 0, said
    audit(search.path, NUM_TRIALS, num_shards=SMALL["num_shards"])
    assert Run(search.path).settings.num_replicas == 3
    assert "the search goes on with num_replicas=4\n" in capsys.readouterr().out


def trials_of(search, replica):
    with Run(search.path).ledger() as ledger:
        return [trial for trial in ledger.trials() if trial.replica == replica]
