"""All replicas of a search: who works, who has how many child workers, as nodes come and go."""

from __future__ import annotations

import json
import os
import signal
import time
from types import SimpleNamespace

import pytest
import ray
from support.actors import START_S
from support.clock import FakeClock
from support.replicas import NotingReplica
from support.runs import is_alive
from support.waiting import wait_until

from workers import replica_set
from workers.child import ChildrenSettings
from workers.placement import Placement
from workers.process import ProcessSetup
from workers.replica_set import ASK_EVERY_S, LOOK_EVERY_S, START_PATIENCE_S, ReplicaSet
from workers.seats import Seats
from workers.slots import Node
from workers.supervisor import Supervisor

pytestmark = pytest.mark.usefixtures("cluster")

NUM_REPLICAS = 2
PLAN = SimpleNamespace(
    children=ChildrenSettings(per_replica=2, num_cpus=1.0, num_gpus=0.0),
    placement=Placement(is_spread=False, is_on_gpus=False),
)


class Stage:
    """Replicas that note what they are told, on nodes that a test makes up."""

    def __init__(self, folder, clock):
        self.folder, self.clock = folder, clock
        self.said = []
        self.supervisor = Supervisor(self.said.append)
        self.nodes = []
        self.set = None

    def start(self, *num_cpus, num_replicas=NUM_REPLICAS):
        """Start the replicas on nodes of so many CPUs, all of them free."""
        self.nodes = [node(number, number) for number in num_cpus]
        setup, data = ProcessSetup(self.folder), ray.put("data")
        self.set = ReplicaSet(
            self.supervisor,
            setup,
            PLAN,
            "ledger",
            data,
            num_replicas,
            Seats(PLAN.placement),
            self.clock,
        )
        self.await_notes(0, "born")
        return self.set

    def notes(self, replica):
        """Give what a replica was told, in all its lives."""
        path = self.folder / f"replica-{replica}.notes"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def await_notes(self, replica, *kinds):
        """Give what a replica was told once it is of these kinds."""
        what = f"{kinds} of replica {replica}"
        wait_until(lambda: [kind for kind, *_ in self.notes(replica)] == list(kinds), what, START_S)
        return self.notes(replica)

    def return_from_work(self, replica):
        (self.folder / f"replica-{replica}-returns").touch()

    def has_starting(self, replica, number):
        """Let so many of a replica's workers wait for their place from now on."""
        (self.folder / f"replica-{replica}-starting").write_text(str(number))

    def look(self):
        """Have the set look at the nodes, and at its replicas' workers if it wants to."""
        self.clock.advance(LOOK_EVERY_S)
        deadline = time.monotonic() + START_S
        while self.clock() >= self.set._look_at:
            assert time.monotonic() < deadline, "the replicas' workers are not known"
            self.set.rebalance()
            time.sleep(0.01)

    def quotas(self):
        """Give how many workers each replica was last told to have."""
        told = [self.notes(replica) for replica in range(NUM_REPLICAS)]
        return [[n[1] for n in notes if n[0] in ("born", "resize")][-1] for notes in told]

    def await_quotas(self, *quotas):
        wait_until(lambda: self.quotas() == list(quotas), f"quotas {quotas}", START_S)


def node(total, free):
    return Node("here", {"CPU": float(total)}, {"CPU": float(free)})


@pytest.fixture
def stage(tmp_path, monkeypatch):
    stage = Stage(tmp_path, FakeClock())
    monkeypatch.setattr(replica_set, "ReplicaProcess", NotingReplica)
    monkeypatch.setattr(Placement, "nodes", lambda _: stage.nodes)
    yield stage
    if stage.set is not None:
        stage.set.close()


def test_replicas_work_when_told_and_again_when_they_have_returned(stage):
    replicas = stage.start(4)
    stage.await_notes(1, "born")
    assert not replicas.has_returned
    replicas.work()
    for replica in range(NUM_REPLICAS):
        stage.await_notes(replica, "born", "run")
        stage.return_from_work(replica)
    wait_until(lambda: returned(stage), "all have returned", START_S)

    replicas.work()

    assert not replicas.has_returned
    stage.await_notes(0, "born", "run", "run")


