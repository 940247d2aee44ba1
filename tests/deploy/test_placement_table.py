"""The table of what a search asks of a cluster."""

import itertools

import pytest

from deploy.placement_table import placement_table
from deploy.settings_file import load_settings
from workers import placement
from workers.node import Node
from workers.placement import Placement


def node(name, **total):
    total["memory"] = 2.0**34
    return Node(name, total, total, f"id-of-{name}")


@pytest.fixture
def table(monkeypatch):
    """Give a function that gives the table of a search of 2 x 8 children on these nodes."""

    def make(*there, **changes):
        monkeypatch.setattr(placement, "nodes", lambda: list(there))
        overrides = ["num_replicas=2", "children.per_replica=8", "children.num_gpus=0.5"]
        settings = load_settings(overrides=[*overrides, *(f"{k}={v}" for k, v in changes.items())])
        is_on_gpus = settings.children.num_gpus > 0
        places = Placement(is_spread=True, is_on_gpus=is_on_gpus)
        return placement_table(settings, places, "10.0.0.1").splitlines()

    return make


TABLE = """\
what           number  each asks for     where         why there
ledger         1       nothing           10.0.0.1      the search was started there
shards         2       0.1 CPU, 400 MiB  10.0.0.1 (2)  no GPUs there
replicas       2       0.1 CPU, 400 MiB  10.0.0.1 (2)  no GPUs there
child workers  16      1 CPU, 0.5 GPU    10.0.0.2 (4)  room for so many; more as nodes join
"""


def test_table_says_what_goes_where_and_why(table):
    head, gpus = node("10.0.0.1", CPU=8.0), node("10.0.0.2", CPU=8.0, GPU=2.0)
    assert table(head, gpus) == TABLE.splitlines()


def test_children_that_are_counted_node_by_node_are_so_in_the_table(table):
    small, large = node("10.0.0.1", CPU=8.0, GPU=1.0), node("10.0.0.2", CPU=64.0, GPU=8.0)
    row = table(small, large, **{"children.num_gpus": 1, "children.per_gpu_node": 2})[4]
    assert "1 CPU, 0.5 GPU or 1 CPU, 1 GPU" in row
    assert "10.0.0.1 (2), 10.0.0.2 (2)" in row
    assert row.endswith("at most children.per_gpu_node=2 on each; more as nodes join")
    waiting = table(
        node("10.0.0.1", CPU=8.0), **{"children.num_gpus": 1, "children.per_gpu_node": 2}
    )
    assert [cell.strip() for cell in waiting[4].split("  ") if cell][-2:] == [
        "no node yet",
        "at most children.per_gpu_node=2 on each; more as nodes join",
    ]


def test_cluster_of_gpu_nodes_alone_has_the_shards_there_too(table):
    rows = table(node("10.0.0.1", CPU=8.0, GPU=2.0))
    assert "10.0.0.1" in rows[2]
    assert rows[2].endswith("no room on nodes without GPUs")


def test_cluster_without_gpus_has_them_on_all_nodes(table):
    machines = [node("10.0.0.2", CPU=4.0), node("10.0.0.1", CPU=2.0)]
    rows = table(*machines, **{"children.num_gpus": 0.0})
    assert "10.0.0.1 (1), 10.0.0.2 (1)" in rows[2]
    assert rows[2].endswith("all nodes in turn")
    assert "10.0.0.1 (2), 10.0.0.2 (4)" in rows[4]


def test_what_has_no_room_is_counted(table):
    small = node("10.0.0.1", CPU=0.35)
    assert "10.0.0.1 (1), 1 wait for room: ask for fewer" in table(small)[3]


def test_node_that_joins_while_the_table_is_made_is_no_mistake(monkeypatch):
    first, second = node("10.0.0.1", CPU=8.0), node("10.0.0.2", CPU=8.0)
    looks = itertools.chain([[first]], itertools.repeat([first, second]))
    monkeypatch.setattr(placement, "nodes", lambda: next(looks))
    places = Placement(is_spread=True, is_on_gpus=False)
    rows = placement_table(load_settings(), places, "10.0.0.1").splitlines()
    assert "10.0.0.1 (1), 10.0.0.2 (1)" in rows[2]


def test_room_that_is_still_to_come_is_said(table):
    assert "no node yet" in table(node("10.0.0.1", CPU=8.0))[4]


def test_shards_that_somebody_else_starts_are_left_out(table):
    rows = table(
        node("10.0.0.1", CPU=8.0), **{"shards.addresses": "[10.0.0.1:7070, 10.0.0.2:7070]"}
    )
    assert [row.split()[0] for row in rows] == ["what", "ledger", "replicas", "child"]
