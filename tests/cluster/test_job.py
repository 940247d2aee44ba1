"""A search as a job on a cluster that `ray up` made, looked at from outside."""

from __future__ import annotations

import re
import time

import pytest
from support.audit import audit
from support.hosts import ADDRESSES, RunOnHosts

from deploy.run import Run

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(700)]

NUM_TRIALS = 24
CHANGES = {
    "num_trials": NUM_TRIALS,
    "num_replicas": 3,
    "children.per_replica": 2,
    "children.num_cpus": 1,
    "training.num_epochs": 15,
}


def submit(hosts):
    """Give what was said, and the job's name."""
    settings = [f"--set={key}={value}" for key, value in CHANGES.items()]
    said = hosts.run(
        "driver", "nasrl", "submit", "--run-dir", "/share/runs/first", "--no-wait", *settings
    )
    [job] = re.findall(r"nasrl-share-runs-first-\w+", said)
    return said, job


def test_search_is_a_job_whose_shards_are_on_hosts_without_gpus_behind_mutual_tls(hosts):
    run = RunOnHosts(hosts, "first")
    began = time.monotonic()
    said, job = submit(hosts)
    assert f"submitted as {job}" in said
    hosts.wait_for(lambda: run.num_recorded() >= 1, "a trial", 200)
    print(f"\nsubmission to the first recorded trial: {time.monotonic() - began:.1f} s")

    # From a host that is no part of the cluster, with the run directory's certificates.
    said = hosts.run("driver", "nasrl", "shards", "/share/runs/first")
    assert said.count("SERVING") == 2
    places = [line.split(":")[0] for line in said.splitlines() if "SERVING" in line]
    assert sorted(places) == [ADDRESSES["head"], ADDRESSES["w1"]]
    # Without them nobody gets an answer.
    address = next(line.split()[0] for line in said.splitlines() if "SERVING" in line)
    refused = hosts.run("driver", "nasrl", "shards", address, code=1)
    assert "UNREACHABLE" in refused
    said, again = submit(hosts)
    assert said.startswith(f"runs already as {job}: following\nit keeps the settings that it runs")
    assert again == job

    printed = hosts.end_of(job, 300)
    assert f"Search finished: {NUM_TRIALS} of {NUM_TRIALS} trials" in printed
    assert "shards         2       0 CPU, 400 MiB  10.77.0.2 (1), 10.77.0.3 (1)" in printed
    assert "no GPUs there" in printed
    audit(run.path, NUM_TRIALS, num_shards=2)
    # Kept as it was given: resumed, the search may be on one machine.
    assert Run(run.path).settings.shards.host == "auto"
    # The children trained on all hosts that had room.
    assert "6 children train at a time" in run.log("search")


def test_cluster_that_was_taken_down_as_the_docs_say_leaves_nothing_running(hosts):
    hosts.run("driver", "ray", "down", "--yes", "/share/cluster.yaml")
    for worker in ("w1", "w2"):
        hosts.run(worker, "ray", "stop")
    for host in ("head", "w1", "w2"):
        assert hosts.run(host, "pgrep", "-af", "raylet|gcs_server|ray::", code=1) == ""
