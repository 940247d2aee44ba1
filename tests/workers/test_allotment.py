"""Which slots the replicas of a search have, as nodes come and go and the search is scaled."""

from collections import Counter

import pytest
from support.clock import FakeClock

from workers.allotment import START_PATIENCE_S, Allotment
from workers.children_settings import ChildrenSettings
from workers.node import Node
from workers.pool import PoolStatus
from workers.slots import first

NUM_REPLICAS = 2
ON_CPUS = ChildrenSettings(per_replica=2, num_cpus=1.0, num_gpus=0.0)
ON_GPUS = ChildrenSettings(per_replica=2, num_cpus=1.0, per_gpu_node=2)
LOOK_EVERY_S = 2.0
NO_ROOM = "the cluster has no room for more now"


def node(total, free=None):
    """Give a node of so many CPUs."""
    return Node("here", {"CPU": float(total)}, {"CPU": float(total if free is None else free)})


def gpu_node(name, total, free=None):
    """Give a node of so many GPUs."""
    has = [{"CPU": 8.0, "GPU": float(n)} for n in (total, total if free is None else free)]
    return Node(name, *has, f"id-of-{name}")


class Stage:
    """An allotment, on nodes that a test makes up, whose replicas do at once what it says.

    starting, leaving: how many of each replica's workers do, by what a test says. absent: replicas
    that wait for room. is_finishing: whether those that are no more have children in training.
    """

    def __init__(self, *nodes, children=ON_CPUS, num_replicas=NUM_REPLICAS):
        self.clock = FakeClock()
        self.starting, self.leaving = Counter(), Counter()
        self.absent, self.is_finishing = set(), False
        self.allotment = Allotment(children, num_replicas, "anywhere", nodes, self.clock)

    def look(self, *nodes):
        """Look at the nodes, and at the replicas' workers."""
        self.clock.advance(LOOK_EVERY_S)
        replicas = range(len(self.allotment.shares))
        statuses = [None if r in self.absent else self.status(r) for r in replicas]
        return self.allotment.update(nodes, statuses, is_leaving=self.is_finishing)

    def status(self, replica):
        mine = self.allotment.shares[replica]
        ready = mine - first(self.starting[replica], mine)
        return PoolStatus(mine, ready, mine - ready, self.leaving[replica])

    @property
    def quotas(self):
        return [mine.total() for mine in self.allotment.shares]

    @property
    def slots(self):
        """Give {(node, GPUs of each): number} for each replica."""
        return [
            {(slot.place.removeprefix("id-of-"), slot.num_gpus): n for slot, n in mine.items()}
            for mine in self.allotment.shares
        ]

    @property
    def said(self):
        return str(self.allotment)


@pytest.mark.parametrize(
    ("num_cpus", "quotas", "said"),
    [
        ((4,), [2, 2], "4 children train at a time"),
        ((2, 2), [2, 2], "4 children train at a time"),
        ((9,), [2, 2], "4 children train at a time"),
        ((1, 2), [2, 1], f"3 of 4 children train at a time, on 2 of 2 replicas: {NO_ROOM}"),
        ((1,), [1, 0], f"1 of 4 children train at a time, on 1 of 2 replicas: {NO_ROOM}"),
        ((0,), [0, 0], f"0 of 4 children train at a time, on 0 of 2 replicas: {NO_ROOM}"),
    ],
)
def test_search_begins_with_as_many_slots_as_there_is_room_for_and_says_so(num_cpus, quotas, said):
    stage = Stage(*map(node, num_cpus))
    assert stage.quotas == quotas
    assert stage.said == said


def test_one_child_is_one():
    stage = Stage(node(1), children=ON_CPUS.model_copy(update={"per_replica": 1}), num_replicas=1)
    assert stage.said == "1 child trains at a time"


def test_node_that_joins_is_used():
    stage = Stage(node(1))
    assert not stage.look(node(1, 0))
    assert stage.look(node(1, 0), node(2))
    assert stage.quotas == [2, 1]
    stage.look(node(1, 0), node(2, 0), node(8))
    assert stage.quotas == [2, 2]


def test_room_that_a_starting_worker_is_about_to_take_is_not_given_away_twice():
    stage = Stage(node(1))
    stage.starting[0] = 1  # it has been given no place yet
    stage.look(node(2, 1))
    assert stage.quotas == [1, 0]


