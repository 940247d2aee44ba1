"""What the autoscaler is asked for: by a cluster that is made up, and with Ray's own."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from contextlib import ExitStack
from itertools import takewhile
from types import SimpleNamespace

import pytest
from support.autoscaled import AutoscaledCluster
from support.clock import FakeClock
from support.waiting import wait_until

from deploy import autoscaler
from deploy.autoscaler import QUIET_S, RoomRequest, group_sizes, has_autoscaler

CHILD = {"CPU": 1.0, "GPU": 0.5}


class MadeUp:
    """Nodes of these types, and the groups that wait there."""

    def __init__(self):
        self.types = ["head", "worker"]
        self.waiting, self.placed = [], []
        self.num_made = 0

    def get_all_node_info(self):
        return {
            number: SimpleNamespace(node_type_name=name) for number, name in enumerate(self.types)
        }

    def make(self, bundles):
        group = SimpleNamespace(bundles=bundles, bundle_count=len(bundles))
        self.waiting.append(group)
        self.num_made += 1
        return group

    def place(self, group):
        self.waiting.remove(group)
        self.placed.append(group)

    def remove(self, group):
        (self.placed if group in self.placed else self.waiting).remove(group)

    def table(self, group):
        return {"state": "CREATED" if group in self.placed else "PENDING"}

    @property
    def asked(self):
        """Give every bundle that is asked for."""
        return [bundle for group in self.waiting for bundle in group.bundles]


@pytest.fixture
def cluster(monkeypatch):
    cluster = MadeUp()
    worker = SimpleNamespace(gcs_client=cluster)
    monkeypatch.setattr(autoscaler.ray._private.worker, "global_worker", worker)
    monkeypatch.setattr(autoscaler, "placement_group", cluster.make)
    monkeypatch.setattr(autoscaler, "remove_placement_group", cluster.remove)
    monkeypatch.setattr(autoscaler, "placement_group_table", cluster.table)
    return cluster


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def room(cluster, clock):
    return RoomRequest(is_wanted=True, clock=clock)


def test_nodes_that_somebody_started_by_hand_are_of_no_type(cluster):
    assert has_autoscaler()
    cluster.types = ["", ""]
    assert not has_autoscaler()


@pytest.mark.parametrize("number", [0, 1, 2, 3, 7, 8, 12, 100, 800])
def test_groups_fill_every_limit_if_the_largest_are_tried_first(number):
    sizes = group_sizes(number)
    assert sum(sizes) == number
    assert len(sizes) <= 10
    for limit in range(number + 1):
        left = limit
        for size in sorted(sizes, reverse=True):
            left -= size if size <= left else 0
        assert left == 0


def test_room_is_asked_for_as_long_as_it_is_missing(cluster, room):
    for number in (5, 5, 3, 0, 6):
        room.ask(CHILD, number)
        assert cluster.asked == [CHILD] * number


def test_what_is_asked_for_already_is_not_asked_for_again(cluster, room):
    room.ask(CHILD, 800)
    num_made = cluster.num_made
    room.ask(CHILD, 800)
    assert cluster.num_made == num_made
    room.ask(CHILD, 799)
    assert cluster.num_made == num_made + 1


def test_other_children_replace_what_was_asked_for(cluster, room):
    room.ask(CHILD, 3)
    room.ask({"CPU": 2.0, "GPU": 0.0}, 2)
    assert cluster.asked == [{"CPU": 2.0}] * 2


def test_room_that_has_come_is_left_to_child_workers(cluster, clock, room):
    room.ask(CHILD, 7)
    cluster.place(cluster.waiting[1])
    room.ask(CHILD, 7)
    assert cluster.asked == cluster.placed == []
    clock.advance(QUIET_S - 0.1)
    room.ask(CHILD, 5)
    assert cluster.asked == []
    clock.advance(0.1)
    room.ask(CHILD, 5)
    assert cluster.asked == [CHILD] * 5


def test_room_is_given_back_once(cluster, room):
    with room:
        room.ask(CHILD, 3)
        room.withdraw()
        assert cluster.asked == []
    assert cluster.asked == []


def test_room_is_given_back_when_the_search_fails(cluster, room):
    room.ask(CHILD, 1)
    with pytest.raises(ValueError, match="the search"), room:
        raise ValueError("the search failed")
    assert cluster.asked == []


def test_nothing_is_asked_where_nobody_answers_or_nothing_is_wanted(cluster):
    RoomRequest(is_wanted=False).ask(CHILD, 3)
    cluster.types = [""]
    RoomRequest(is_wanted=True).ask(CHILD, 3)
    assert cluster.num_made == 0


class Driver:
    """A process that takes room for child workers as a search does, and asks for more."""

    def __init__(self, cluster, num_wanted):
        command = [sys.executable, "-m", "support.searching_driver", str(num_wanted)]
        paths = os.pathsep.join(path for path in sys.path if path)
        environment = os.environ | cluster.environment | {"PYTHONPATH": paths}
        self.process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()

    def await_said(self, what):
        """Return once it has said so, after what it had said the last time."""
        late = threading.Timer(START_S, self.process.kill)
        late.start()
        lines = iter(self.process.stdout.readline, "")
        said = list(takewhile(lambda line: what not in line, lines))
        late.cancel()
        late.join()
        assert self.process.poll() is None, f"{what}: not within {START_S} s: {said}"


START_S = 60.0
NODE = {"CPU": 2, "GPU": 2}


@pytest.fixture
def autoscaled():
    """Start a cluster of so many workers at most, which end when they were idle for 6 s."""
    with ExitStack() as stack:
        yield lambda max_workers: stack.enter_context(AutoscaledCluster(NODE, max_workers))


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_killed_search_leaves_no_node_behind(autoscaled):
    cluster = autoscaled(max_workers=2)
    with Driver(cluster, num_wanted=100) as driver:
        driver.await_said("4 children have a place")
        assert cluster.num_workers() == 2
        driver.await_said("asked for room for 96 more")
        driver.process.kill()
        wait_until(lambda: cluster.num_workers() == 0, "the end of the nodes", START_S)


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_wants_of_two_searches_add_up(autoscaled):
    cluster = autoscaled(max_workers=5)
    with Driver(cluster, num_wanted=3) as first, Driver(cluster, num_wanted=3) as second:
        first.await_said("3 children have a place")
        second.await_said("3 children have a place")
        assert cluster.num_workers() == 3
        first.process.kill()
        wait_until(lambda: cluster.num_workers() < 3, "the end of a node", START_S)
        assert cluster.num_workers() > 0