def returned(stage):
    stage.supervisor.check()
    return stage.set.has_returned


def test_one_that_works_still_is_waited_for(stage):
    replicas = stage.start(4)
    replicas.work()
    stage.return_from_work(0)
    wait_until(lambda: not (stage.folder / "replica-0-returns").exists(), "its return", START_S)
    stage.supervisor.check(wait_s=0.5)
    assert not replicas.has_returned


def test_drained_replicas_return_and_take_no_new_workers(stage):
    replicas = stage.start(2)
    replicas.work()
    replicas.drain()
    wait_until(lambda: returned(stage), "all have returned", START_S)
    stage.nodes = [node(9, 9)]
    stage.clock.advance(60)
    stage.look()
    assert stage.quotas() == [2, 0]


def test_replica_that_dies_after_the_drain_is_drained_again_and_gets_no_workers(stage):
    replicas = stage.start(4)
    replicas.drain()
    [[_, _, pid], _] = stage.await_notes(0, "born", "drain")
    os.kill(pid, signal.SIGKILL)
    replicas.work()
    wait_until(lambda: returned(stage), "all have returned", START_S)
    kinds = [kind for kind, *_ in stage.notes(0)]
    assert kinds.count("born") == 2
    assert kinds[-1] in ("drain", "run")  # which are told at the same time
    assert [note[1] for note in stage.notes(0) if note[0] == "born"] == [2, 0]


def test_replica_of_an_earlier_life_gets_no_workers_and_is_waited_for(stage):
    replicas = stage.start(4)
    replicas.finish(7)
    replicas.work()
    for replica in range(NUM_REPLICAS):
        stage.return_from_work(replica)
    wait_until(lambda: returned(stage), "all have returned", START_S)
    assert sorted(note[0] for note in stage.notes(7)) == ["born", "drain", "run"]
    assert stage.notes(7)[0][1] == 0


def test_closed_replicas_end_at_once_and_are_not_replaced(stage):
    replicas = stage.start(4)
    replicas.finish(7)
    replicas.work()
    [[_, _, pid], _] = stage.await_notes(0, "born", "run")
    replicas.close()
    wait_until(lambda: not is_alive(pid), "the end of a replica", START_S)
    stage.supervisor.check(wait_s=0.3)
    assert stage.said == ["4 children train at a time"]
    assert [note[0] for note in stage.notes(0)] == ["born", "run"]


def test_replica_that_dies_gets_as_many_workers_as_it_had(stage):
    replicas = stage.start(4)
    replicas.work()
    [[_, _, pid], _] = stage.await_notes(0, "born", "run")
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: [returned(stage), len(stage.said)] == [False, 2], "the death", START_S)
    notes = stage.await_notes(0, "born", "run", "born", "run")
    assert [note[1] for note in notes if note[0] == "born"] == [2, 2]
    assert stage.said[1].startswith("replica 0 died and is replaced: ")


@pytest.mark.parametrize(
    ("num_cpus", "quotas", "said"),
    [
        ((4,), [2, 2], "4 children train at a time"),
        ((2, 2), [2, 2], "4 children train at a time"),
        ((9,), [2, 2], "4 children train at a time"),
        (
            (1, 2),
            [2, 1],
            "3 of 4 children train at a time, on 2 of 2 replicas: the cluster has no room for more "
            "now",
        ),
        (
            (1,),
            [1, 0],
            "1 of 4 children train at a time, on 1 of 2 replicas: the cluster has no room for more "
            "now",
        ),
    ],
)
def test_search_begins_with_as_many_workers_as_there_is_room_for_and_says_so(
    stage, num_cpus, quotas, said
):
    stage.start(*num_cpus)
    stage.await_notes(1, "born")
    assert stage.quotas() == quotas
    assert stage.said == [said]


