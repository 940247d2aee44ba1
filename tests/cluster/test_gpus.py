"""Children on pretended GPUs: Ray places and numbers them like real ones."""

from __future__ import annotations

import json

import pytest
from support.hosts import RunOnHosts

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(400)]


def notes_of(hosts, name, **changes):
    """Run a search of 12 children; give what each noted of its place and time."""
    run = RunOnHosts(hosts, name)
    folder = hosts.share / "notes"
    for file in folder.glob("*"):
        file.unlink()
    fixed = {"num_trials": 12, "num_replicas": 2, "training.num_epochs": 1}
    settings = [f"--set={key}={value}" for key, value in (fixed | changes).items()]
    script = "/share/code/tests/cluster/pretended_search.py"
    hosts.submit(name, "python", script, "--run-dir", f"/share/runs/{name}", *settings)
    printed = hosts.end_of(name, 150)
    assert run.num_recorded() == 12
    notes = [
        json.loads(line) for file in folder.iterdir() for line in file.read_text().splitlines()
    ]
    assert {note["host"] for note in notes} == {"w2"}
    return notes, printed


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
    changes = {"children.per_replica": 2, "children.num_gpus": 0.5, "children.num_cpus": 0.25}
    notes, _ = notes_of(hosts, "halves", **changes)
    assert {note["gpu"] for note in notes} == {"0", "1"}
    assert [most_at_once(notes, gpu) for gpu in "01"] == [2, 2]
