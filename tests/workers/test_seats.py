"""Which node a shard or a replica is given."""

import pytest

from workers import placement
from workers.node import Node
from workers.placement import Need, Placement
from workers.remote import ANYWHERE, THIS_MACHINE
from workers.seats import Seats

MEBI = 2**20
SMALL = Need(0.1, 400 * MEBI)


def node(name, num_cpus=8.0, num_gpus=0.0, memory_mib=8000):
    total = {"CPU": num_cpus, "memory": float(memory_mib * MEBI)}
    if num_gpus:
        total["GPU"] = num_gpus
    return Node(name, total, total, name)


HEAD, OTHER, GPUS = node("head"), node("other"), node("gpus", num_gpus=8.0)


@pytest.fixture
def alive():
    return []


@pytest.fixture
def seat(alive, monkeypatch):
    """Give a function that seats a process among the nodes that are alive."""
    monkeypatch.setattr(placement, "nodes", lambda: list(alive))
    seats = Seats(Placement(is_spread=True, is_on_gpus=True))
    return lambda who, need=SMALL: seats.seat(who, need)


def test_shards_are_spread_over_the_nodes_without_gpus(seat, alive):
    alive += [OTHER, GPUS, HEAD]
    assert [seat(f"shard {shard}") for shard in range(4)] == ["head", "other"] * 2


@pytest.mark.parametrize(
    "crowded",
    [node("head", num_cpus=0.05), node("head", memory_mib=399)],
    ids=["no CPU", "no memory"],
)
def test_node_with_gpus_is_taken_where_no_other_has_room(seat, alive, crowded):
    alive += [crowded, GPUS]
    assert seat("shard 0") == "gpus"
    alive.append(OTHER)
    assert seat("shard 1") == "other"


def test_what_others_use_is_no_room(seat, alive):
    alive += [Node("head", HEAD.total, {"CPU": 0.0, "memory": 0.0}, "head"), OTHER]
    assert seat("shard 0") == "other"


def test_what_was_given_is_no_room_though_ray_does_not_know_it_yet(seat, alive):
    alive += [node("head", num_cpus=0.25), GPUS]
    assert [seat(f"replica {replica}") for replica in range(3)] == ["head", "head", "gpus"]


def test_successor_goes_to_another_node_and_frees_its_seat(seat, alive):
    alive += [node("head", num_cpus=0.1), OTHER]
    assert seat("shard 0") == "head"
    assert seat("shard 0") == "other"
    assert seat("shard 1") == "head"


def test_successor_stays_where_there_is_no_other(seat, alive):
    alive += [HEAD, GPUS]
    assert [seat("shard 0"), seat("shard 0")] == ["head", "head"]


def test_seat_of_a_process_that_has_ended_is_free(alive, monkeypatch):
    monkeypatch.setattr(placement, "nodes", lambda: list(alive))
    seats = Seats(Placement(is_spread=True, is_on_gpus=True))
    alive.append(node("head", num_cpus=0.1))
    assert seats.seat("replica 0", SMALL) == "head"
    assert seats.seat("shard 0", SMALL) == ANYWHERE
    seats.leave("replica 0")
    seats.leave("replica 7")  # which had none
    assert seats.seat("shard 0", SMALL) == "head"


def test_process_that_fits_nowhere_waits_for_any_node(alive, monkeypatch):
    monkeypatch.setattr(placement, "nodes", lambda: list(alive))
    seats = Seats(Placement(is_spread=True, is_on_gpus=True))
    alive.append(node("head", num_cpus=0.0))
    assert seats.seat("shard 0", SMALL) == ANYWHERE
    assert not seats.has_seat("shard 0")
    alive.append(OTHER)
    assert seats.seat("shard 0", SMALL) == "other"
    assert seats.has_seat("shard 0")
    alive.remove(OTHER)
    seats.seat("shard 0", SMALL)
    assert not seats.has_seat("shard 0")


def test_search_on_one_machine_stays_there():
    seats = Seats(Placement(is_spread=False, is_on_gpus=True))
    assert seats.seat("shard 0", SMALL) == THIS_MACHINE
    assert seats.has_seat("shard 0")
