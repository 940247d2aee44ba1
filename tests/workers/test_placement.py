"""Where shards, replicas and children go."""

import pytest

from workers import placement
from workers.placement import Need, Placement, homes
from workers.remote import ANYWHERE, THIS_MACHINE
from workers.slots import Node

MEBI = 2**20
SMALL = Need(0.1, 400 * MEBI)


def node(name, num_cpus=8.0, num_gpus=0.0, memory_mib=8000):
    total = {"CPU": num_cpus, "memory": float(memory_mib * MEBI)}
    if num_gpus:
        total["GPU"] = num_gpus
    return Node(name, total, total, f"id-of-{name}")


HEAD, OTHER, GPUS = node("10.0.0.1"), node("10.0.0.2"), node("10.0.0.3", num_gpus=8.0)


@pytest.fixture
def spread(monkeypatch):
    """Give a function that gives the placement of a search on these nodes."""

    def make(*there, is_on_gpus=True):
        monkeypatch.setattr(placement, "nodes", lambda: list(there))
        return Placement(is_spread=True, is_on_gpus=is_on_gpus)

    return make


def test_shards_go_round_the_nodes_without_gpus(spread):
    places = spread(OTHER, GPUS, HEAD)
    assert [places.of_light(shard, SMALL) for shard in range(4)] == [
        HEAD.node_id,
        OTHER.node_id,
        HEAD.node_id,
        OTHER.node_id,
    ]


@pytest.mark.parametrize(
    "crowded",
    [node("10.0.0.1", num_cpus=0.05), node("10.0.0.1", memory_mib=399)],
    ids=["no CPU", "no memory"],
)
def test_node_with_gpus_is_taken_where_no_other_has_room(crowded):
    assert homes([crowded, GPUS], SMALL) == [GPUS]
    assert homes([crowded, OTHER, GPUS], SMALL) == [OTHER]


def test_process_that_fits_nowhere_waits_for_any_node(spread):
    assert spread(node("10.0.0.1", num_cpus=0.0)).of_light(0, SMALL) == ANYWHERE


def test_what_is_used_is_no_room():
    used = Node("10.0.0.1", HEAD.total, {"CPU": 0.0, "memory": 0.0}, "id")
    assert homes([used, OTHER], SMALL) == [OTHER]


def test_children_go_where_ray_finds_room(spread):
    assert spread(HEAD, GPUS).of_children == ANYWHERE


def test_shard_asks_for_memory_by_its_slice_and_a_replica_for_that_of_a_process(spread):
    places = spread(HEAD)
    assert places.need() == Need(0.1, 400 * MEBI)
    assert places.need(slice_bytes=100 * MEBI) == Need(0.1, 1000 * MEBI)


def test_children_on_cpus_keep_every_core(spread):
    assert spread(HEAD, is_on_gpus=False).need().num_cpus == 0.0


def test_search_on_one_machine_stays_there_and_sets_nothing_aside():
    places = Placement(is_spread=False, is_on_gpus=True)
    assert places.need(slice_bytes=100 * MEBI) == Need(0.0, 0)
    assert places.of_light(3, SMALL) == THIS_MACHINE
    assert places.of_children == THIS_MACHINE