def test_node_that_joins_is_used_and_said_so(stage):
    stage.start(1)
    stage.nodes = [node(1, 0)]
    stage.look()
    assert len(stage.said) == 1
    stage.nodes = [node(1, 0), node(2, 2)]

    stage.look()

    stage.await_quotas(2, 1)
    assert stage.said[1] == (
        "3 of 4 children train at a time, on 2 of 2 replicas: the cluster has no room for more now"
    )
    stage.nodes = [node(1, 0), node(2, 0), node(8, 8)]
    stage.look()
    stage.await_quotas(2, 2)
    assert stage.said[2:] == ["4 children train at a time"]


def test_room_that_a_starting_worker_is_about_to_take_is_not_given_away_twice(stage):
    stage.start(1)
    stage.await_notes(1, "born")
    stage.nodes = [node(2, 1)]
    stage.has_starting(0, 1)  # it has been given no place yet
    stage.look()
    assert stage.quotas() == [1, 0]


def test_node_that_leaves_takes_its_workers_from_the_last_replicas(stage):
    stage.start(2, 2)
    stage.await_notes(1, "born")
    stage.nodes = [node(2, 0), node(2, 0)]
    stage.look()
    stage.nodes = [node(1, 0)]
    stage.look()
    stage.await_quotas(1, 0)
    assert stage.said[1].startswith("1 of 4 children train at a time, on 1 of 2 replicas: ")


def test_node_that_leaves_while_they_drain_takes_its_workers_too(stage):
    stage.start(2, 2).drain()
    stage.await_notes(1, "born", "drain")
    stage.nodes = [node(3, 0)]
    stage.look()
    stage.await_quotas(2, 1)
    # They take nothing new, so that they get no more when one joins.
    stage.nodes = [node(3, 0), node(4, 4)]
    stage.look()
    assert stage.quotas() == [2, 1]


def test_workers_that_wait_for_what_others_have_taken_are_given_up_after_three_minutes(stage):
    stage.start(1)
    stage.await_notes(1, "born")
    stage.nodes = [node(4, 3)]
    stage.look()
    stage.await_quotas(2, 2)
    # Somebody else was faster: two of the three new ones find no room.
    stage.has_starting(0, 1)
    stage.has_starting(1, 1)
    stage.nodes = [node(4, 0)]
    stage.look()
    stage.clock.advance(START_PATIENCE_S - LOOK_EVERY_S)
    stage.look()
    assert stage.quotas() == [2, 2]
    stage.look()
    stage.await_quotas(2, 0)
    assert stage.said[2].startswith("2 of 4 children train at a time, on 1 of 2 replicas: ")
    # As soon as they give it back it is used.
    stage.has_starting(0, 0)
    stage.nodes = [node(4, 2)]
    stage.look()
    stage.await_quotas(2, 2)


def test_replica_that_is_dead_just_now_is_waited_for_before_workers_are_shared_anew(stage):
    stage.start(1)
    [[_, _, pid]] = stage.await_notes(0, "born")
    stage.await_notes(1, "born")
    os.kill(pid, signal.SIGKILL)
    stage.nodes = [node(1, 0), node(3, 3)]
    stage.clock.advance(LOOK_EVERY_S)
    deadline = time.monotonic() + START_S
    while len(stage.said) < 3:
        assert time.monotonic() < deadline, stage.said
        stage.supervisor.check(wait_s=0.05)
        stage.set.rebalance()
    stage.await_quotas(2, 2)
    assert stage.said[-1] == "4 children train at a time"


def test_worker_whose_place_was_taken_when_it_died_is_given_up_too(stage):
    stage.start(4)
    stage.await_notes(1, "born")
    stage.nodes = [node(4, 0)]
    stage.look()
    stage.has_starting(1, 2)  # both have died, and somebody else has their place
    stage.clock.advance(ASK_EVERY_S)
    stage.look()
    assert stage.quotas() == [2, 2]
    stage.clock.advance(START_PATIENCE_S)
    stage.look()
    stage.await_quotas(2, 0)


def test_replicas_of_which_all_workers_are_ready_are_left_alone(stage):
    stage.start(4)
    stage.nodes = [node(4, 0)]
    stage.look()
    stage.clock.advance(ASK_EVERY_S - LOOK_EVERY_S)
    stage.set.rebalance()
    assert stage.set._asked is None
