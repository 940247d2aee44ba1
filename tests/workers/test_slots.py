"""How many children a cluster has room for, and who gets the workers."""

from collections import Counter
from fractions import Fraction

import pytest
from pydantic import ValidationError

from workers.children_settings import ChildrenSettings
from workers.node import Node
from workers.slots import Slot, demand, first, lacking, num_fitting, rooms, share, slot


def settings(**given):
    return ChildrenSettings(**{"num_cpus": 1.0, "num_gpus": 0.0} | given)


def node(name, free=None, **total):
    return Node(name, total, total if free is None else free, f"id-of-{name}")


@pytest.mark.parametrize(
    ("children", "there", "number"),
    [
        ({"num_cpus": 1.0}, {"CPU": 3.0}, 3),
        ({"num_cpus": 1.0}, {"CPU": 2.9}, 2),
        ({"num_cpus": 2.0}, {"CPU": 3.0}, 1),
        ({"num_cpus": 0.1}, {"CPU": 0.3}, 3),  # which 3 * 0.1 is a little more than
        ({"num_cpus": 1.0}, {}, 0),
        ({"num_gpus": 1.0}, {"CPU": 8.0, "GPU": 2.0}, 2),
        ({"num_gpus": 1.0}, {"CPU": 1.0, "GPU": 2.0}, 1),
        ({"num_gpus": 1.0}, {"CPU": 8.0}, 0),
        ({"num_gpus": 2.0}, {"CPU": 8.0, "GPU": 5.0}, 2),
        # A part of a GPU is of one GPU: 0.6 of one and 0.6 of another leave no room for a third.
        ({"num_gpus": 0.6}, {"CPU": 8.0, "GPU": 2.0}, 2),
        ({"num_gpus": 0.5}, {"CPU": 8.0, "GPU": 2.0}, 4),
        ({"num_gpus": 0.3}, {"CPU": 8.0, "GPU": 1.0}, 3),
        ({"num_gpus": 0.3}, {"CPU": 8.0, "GPU": 1.7}, 5),
        ({"num_gpus": 0.6}, {"CPU": 8.0, "GPU": 0.4}, 0),
    ],
)
def test_children_fit_where_all_they_need_is_on_one_node(children, there, number):
    assert num_fitting(there, slot(settings(**children), "anywhere")) == number


@pytest.mark.parametrize("number", range(1, 101))
def test_as_many_children_fit_on_a_gpu_by_rays_count_as_are_to_share_it(number):
    part = slot(ChildrenSettings(num_cpus=0.01, per_gpu=number), "anywhere").num_gpus
    counted = Fraction(round(part * 10_000), 10_000)  # Ray's own unit
    assert counted * number <= 1 < counted * (number + 1)
    assert num_fitting({"CPU": 9.0, "GPU": 2.0}, Slot("", 0.01, part)) == 2 * number


@pytest.mark.parametrize(
    ("children", "num_gpus", "each", "number"),
    [
        # As many as are wanted have a GPU each, or more.
        ({"num_gpus": 1.0, "per_gpu_node": 2}, 4.0, 1.0, 2),
        ({"num_gpus": 1.0, "per_gpu_node": 4}, 4.0, 1.0, 4),
        ({"num_gpus": 2.0, "per_gpu_node": 2}, 4.0, 2.0, 2),
        # They have not: the GPUs are shared, as evenly as GPUs can be.
        ({"num_gpus": 1.0, "per_gpu_node": 5}, 4.0, 0.5, 5),
        ({"num_gpus": 1.0, "per_gpu_node": 8}, 4.0, 0.5, 8),
        ({"num_gpus": 1.0, "per_gpu_node": 9}, 4.0, 0.3333, 9),
        ({"num_gpus": 1.0, "per_gpu_node": 3}, 1.0, 0.3333, 3),
        ({"num_gpus": 2.0, "per_gpu_node": 3}, 4.0, 1.0, 3),
        ({"num_gpus": 0.6, "per_gpu_node": 3}, 2.0, 0.5, 3),
        ({"num_gpus": 0.5, "per_gpu_node": 3}, 2.0, 0.5, 3),
        # How many share one is said: the node has no room for more.
        ({"num_gpus": 1.0, "per_gpu": 2, "per_gpu_node": 3}, 4.0, 0.5, 3),
        ({"num_gpus": 1.0, "per_gpu": 2, "per_gpu_node": 9}, 4.0, 0.5, 8),
        ({"num_gpus": 1.0, "per_gpu": 1, "per_gpu_node": 9}, 4.0, 1.0, 4),
        ({"num_gpus": 0.25, "per_gpu": 2, "per_gpu_node": 9}, 4.0, 0.5, 8),
        # Processors are not shared: num_cpus says how many a child has.
        ({"num_gpus": 1.0, "num_cpus": 4.0, "per_gpu_node": 8}, 4.0, 0.5, 4),
    ],
)
def test_children_of_a_gpu_node_share_its_gpus_where_these_are_fewer(
    children, num_gpus, each, number
):
    there = node("gpus", CPU=16.0, GPU=num_gpus)
    [room] = rooms([there], settings(**children), "anywhere")
    assert room.slot == Slot("id-of-gpus", settings(**children).num_cpus, each)
    assert room.num_at_most == room.num_free == number


