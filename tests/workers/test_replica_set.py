"""All replicas of a search: who works, who has how many child workers, as nodes come and go."""

from __future__ import annotations

import json
import os
import signal
import time
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import ray
from support.actors import START_S
from support.clock import FakeClock
from support.replicas import NotingReplica
from support.runs import is_alive
from support.waiting import wait_until

from controller.records import ChildAtWork
from workers import replica_set
from workers.children_settings import ChildrenSettings
from workers.node import Node
from workers.placement import Placement
from workers.process import ProcessSetup
from workers.replica_set import BARREN_S, LOOK_EVERY_S, ReplicaSet
from workers.seats import Seats
from workers.supervisor import ProcessFailed, Supervisor

pytestmark = pytest.mark.usefixtures("cluster")

NUM_REPLICAS = 2
HERE = Placement(is_spread=False, is_on_gpus=False)
CHILDREN = ChildrenSettings(per_replica=2, num_cpus=1.0, num_gpus=0.0)
ON_GPUS = ChildrenSettings(per_replica=2, num_cpus=1.0, per_gpu_node=2)


@dataclass(frozen=True)
class Plan:
    """What a replica set knows of a ReplicaPlan."""

    children: ChildrenSettings
    placement: Placement


class Stage:
    """Replicas that note what they are told, on nodes that a test makes up."""

    def __init__(self, folder, clock):
        self.folder, self.clock = folder, clock
        self.said = []
        self.supervisor = Supervisor(self.said.append)
        self.nodes = []
        self.set = None

    def start(self, *there, num_replicas=NUM_REPLICAS, children=CHILDREN):
        """Start the replicas on nodes, or on nodes of so many CPUs, all of them free."""
        self.nodes = [each if isinstance(each, Node) else node(each, each) for each in there]
        setup, data, plan = ProcessSetup(self.folder), ray.put("data"), Plan(children, HERE)
        self.set = ReplicaSet(
            self.supervisor,
            setup,
            plan,
            "ledger",
            data,
            num_replicas,
            Seats(plan.placement),
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

    def tell(self, replica, what, number):
        """Let so many of a replica's workers be starting, leaving or unborn from now on."""
        (self.folder / f"replica-{replica}-{what}").write_text(str(number))

    def look(self):
        """Have the set look at the nodes, and at its replicas' workers if it wants to."""
        self.clock.advance(LOOK_EVERY_S)
        deadline = time.monotonic() + START_S
        while self.clock() >= self.set._look_at:
            assert time.monotonic() < deadline, "the replicas' workers are not known"
            self.set.rebalance()
            time.sleep(0.01)

    def slots(self, replica):
        """Give (place, GPUs, number) of the slots that a replica was last told to have."""
        told = [note[1] for note in self.notes(replica) if note[0] in ("born", "resize")]
        return [tuple(each) for each in told[-1]] if told else []

    def quotas(self, num_replicas=NUM_REPLICAS):
        """Give how many workers each replica was last told to have."""
        return [sum(each[2] for each in self.slots(r)) for r in range(num_replicas)]

    def await_quotas(self, *quotas):
        wait_until(lambda: self.quotas(len(quotas)) == list(quotas), f"quotas {quotas}", START_S)


def node(total, free):
    return Node("here", {"CPU": float(total)}, {"CPU": float(free)})


def gpu_node(name, total, free=None):
    """Give a node of so many GPUs."""
    has = [
        {"CPU": 8.0, "GPU": float(number)} for number in (total, total if free is None else free)
    ]
    return Node(name, *has, f"id-of-{name}")


def sizes(notes, *kinds):
    """Give how many workers these notes of a replica were of."""
    return [sum(each[2] for each in note[1]) for note in notes if note[0] in kinds]


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


def test_workforce_is_what_is_wanted_and_what_there_is(stage):
    replicas = stage.start(3)
    stage.tell(0, "starting", 1)
    stage.look()
    stage.supervisor.check()
    assert replicas.workforce.replicas_wanted == 2
    assert replicas.workforce.workers == {
        "wanted": 4,
        "placed": 3,
        "ready": 2,
        "starting": 1,
        "leaving": 0,
    }

    def alive():
        stage.supervisor.check()
        return replicas.workforce.replicas_alive

    wait_until(lambda: alive() == 2, "both are alive", START_S)
    [[_, _, pid]] = stage.notes(1)
    os.kill(pid, signal.SIGKILL)
    # Nobody asks it again: what it answers its `run` with tells it.
    replicas.work()
    wait_until(lambda: alive() == 1, "its death", START_S)
    wait_until(lambda: alive() == 2, "its successor", START_S)
    assert stage.supervisor.deaths == {"replica 1": 1}


def test_metrics_are_where_the_replicas_have_said_last(stage):
    replicas = stage.start(4)
    assert replicas.metrics_addresses == {}
    stage.tell(1, "metrics", 7)
    stage.look()
    assert replicas.metrics_addresses == {"replica-1": "host:7"}


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
    assert sizes(stage.notes(0), "born") == [2, 0]


def test_replica_of_an_earlier_life_gets_no_workers_and_is_waited_for(stage):
    replicas = stage.start(4)
    replicas.finish(7)
    replicas.work()
    for replica in range(NUM_REPLICAS):
        stage.return_from_work(replica)
    wait_until(lambda: returned(stage), "all have returned", START_S)
    assert sorted(note[0] for note in stage.notes(7)) == ["born", "drain", "run"]
    assert sizes(stage.notes(7), "born") == [0]


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
    assert sizes(notes, "born") == [2, 2]
    assert stage.said[1].startswith("replica 0 died and is replaced: ")


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


def test_replicas_that_are_added_work_at_once_and_get_their_workers(stage):
    replicas = stage.start(8)
    replicas.work()
    stage.await_notes(1, "born", "run")
    stage.nodes = [node(8, 4)]
    replicas.scale(CHILDREN, 4)
    for replica in (2, 3):
        wait_until(lambda r=replica: "run" in kinds(stage, r), f"replica {replica}", START_S)
    assert stage.quotas(4) == [2, 2, 0, 0]
    stage.look()
    stage.await_quotas(2, 2, 2, 2)
    assert stage.said == ["4 children train at a time", "8 children train at a time"]
    assert not replicas.has_returned


def kinds(stage, replica):
    return [kind for kind, *_ in stage.notes(replica)]


def test_replicas_that_are_too_many_finish_and_end(stage):
    replicas = stage.start(8)
    replicas.work()
    [[_, _, pid], _] = stage.await_notes(1, "born", "run")
    replicas.scale(CHILDREN, 1)
    wait_until(lambda: not is_alive(pid) or supervised(stage), "the end of the other", START_S)
    assert stage.quotas() == [2, 0]
    assert sorted(kinds(stage, 1)[2:]) == ["drain", "resize"]
    assert "drain" not in kinds(stage, 0)
    # It is not looked after any more, and the search does not wait for it.
    stage.return_from_work(0)
    wait_until(lambda: returned(stage), "all have returned", START_S)
    assert len(stage.supervisor._processes) == 1
    assert stage.said == ["4 children train at a time", "2 children train at a time"]


def supervised(stage):
    """Look after the replicas as the course of a search does."""
    stage.supervisor.check()
    stage.clock.advance(LOOK_EVERY_S)
    stage.set.rebalance()


def test_replica_that_dies_while_it_finishes_is_replaced_by_one_that_takes_nothing_new(stage):
    replicas = stage.start(8)
    replicas.work()
    [[_, _, pid], _] = stage.await_notes(1, "born", "run")
    os.kill(pid, signal.SIGSTOP)  # so that it cannot return first
    replicas.scale(CHILDREN, 1)
    replicas.scale(CHILDREN, 2)  # and is wanted back
    os.kill(pid, signal.SIGKILL)
    wait_until(
        lambda: supervised(stage) or kinds(stage, 1).count("born") == 3, "the third life", START_S
    )
    lives = [note[0] for note in stage.notes(1) if note[0] in ("born", "drain")]
    # The second is drained at once; the third begins when that has ended, and stays.
    assert lives == ["born", "born", "drain", "born"]
    assert sizes(stage.notes(1), "born")[:2] == [2, 0]
    wait_until(lambda: supervised(stage) or stage.quotas() == [2, 2], "its workers", START_S)
    wait_until(lambda: kinds(stage, 1)[-1] in ("run", "resize"), "its work", START_S)
    assert not returned(stage)


def test_reason_for_which_workers_cannot_be_constructed_is_told_while_others_train(stage):
    stage.start(4)
    stage.await_notes(1, "born")
    stage.tell(1, "unborn", 1)
    for _ in range(3):
        stage.look()
    assert stage.said[1:] == [
        "child workers cannot be started, tried again: RuntimeError: no CUDA device"
    ]
    stage.clock.advance(2 * BARREN_S)
    stage.look()


def test_search_waits_for_workers_that_may_still_be_constructed_and_then_fails_at_once(stage):
    stage.start(4)
    stage.await_notes(1, "born")
    stage.tell(0, "starting", 2)
    stage.tell(1, "starting", 2)
    stage.tell(1, "unborn", 1)
    stage.look()  # those of the first may be good
    stage.tell(0, "unborn", 1)
    with pytest.raises(ProcessFailed, match="no child worker could be started: RuntimeError: no C"):
        stage.look()


def test_search_of_which_no_worker_can_be_constructed_any_more_fails_after_ten_minutes(stage):
    stage.start(4)
    stage.await_notes(1, "born")
    stage.look()
    for replica in range(NUM_REPLICAS):
        stage.tell(replica, "starting", 2)
        stage.tell(replica, "unborn", 1)
    stage.look()
    stage.clock.advance(BARREN_S - 3 * LOOK_EVERY_S)
    stage.look()
    stage.clock.advance(2 * LOOK_EVERY_S)
    with pytest.raises(ProcessFailed, match="no child worker could be started"):
        stage.look()


@pytest.fixture
def crowded(monkeypatch):
    """There is no room for replica 1, now and for ever."""
    spawn = replica_set.spawn

    def spawn_or_wait(kind, setup, replica, *arguments, **options):
        wanted = {"num_cpus": 1000.0} if replica == 1 else {}
        return spawn(kind, setup, replica, *arguments, **(options | wanted))

    monkeypatch.setattr(replica_set, "spawn", spawn_or_wait)
    monkeypatch.setattr(Seats, "has_seat", lambda _, who: who != "replica 1")


@pytest.mark.usefixtures("crowded")
def test_replica_without_room_holds_up_neither_the_others_nor_the_end(stage):
    replicas = stage.start(2)
    replicas.work()
    stage.nodes = [node(2, 0), node(1, 1)]  # which nobody has a use for but replica 0
    stage.look()
    assert stage.quotas(1) == [2]
    assert stage.said[-1].endswith("replicas that wait for room themselves: 1")
    assert not returned(stage)
    replicas.drain()
    wait_until(lambda: returned(stage), "all have returned", START_S)


def test_replica_that_is_still_starting_when_it_is_drained_is_waited_for(
    stage, crowded, monkeypatch
):
    monkeypatch.setattr(Seats, "has_seat", lambda *_: True)  # it is only slow
    replicas = stage.start(2)
    replicas.work()
    replicas.drain()
    wait_until(lambda: returned(stage) or "drain" in kinds(stage, 0), "the drain", START_S)
    stage.supervisor.check(wait_s=0.5)
    assert not replicas.has_returned


@pytest.mark.usefixtures("crowded")
def test_replica_without_room_that_is_too_many_ends_at_once(stage):
    replicas = stage.start(2)
    replicas.work()
    replicas.scale(CHILDREN, 1)
    assert len(stage.supervisor._processes) == 1
    stage.return_from_work(0)
    wait_until(lambda: returned(stage), "its return", START_S)


def test_replica_of_an_earlier_life_is_asked_to_finish_once(stage):
    replicas = stage.start(4)
    replicas.finish(7)
    replicas.finish(7)
    assert len(stage.supervisor._processes) == 3


def test_children_in_training_are_those_that_the_replicas_told_last(stage):
    replicas = stage.start(4)
    assert replicas.children == ()
    stage.tell(1, "training", 7)
    stage.await_notes(1, "born")
    stage.look()
    assert replicas.children == [ChildAtWork(1, 7, "host: cpu", 2.5)]


def test_very_many_replicas_are_asked_less_often():
    assert ReplicaSet._look_every_s.fget(SimpleNamespace(_num_replicas=100)) == LOOK_EVERY_S
    assert ReplicaSet._look_every_s.fget(SimpleNamespace(_num_replicas=400)) == 8.0
