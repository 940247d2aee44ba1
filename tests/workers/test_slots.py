"""How many children a cluster has room for, and who gets the workers."""

import pytest

from workers.child import ChildrenSettings
from workers.slots import Node, lacking, num_fitting, quotas


def settings(**given):
    return ChildrenSettings(**{"num_cpus": 1.0, "num_gpus": 0.0} | given)


def node(name, **total):
    return Node(name, total, total)


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
    assert num_fitting(there, settings(**children)) == number


@pytest.mark.parametrize(
    ("num_slots", "shares"),
    [
        (0, [0, 0, 0]),
        (1, [1, 0, 0]),  # fewer than m: it trains its m in waves
        (4, [4, 0, 0]),
        (6, [4, 2, 0]),
        (12, [4, 4, 4]),
        (99, [4, 4, 4]),
    ],
)
def test_slots_are_filled_replica_by_replica(num_slots, shares):
    assert quotas(num_slots, num_replicas=3, per_replica=4) == shares


def test_cluster_with_one_node_that_has_all_lacks_nothing():
    cluster = [node("small", CPU=1.0), node("large", CPU=4.0)]
    assert lacking(settings(num_cpus=4.0), cluster) == ""


def test_every_resource_that_is_lacking_is_named_node_by_node_with_what_there_is():
    cluster = [node("10.0.0.1", CPU=2.0), node("10.0.0.2", CPU=8.0, GPU=1.0)]
    assert lacking(settings(num_cpus=4.0, num_gpus=2.0), cluster).splitlines() == [
        "children.num_gpus=2: 10.0.0.1 has 0 GPUs; children.num_cpus=4: 10.0.0.1 has 2 CPUs",
        "children.num_gpus=2: 10.0.0.2 has 1 GPUs",
    ]


def test_what_others_use_now_is_not_lacking():
    busy = Node("busy", total={"CPU": 4.0}, free={})
    assert lacking(settings(num_cpus=4.0), [busy]) == ""