def test_nodes_with_gpus_have_rooms_of_their_own_where_children_are_counted_by_them():
    busy = node("b", free={"CPU": 8.0, "GPU": 1.0}, CPU=8.0, GPU=4.0)
    there = [busy, node("a", CPU=8.0, GPU=8.0), node("head", CPU=64.0)]
    found = rooms(there, settings(num_gpus=1.0, per_gpu_node=3), "anywhere")
    assert [(room.slot.place, room.num_free, room.num_at_most) for room in found] == [
        ("id-of-a", 3, 3),
        ("id-of-b", 1, 3),
    ]


def test_nodes_have_one_room_together_otherwise():
    busy = node("b", free={"CPU": 8.0, "GPU": 1.0}, CPU=8.0, GPU=4.0)
    there = [busy, node("a", CPU=8.0, GPU=8.0), node("head", CPU=64.0)]
    [room] = rooms(there, settings(num_gpus=1.0, per_gpu=2), "anywhere")
    assert (room.slot, room.num_free, room.num_at_most) == (Slot("anywhere", 1.0, 0.5), 10, 16)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"per_gpu": 2, "num_gpus": 2.0}, "per_gpu=2: must be none where num_gpus=2;"),
        ({"per_gpu": 2, "num_gpus": 0.0}, "per_gpu=2: must be none where num_gpus=0;"),
        ({"per_gpu_node": 2, "num_gpus": 0.0}, "per_gpu_node=2: must be none where num_gpus=0,"),
        ({"per_gpu": 0, "num_gpus": 1.0}, "greater than or equal to 1"),
        ({"per_gpu_node": 0, "num_gpus": 1.0}, "greater than or equal to 1"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(given, message):
    with pytest.raises(ValidationError, match=message):
        settings(**given)


A, B = Slot("a", 1.0, 1.0), Slot("b", 1.0, 0.5)


@pytest.mark.parametrize(
    ("num_slots", "sizes"),
    [
        (0, [0, 0, 0]),
        (1, [1, 0, 0]),  # fewer than m: it trains its m in waves
        (4, [4, 0, 0]),
        (6, [4, 2, 0]),
        (12, [4, 4, 4]),
        (99, [4, 4, 4]),
    ],
)
def test_slots_are_dealt_replica_by_replica(num_slots, sizes):
    shares = share(Counter({A: num_slots}), num_replicas=3, per_replica=4)
    assert [mine.total() for mine in shares] == sizes


@pytest.mark.parametrize(
    ("there", "before", "shares"),
    [
        # One more on the first node moves nobody.
        ({A: 3, B: 2}, [{A: 2}, {B: 2}, {}], [{A: 2}, {B: 2}, {A: 1}]),
        # A node that leaves: the first replicas are filled up from the last ones.
        ({B: 2}, [{A: 2}, {B: 2}, {}], [{B: 2}, {}, {}]),
        ({A: 2, B: 1}, [{A: 2}, {A: 1, B: 1}, {B: 1}], [{A: 2}, {B: 1}, {}]),
        # Fewer replicas than before, and more.
        ({A: 4}, [{A: 2}, {A: 2}, {A: 2}, {A: 2}], [{A: 2}, {A: 2}, {}]),
        ({A: 3, B: 3}, [{B: 2}], [{B: 2}, {A: 2}, {A: 1, B: 1}]),
    ],
)
def test_replicas_keep_the_slots_that_they_can(there, before, shares):
    dealt = share(Counter(there), 3, 2, [Counter(had) for had in before])
    assert dealt == [Counter(mine) for mine in shares]


def test_replicas_that_are_absent_get_no_slots():
    dealt = share(Counter({A: 3}), 3, 2, [Counter({A: 2}), Counter(), Counter()], absent=[0])
    assert dealt == [Counter(), Counter({A: 2}), Counter({A: 1})]


def test_first_slots_are_those_that_come_first():
    assert first(3, Counter({B: 2, A: 2})) == Counter({B: 2, A: 1})
    assert first(9, Counter({B: 2})) == Counter({B: 2})


GPUS = node("gpus", CPU=8.0, GPU=4.0)


@pytest.mark.parametrize(
    ("children", "there", "num_missing", "asked"),
    [
        ({"num_gpus": 0.5}, [GPUS], 7, ({"CPU": 1.0, "GPU": 0.5}, 7)),
        ({}, [], 7, ({"CPU": 1.0}, 7)),
        # Three on each node: what is free by Ray's count is none for us.
        ({"num_gpus": 1.0, "per_gpu_node": 3}, [GPUS], 7, ({"GPU": 4.0}, 3)),
        ({"num_gpus": 1.0, "per_gpu_node": 16}, [GPUS], 7, ({"GPU": 4.0}, 1)),
        ({"num_gpus": 1.0, "per_gpu_node": 3}, [GPUS], 0, ({"GPU": 4.0}, 0)),
        # What the nodes will be like is not known.
        ({"num_gpus": 1.0, "per_gpu_node": 3}, [], 7, ({"CPU": 1.0, "GPU": 0.3333}, 1)),
        ({"num_gpus": 1.0, "per_gpu_node": 3}, [], 0, ({"CPU": 1.0, "GPU": 0.3333}, 0)),
        # No child fits there.
        (
            {"num_gpus": 1.0, "num_cpus": 9.0, "per_gpu_node": 3},
            [GPUS],
            2,
            ({"CPU": 9.0, "GPU": 0.3333}, 1),
        ),
    ],
)
def test_demand_is_what_the_missing_children_need(children, there, num_missing, asked):
    assert demand(settings(**children), there, "anywhere", num_missing) == asked


def test_cluster_with_one_node_that_has_all_lacks_nothing():
    cluster = [node("small", CPU=1.0), node("large", CPU=4.0)]
    assert lacking(settings(num_cpus=4.0), cluster) == ""


def test_every_resource_that_is_lacking_is_named_node_by_node_with_what_there_is():
    cluster = [node("10.0.0.1", CPU=2.0), node("10.0.0.2", CPU=8.0, GPU=1.0)]
    assert lacking(settings(num_cpus=4.0, num_gpus=2.0), cluster).splitlines() == [
        "children.num_gpus=2: 10.0.0.1 has 0 GPUs; children.num_cpus=4: 10.0.0.1 has 2 CPUs",
        "children.num_gpus=2: 10.0.0.2 has 1 GPUs",
    ]


def test_gpus_that_are_shared_out_are_not_lacking():
    there = [node("10.0.0.1", CPU=2.0, GPU=1.0)]
    assert lacking(settings(num_gpus=1.0, per_gpu=4), there) == ""
    assert lacking(settings(num_gpus=2.0, per_gpu_node=4), there) == ""
    assert lacking(settings(num_gpus=1.0, per_gpu_node=4), [node("10.0.0.2", CPU=2.0)]) == (
        "children.num_gpus=1: 10.0.0.2 has 0 GPUs"
    )


def test_what_others_use_now_is_not_lacking():
    busy = Node("busy", total={"CPU": 4.0}, free={})
    assert lacking(settings(num_cpus=4.0), [busy]) == ""
