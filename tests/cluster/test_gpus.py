"""Children on pretended GPUs: Ray places and numbers them like real ones."""

from __future__ import annotations

import itertools
import json
import time

import pytest
from support.audit import audit
from support.hosts import RunOnHosts

# As in pretended_search.py, which is not imported: it pretends GPUs wherever it is.
CHILD_S = 1.0

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(400)]


def begin(hosts, name, **changes):
    """Begin a search whose children note their place and time, and give its run directory."""
    for file in (hosts.share / "notes").glob("*"):
        file.unlink()
    fixed = {"num_trials": 12, "num_replicas": 2, "training.num_epochs": 1}
    settings = [f"--set={key}={value}" for key, value in (fixed | changes).items()]
    script = "/share/code/tests/cluster/pretended_search.py"
    hosts.submit(name, "python", script, "--run-dir", f"/share/runs/{name}", *settings)
    return RunOnHosts(hosts, name)


def end(hosts, run, num_trials):
    """Wait for the end of a search; give what its children noted, and what it printed."""
    printed = hosts.end_of(run.path.name, 150)
    assert run.num_recorded() == num_trials
    folder = hosts.share / "notes"
    notes = [
        json.loads(line) for file in folder.iterdir() for line in file.read_text().splitlines()
    ]
    assert {note["host"] for note in notes} == {"w2"}
    return notes, printed


def notes_of(hosts, name, **changes):
    """Run a search of 12 children; give what these noted, and what it printed."""
    return end(hosts, begin(hosts, name, **changes), 12)


def most_at_once(notes, gpu):
    """Give how many children were on a GPU at a time, at most."""
    of_gpu = [note for note in notes if note["gpu"] == gpu]
    return max(
        sum(other["begun"] <= note["begun"] < other["ended"] for other in of_gpu) for note in of_gpu
    )


def test_every_child_has_a_gpu_of_its_own(hosts):
    changes = {"children.per_replica": 1, "children.num_gpus": 1, "children.num_cpus": 0.5}
    notes, printed = notes_of(hosts, "whole", **changes)
    assert {note["gpu"] for note in notes} == {"0", "1"}
    assert [most_at_once(notes, gpu) for gpu in "01"] == [1, 1]
    # Shards and replicas are on the nodes without GPUs.
    assert "shards         2       0.1 CPU, 400 MiB  10.77.0.2 (1), 10.77.0.3 (1)" in printed
    assert "10.77.0.4 (2)" in printed


def test_children_share_a_gpu_where_that_is_asked_for(hosts):
    changes = {
        "children.per_replica": 2,
        "children.num_gpus": 1,
        "children.per_gpu": 2,
        "children.num_cpus": 0.25,
    }
    notes, _ = notes_of(hosts, "halves", **changes)
    assert {note["gpu"] for note in notes} == {"0", "1"}
    assert [most_at_once(notes, gpu) for gpu in "01"] == [2, 2]


def test_living_search_is_scaled_on_its_gpu_nodes(hosts):
    changes = {
        "num_trials": 60,
        "num_replicas": 1,
        "children.per_replica": 2,
        "children.num_gpus": 1,
        "children.num_cpus": 0.25,
        "children.per_gpu_node": 1,
    }
    run = begin(hosts, "scaled", **changes)
    hosts.wait_for(lambda: run.num_recorded() >= 6, "six trials", 120)
    scale = ("nasrl", "scale", f"/share/runs/{run.path.name}")

    # More than there are GPUs, by more replicas: they share.
    said = hosts.run("w1", *scale, "--children-per-gpu-node", "4", "--replicas", "2")
    assert said == "the search goes on with children.per_gpu_node=4, num_replicas=2\n"
    shared_at = time.time()
    before = run.num_recorded()
    hosts.wait_for(lambda: run.num_recorded() >= before + 20, "twenty more", 120)

    # And back to one each.
    hosts.run("head", *scale, "--children-per-gpu-node", "none")
    alone_at = time.time()
    notes, printed = end(hosts, run, 60)

    assert "at most children.per_gpu_node=1 on each" in printed
    early = [note for note in notes if note["ended"] < shared_at]
    assert len(early) >= 6
    assert not overlapping(early)
    late = [note for note in notes if shared_at < note["begun"] < alone_at]
    assert [most_at_once(late, gpu) for gpu in "01"] == [2, 2]
    # Once those have ended that had begun before.
    last = [note for note in notes if note["begun"] > alone_at + 2 * CHILD_S]
    assert [most_at_once(last, gpu) for gpu in "01"] == [1, 1]
    audit(run.path, 60, num_shards=2)


def overlapping(notes):
    """Tell whether any two trained at the same time, wherever."""
    ordered = sorted(notes, key=lambda note: note["begun"])
    return any(a["ended"] > b["begun"] for a, b in itertools.pairwise(ordered))
