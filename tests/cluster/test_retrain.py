"""Trainings after a search on hosts, one of which loses its power."""

from __future__ import annotations

import pytest
from support.hosts import RunOnHosts

from deploy.run import Run

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(600)]

SETTINGS = [
    "top=3",
    "grid={training: {learning_rate: [0.02, 0.05], momentum: [0.8, 0.9]}}",
    "final.num_epochs=60",
    "final.max_epochs=60",
    "final.num_seeds=4",
    "final.snapshot_every_s=1",
]


def trainings(run):
    with Run(run.path).ledger() as ledger:
        return ledger.trainings()


def test_trainings_go_on_elsewhere_when_a_host_loses_its_power(hosts):
    run = RunOnHosts(hosts, "retrained")
    there = f"/share/runs/{run.path.name}"
    hosts.submit("a-search", "nasrl", "search", "--run-dir", there, "--set=num_trials=6")
    hosts.end_of("a-search", 200)

    given = [part for setting in SETTINGS for part in ("--set", setting)]
    hosts.submit("a-retraining", "nasrl", "retrain", there, *given)
    hosts.wait_for(lambda: len(trainings(run)) >= 3, "three trainings", 120)
    on_w1 = int(hosts.run("w1", "pgrep", "-c", "-f", "ray::_train", code=None).split()[0])
    hosts.cut_power("w1")
    printed = hosts.end_of("a-retraining", 400)

    assert on_w1, "nothing was trained on the host that lost its power"
    seen = trainings(run)
    assert len({row.sha256 for row in seen}) == len(seen) == 12 + 4
    assert all(row.test is not None for row in seen if row.stage == "final")
    assert "over 4 seeds" in printed
    lost = [log for log in run.log("retrain").splitlines() if "lost its process" in log]
    assert lost, "no training lost its process"
