"""Hosts that lose their power or their cable in the middle of a search."""

from __future__ import annotations

import time

import pytest
from support.audit import audit
from support.hosts import ADDRESSES, RunOnHosts

from deploy.run import Run

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(600)]

NUM_TRIALS = 60
# Loose: two processors carry all the hosts.
RECOVERY_S = 90
CHANGES = {
    "num_trials": NUM_TRIALS,
    "num_replicas": 3,
    "children.per_replica": 2,
    "children.num_cpus": 1,
    "training.num_epochs": 8,
}


@pytest.fixture
def search(hosts, request):
    """A search that has recorded its first trials, with a shard on the head and one on w1."""
    run = RunOnHosts(hosts, request.node.name)
    settings = [f"--set={key}={value}" for key, value in CHANGES.items()]
    there = f"/share/runs/{run.path.name}"
    hosts.submit(run.path.name, "nasrl", "search", "--run-dir", there, *settings)
    hosts.wait_for(lambda: run.num_recorded() >= 6, "six trials", 120)
    assert host_of_shard(run, 1) == ADDRESSES["w1"]
    return run


def host_of_shard(run, shard):
    return Run(run.path).endpoints()[shard].rpartition(":")[0]


def seconds_to_next_push(hosts, run):
    since = time.time()

    def pushed():
        with Run(run.path).ledger() as ledger:
            return any(p.closed_at and p.opened_at > since for p in ledger.pushes())

    hosts.wait_for(pushed, "a push that all shards have acknowledged", RECOVERY_S)
    return time.time() - since


def assert_complete(hosts, run):
    hosts.end_of(run.path.name, 300)
    audit(run.path, NUM_TRIALS, num_shards=2)


def test_search_goes_on_when_a_host_with_a_shard_loses_its_power(hosts, search):
    hosts.cut_power("w1")
    took_s = seconds_to_next_push(hosts, search)
    print(f"\npower cut of a shard's host to the next push: {took_s:.1f} s")
    assert host_of_shard(search, 1) == ADDRESSES["head"]

    hosts.replace("w1")
    hosts.wait_for(lambda: hosts.num_nodes() == 3, "the blank host in the cluster", 90)
    # Ray remembers the dead one, which is no obstacle for the next search.
    look = "from deploy.job import JobClient; print(JobClient('http://127.0.0.1:8265').nodes())"
    assert hosts.run("driver", "python", "-c", look).count("Node(") == 3
    assert_complete(hosts, search)


def test_shard_whose_process_is_killed_is_back_from_its_journal(hosts, search):
    hosts.run("w1", "pkill", "-9", "-f", "ray::ShardProcess")
    took_s = seconds_to_next_push(hosts, search)
    print(f"\nkill of a shard's process to the next push: {took_s:.1f} s")
    assert_complete(hosts, search)


def test_shard_whose_host_is_cut_off_never_accepts_a_push_again(hosts, search):
    there = f"/share/runs/{search.path.name}"
    before = Run(search.path).endpoints()[1]
    asked = ("nasrl", "shards", before, "--certificates", f"{there}/certificates")
    assert " SERVING" in hosts.run("w1", *asked)
    hosts.pull_cable("w1")
    took_s = seconds_to_next_push(hosts, search)
    print(f"\npulled cable of a shard's host to the next push: {took_s:.1f} s")
    assert Run(search.path).endpoints()[1] != before

    # It lives on behind the cable, and has found out: it sees the folder still.
    said = hosts.run("w1", *asked, code=1)
    assert " SERVING" not in said
    assert "another has taken over, and this one ends" in search.log("shard-1")
    hosts.put_cable_back("w1")
    assert_complete(hosts, search)
