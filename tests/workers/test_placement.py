"""What a search may use of a cluster."""

from workers import placement
from workers.node import Node
from workers.placement import Need, Placement
from workers.remote import ANYWHERE, THIS_MACHINE

MEBI = 2**20


def test_shard_asks_for_memory_by_its_slice_and_a_replica_for_that_of_a_process():
    spread = Placement(is_spread=True, is_on_gpus=True)
    assert spread.need() == Need(0.1, 400 * MEBI)
    assert spread.need(slice_bytes=100 * MEBI) == Need(0.1, 1000 * MEBI)


def test_children_on_cpus_keep_every_core():
    assert Placement(is_spread=True, is_on_gpus=False).need().num_cpus == 0.0


def test_search_on_one_machine_sets_nothing_aside():
    here = Placement(is_spread=False, is_on_gpus=True)
    assert here.need(slice_bytes=100 * MEBI) == Need(0.0, 0)


def test_children_go_where_ray_finds_room_of_what_may_be_used():
    assert Placement(is_spread=True, is_on_gpus=True).of_children == ANYWHERE
    assert Placement(is_spread=False, is_on_gpus=True).of_children == THIS_MACHINE


def test_nodes_of_other_machines_are_left_alone_unless_the_search_spans_them(monkeypatch):
    here, there = Node("10.0.0.1", {}, {}), Node("10.0.0.2", {}, {})
    monkeypatch.setattr(placement, "nodes", lambda: [here, there])
    monkeypatch.setattr(placement.ray.util, "get_node_ip_address", lambda: "10.0.0.1")
    assert Placement(is_spread=True, is_on_gpus=True).nodes() == [here, there]
    assert Placement(is_spread=False, is_on_gpus=True).nodes() == [here]
