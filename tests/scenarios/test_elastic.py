"""A search on a cluster whose nodes come and go, all of them on this machine."""

from __future__ import annotations

import re
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest
import ray
from ray.cluster_utils import Cluster
from support.runs import START_S, SearchProcess, is_alive
from support.waiting import wait_until

from deploy.run import Run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

NUM_TRIALS = 24
# One CPU for each child, and children that train for some seconds.
CHANGES = {
    "num_trials": NUM_TRIALS,
    "children.per_replica": 1,
    "children.num_cpus": 1,
    "training.num_epochs": 25,
}
ONE = "1 of 2 children train at a time, on 1 of 2 replicas: the cluster has no room for more now"
BOTH = "2 children train at a time"


@pytest.fixture
def cluster(monkeypatch):
    """A Ray cluster of one node with one processor."""
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
    )
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@pytest.fixture
def start(cluster, tmp_path):
    with ExitStack() as stack:
        yield lambda: stack.enter_context(SearchProcess.new(tmp_path / "run", **CHANGES))


def log(search, name):
    path = search.path / "logs" / f"{name}.log"
    return path.read_text() if path.exists() else ""


def said(search):
    """Give how many children train at a time, each time that it was said."""
    return re.findall(r"(?:\d+ of )?\d+ children train at a time.*", log(search, "search"))


def await_said(search, *what):
    wait_until(lambda: said(search) == list(what), f"{what}", START_S)


def await_training(search, replica):
    """Wait until a child of a replica has just ended the first of its epochs."""

    def first_epochs():
        logs = (search.path / "logs").glob(f"child-{replica}-*.log")
        return sum(len(re.findall(r"epoch 1 of", path.read_text())) for path in logs)

    before = first_epochs()
    wait_until(lambda: first_epochs() > before, f"a child of replica {replica}", START_S)


def assert_complete(search):
    with Run(search.path).ledger() as ledger:
        trials, pushes = ledger.trials(), ledger.pushes()
    assert [trial.trial for trial in trials] == list(range(1, NUM_TRIALS + 1))
    assert {trial.state for trial in trials} == {"completed"}
    carried = Counter(trial for push in pushes for trial in push.trials)
    assert carried == Counter(range(1, NUM_TRIALS + 1))
    assert all(push.closed_at is not None for push in pushes)
    for shard in range(3):
        versions = sorted(push.versions[shard] for push in pushes)
        assert versions == list(range(1, len(pushes) + 1))


def test_node_that_joins_is_used_and_one_that_dies_costs_what_it_trained(cluster, start):
    search = start()
    await_said(search, ONE)
    search.wait_for_trials(1)
    pids = search.pids()
    assert "child-1-0" not in pids

    other = cluster.add_node(num_cpus=1)
    await_said(search, ONE, BOTH)
    await_training(search, 1)

    cluster.remove_node(other, allow_graceful=False)
    await_said(search, ONE, BOTH, ONE)
    code, output = search.end(200)

    assert code == 0, output
    [lost] = re.findall(r"trial (\d+) lost its worker", log(search, "replica-1"))
    assert f"trial {lost} is trained again" in log(search, "replica-0")
    with Run(search.path).ledger() as ledger:
        assert ledger.trials()[int(lost) - 1].replica == 0
    assert_complete(search)
    # Nothing was started again for it.
    names = ["ledger", "replica-0", "replica-1", "shard-0", "shard-1", "shard-2", "child-0-0"]
    assert {name: search.pids()[name] for name in names} == {name: pids[name] for name in names}
    assert output.count("and is replaced") == 0


def processes_of(node, search):
    """Give the names of the search's processes on a node."""
    [raylet] = node.all_processes["raylet"]
    return {
        name
        for name, pid in search.pids().items()
        if is_alive(pid) and parent_of(pid) == raylet.process.pid
    }


def parent_of(pid):
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_node_that_dies_with_all_that_is_on_it_does_not_end_the_search(cluster, start):
    other = cluster.add_node(num_cpus=1)
    search = start()
    await_said(search, BOTH)
    search.wait_for_trials(2)
    await_training(search, 1)
    lost = processes_of(other, search)
    assert any(name.startswith("child") for name in lost), lost
    pids = search.pids()

    cluster.remove_node(other, allow_graceful=False)
    await_said(search, BOTH, ONE)
    code, output = search.end(250)

    assert code == 0, output
    # Ray puts shards and replicas where it likes; those that were there are elsewhere now.
    for name in [name for name in lost if name.startswith(("shard", "replica"))]:
        assert search.pids()[name] != pids[name], f"{name} is where it was"
    assert_complete(search)