def test_node_that_leaves_takes_its_slots_from_the_last_replicas():
    stage = Stage(node(2), node(2))
    stage.look(node(2, 0), node(2, 0))
    stage.look(node(1, 0))
    assert stage.quotas == [1, 0]
    assert stage.said.startswith("1 of 4 children train at a time, on 1 of 2 replicas: ")


def test_node_that_leaves_while_they_drain_takes_its_slots_too_and_none_that_joins_gives_any():
    stage = Stage(node(2), node(2))
    stage.allotment.drain()
    stage.look(node(3, 0))
    assert stage.quotas == [2, 1]
    stage.look(node(3, 0), node(4))
    assert stage.quotas == [2, 1]


def test_slots_whose_workers_wait_for_what_others_have_taken_are_given_up_after_three_minutes():
    stage = Stage(node(1))
    stage.look(node(4, 3))
    assert stage.quotas == [2, 2]
    stage.starting.update({0: 1, 1: 1})  # somebody else was faster
    stage.look(node(4, 0))
    stage.clock.advance(START_PATIENCE_S - LOOK_EVERY_S)
    stage.look(node(4, 0))
    assert stage.quotas == [2, 2]
    stage.look(node(4, 0))
    assert stage.quotas == [2, 0]
    # As soon as they give it back it is used.
    stage.starting.clear()
    stage.look(node(4, 2))
    assert stage.quotas == [2, 2]


def test_slot_whose_place_was_taken_when_its_worker_died_is_given_up_too():
    stage = Stage(node(4))
    stage.look(node(4, 0))
    stage.starting[1] = 2
    stage.look(node(4, 0))
    assert stage.quotas == [2, 2]
    stage.clock.advance(START_PATIENCE_S)
    stage.look(node(4, 0))
    assert stage.quotas == [2, 0]


def test_slots_are_counted_node_by_node_where_the_settings_say_so():
    head = Node("head", {"CPU": 64.0}, {"CPU": 64.0})
    stage = Stage(gpu_node("a", 4), gpu_node("b", 1), head, children=ON_GPUS)
    assert stage.slots == [{("a", 1.0): 2}, {("b", 0.5): 2}]  # these share one
    assert stage.said == "4 children train at a time"


def test_node_with_slots_of_its_own_that_leaves_takes_those_alone():
    stage = Stage(gpu_node("a", 4), gpu_node("b", 4), children=ON_GPUS)
    stage.look(gpu_node("b", 4, 2))
    assert stage.slots == [{("b", 1.0): 2}, {}]
    assert stage.said == (
        f"2 of 4 children train at a time, on 1 of 2 replicas: {NO_ROOM}, with "
        "children.per_gpu_node=2"
    )
    # What is free of a node by Ray's count is not by ours.
    assert stage.allotment.demand == ({"GPU": 4.0}, 1)
    stage.look(gpu_node("b", 4, 2), gpu_node("c", 4))
    assert stage.slots == [{("b", 1.0): 2}, {("c", 1.0): 2}]


def test_search_that_is_scaled_on_its_gpu_nodes_has_other_slots_as_workers_end():
    stage = Stage(gpu_node("a", 2), children=ON_GPUS)
    assert stage.slots == [{("a", 1.0): 2}, {}]
    stage.look(gpu_node("a", 2, 0))

    stage.allotment.scale(ON_GPUS.model_copy(update={"per_gpu_node": 4}), NUM_REPLICAS)
    stage.look(gpu_node("a", 2, 0))
    assert stage.slots == [{}, {}]
    assert stage.said == ""  # the replicas do not know yet
    stage.leaving[0] = 2
    stage.look(gpu_node("a", 2, 0))
    assert stage.said == (
        "0 of 4 children train at a time, on 0 of 2 replicas: more as those end that have begun "
        "before"
    )
    assert stage.allotment.demand[1] == 0  # no other node is needed
    stage.leaving[0] = 1
    stage.look(gpu_node("a", 2, 1))
    assert stage.slots == [{("a", 0.5): 2}, {}]
    stage.leaving[0] = 0
    stage.look(gpu_node("a", 2, 1))
    assert stage.slots == [{("a", 0.5): 2}, {("a", 0.5): 2}]
    assert stage.said == "4 children train at a time"


def test_fewer_children_on_a_node_leave_the_others_where_they_are():
    stage = Stage(gpu_node("a", 2), gpu_node("b", 2), children=ON_GPUS)
    stage.look(gpu_node("a", 2, 0), gpu_node("b", 2, 0))
    stage.allotment.scale(ON_GPUS.model_copy(update={"per_gpu_node": 1}), NUM_REPLICAS)
    stage.look(gpu_node("a", 2, 0), gpu_node("b", 2, 0))
    assert stage.slots == [{("a", 1.0): 1, ("b", 1.0): 1}, {}]


@pytest.mark.parametrize(("num_replicas", "quotas"), [(1, [2]), (2, [2, 2]), (3, [2, 2, 0])])
def test_replicas_that_are_fewer_or_more_keep_their_slots(num_replicas, quotas):
    stage = Stage(node(8))
    stage.look(node(8, 4))
    stage.allotment.scale(ON_CPUS, num_replicas)
    assert stage.quotas == quotas
    # Those that are added have none yet, which says nothing of the cluster.
    assert stage.said == ("" if num_replicas > 2 else f"{sum(quotas)} children train at a time")
    stage.look(node(8, 8 - sum(quotas)))
    assert stage.quotas == [2] * num_replicas
    assert stage.said == f"{2 * num_replicas} children train at a time"


def test_demand_is_for_the_children_that_have_no_slot_until_they_drain():
    stage = Stage(node(1))
    assert stage.allotment.demand == ({"CPU": 1.0}, 0)  # the first has not taken its place yet
    stage.look(node(1, 0))
    assert stage.allotment.demand == ({"CPU": 1.0}, 3)
    stage.look(node(1, 0), node(2))
    assert stage.allotment.demand == ({"CPU": 1.0}, 0)
    stage.look(node(1, 0), node(2, 0))
    assert stage.allotment.demand == ({"CPU": 1.0}, 1)
    stage.allotment.drain()
    assert stage.allotment.demand == ({"CPU": 1.0}, 0)


def test_demand_is_for_all_children_where_there_is_room_for_none():
    assert Stage(node(0)).allotment.demand == ({"CPU": 1.0}, 4)


def test_slots_in_use_are_taken_before_others():
    stage = Stage(gpu_node("b", 1), children=ON_GPUS, num_replicas=1)
    assert stage.slots == [{("b", 0.5): 2}]
    stage.look(gpu_node("a", 8), gpu_node("b", 1, 0))
    assert stage.slots == [{("b", 0.5): 2}]


def test_workers_have_all_their_time_to_start_after_the_slots_have_changed():
    stage = Stage(node(1))
    stage.starting[0] = 1
    stage.look(node(1, 0))
    stage.clock.advance(START_PATIENCE_S - LOOK_EVERY_S)
    stage.look(node(1, 0), node(1))
    assert stage.quotas == [1, 0]  # the same free place may be for the one that starts
    stage.look(node(1, 0), node(2))
    assert stage.quotas == [2, 0]
    stage.look(node(1, 0), node(2, 0))
    assert stage.quotas == [2, 0]


def test_replica_that_waits_for_room_itself_gets_no_slots_and_others_have_them():
    stage = Stage(node(3))
    assert stage.quotas == [2, 1]
    stage.absent = {0}
    assert stage.look(node(3))
    assert stage.quotas == [0, 2]
    assert stage.said == (
        f"2 of 4 children train at a time, on 1 of 2 replicas: {NO_ROOM}; replicas that wait for "
        "room themselves: 1"
    )
    assert not stage.look(node(3, 1))
    assert stage.allotment.demand[1] == 0  # its children would have nobody
    stage.absent = set()
    stage.look(node(3, 1))
    assert stage.quotas == [2, 1]


def test_children_of_replicas_that_are_no_more_end_before_more_room_is_asked_for():
    stage = Stage(node(4))
    stage.look(node(4, 0))
    stage.allotment.scale(ON_CPUS, 3)
    stage.is_finishing = True
    for _ in range(3):
        stage.look(node(4, 0))
    assert stage.allotment.demand[1] == 0
    stage.is_finishing = False
    stage.look(node(4, 0))
    assert stage.allotment.demand == ({"CPU": 1.0}, 2)


def test_scaled_search_asks_for_room_once_the_replicas_have_said_twice_what_they_have():
    stage = Stage(node(4))
    stage.look(node(4, 0))
    stage.allotment.scale(ON_CPUS, 3)
    asked = []
    for _ in range(3):
        stage.look(node(4, 0))
        asked.append(stage.allotment.demand[1])
    assert asked == [0, 2, 2]
