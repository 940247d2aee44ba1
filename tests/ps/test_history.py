"""A recorded history of calls under faults has one order in which a simple shard answers so."""

import itertools
import random
import struct
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import numpy as np
import pytest
from support.history import Accepted, Operation, Pulled, added_by, initial_values, violations
from support.shard_processes import KINDS, ShardProcesses, wait_until_serving
from support.waiting import wait_until

from ps.client import ClientSettings, ShardClient
from ps.errors import ShardUnavailable
from ps.layout import Layout

# The checker itself, on histories written by hand.

NUM_VALUES = 4


def values_after(*names):
    """Give the values of a shard that has accepted these pushes, as bytes."""
    values = initial_values(NUM_VALUES)
    for name in names:
        for index, added in added_by(name, NUM_VALUES).items():
            values[index] += added
    return struct.pack(f"<{NUM_VALUES}f", *values)


def pull(invoked, answered, version, *names):
    """Give a pull of a version with the values after these pushes."""
    return Operation("pull", invoked, answered, pulled=Pulled(version, values_after(*names)))


def push(invoked, answered, name, base, version, *, is_repeated=False, kind="push", staleness=None):
    """Give a push that was accepted as a version."""
    staleness = version - 1 - base if staleness is None else staleness
    accepted = Accepted(version, version, staleness, staleness, is_repeated)
    return Operation(kind, invoked, answered, name, base, accepted)


def unanswered(invoked, name, base=0, kind="push"):
    """Give a push of which nobody knows what became of it."""
    return Operation(kind, invoked, None, name, base)


A1, A2, B1, C1 = (0, 1), (0, 2), (1, 1), (2, 1)

GOOD = {
    "nothing": [],
    "one after the other": [
        pull(1, 2, 0),
        push(3, 4, A1, 0, 1),
        pull(5, 6, 1, A1),
        push(7, 8, A2, 1, 2),
        push(9, 10, B1, 0, 3),
        pull(11, 12, 3, A1, A2, B1),
    ],
    "at the same time, in either order": [
        push(1, 9, A1, 0, 2),
        push(2, 8, B1, 0, 1),
        pull(3, 7, 1, B1),
        pull(3, 7, 2, B1, A1),
        pull(3, 7, 0),
        pull(10, 11, 2, A1, B1),
    ],
    "no answer, and it happened": [
        unanswered(1, A1),
        push(2, 3, B1, 0, 2),
        pull(4, 5, 2, A1, B1),
    ],
    "no answer, and it happened later": [
        unanswered(1, A1),
        push(2, 3, B1, 0, 1),
        pull(4, 5, 1, B1),
        push(6, 7, C1, 0, 3),
        pull(8, 9, 3, A1, B1, C1),
    ],
    "no answer, and it did not happen": [
        unanswered(1, A1),
        push(2, 3, B1, 0, 1),
        pull(4, 5, 1, B1),
    ],
    "of two without an answer, the values tell which was first": [
        unanswered(1, A1),
        unanswered(1, B1),
        pull(4, 5, 1, B1),
        pull(6, 7, 2, B1, A1),
    ],
    "sent again until it was answered": [
        unanswered(1, A1),
        unanswered(2, A1, kind="repeat"),
        pull(3, 4, 1, A1),
        push(5, 6, A1, 0, 1, is_repeated=True, kind="repeat"),
        push(7, 8, A1, 0, 1, is_repeated=True, kind="repeat"),
        pull(9, 10, 1, A1),
    ],
}

BAD = {
    "acknowledged push lost: its version is given again": (
        [push(1, 2, A1, 0, 1), push(3, 4, B1, 0, 1), pull(5, 6, 1, B1)],
        "version 1 is reused",
    ),
    "acknowledged push lost: the shard goes back": (
        [push(1, 2, A1, 0, 1), pull(3, 4, 0)],
        "is stale: it gave version 0, and version 1 had been shown",
    ),
    "acknowledged push lost: its version counts and its values do not": (
        [push(1, 2, A1, 0, 1), push(3, 4, B1, 1, 2), pull(5, 6, 2, B1)],
        "the values are not those of version 2",
    ),
    "applied twice under one name": (
        [push(1, 2, A1, 0, 1), push(3, 4, A1, 0, 2, kind="repeat"), pull(5, 6, 2, A1, A1)],
        "was applied twice",
    ),
    "applied twice in silence": (
        [push(1, 2, A1, 0, 1), push(3, 4, B1, 1, 3), pull(5, 6, 3, A1, A1, B1)],
        "version 2 is no push that was sent",
    ),
    "applied twice to the values alone": (
        [push(1, 2, A1, 0, 1), pull(3, 4, 1, A1, A1)],
        "the values are not those of version 1",
    ),
    "no answer, and it happened twice": (
        [unanswered(1, A1), push(2, 3, B1, 0, 3), pull(4, 5, 3, A1, A1, B1)],
        "version 2 is no push that was sent",
    ),
    "repeat gets another answer": (
        [
            push(1, 2, A1, 0, 1),
            push(3, 4, B1, 0, 2),
            push(5, 6, A1, 0, 2, is_repeated=True, kind="repeat"),
        ],
        "has more than one answer",
    ),
    "torn pull": (
        [
            push(1, 2, A1, 0, 1),
            Operation("pull", 3, 4, pulled=Pulled(1, values_after(A1)[:8] + values_after()[8:])),
        ],
        "the values are not those of version 1",
    ),
    "pull of a version that is behind its values": (
        [push(1, 9, A1, 0, 1), pull(2, 8, 0, A1)],
        "the values are not those of version 0",
    ),
    "version reused": (
        [push(1, 9, A1, 0, 1), push(2, 8, B1, 0, 1)],
        "version 1 is reused",
    ),
    "stale read": (
        [push(1, 2, A1, 0, 1), push(3, 4, A2, 1, 2), pull(5, 6, 1, A1), pull(7, 8, 2, A1, A2)],
        "is stale: it gave version 1, and version 2 had been shown",
    ),
    "read that is older than another's": (
        [push(1, 9, A1, 0, 1), pull(2, 3, 1, A1), pull(4, 5, 0)],
        "is stale: it gave version 0, and version 1 had been shown",
    ),
    "read of what was not sent yet": (
        [pull(1, 2, 1, A1), push(3, 4, A1, 0, 1)],
        "before all pushes up to it were sent",
    ),
    "wrong staleness": (
        [push(1, 2, A1, 0, 1), push(3, 4, B1, 0, 2, staleness=0)],
        "wrong staleness",
    ),
    "push behind one that was sent after its answer": (
        [push(1, 2, A1, 0, 2), push(3, 4, B1, 0, 1), pull(5, 6, 2, A1, B1)],
        "is out of order: it is version 1, and version 2 had been shown",
    ),
    "first push of a replica left out": (
        [unanswered(1, A1), push(2, 3, A2, 0, 1), pull(4, 5, 1, A2)],
        "replica 0 begins with sequence 2",
    ),
    "pushes of a replica in the wrong order": (
        [push(1, 9, A1, 0, 2), push(2, 8, A2, 0, 1), pull(10, 11, 2, A1, A2)],
        "replica 0: sequence 1, at version 2, follows sequence 2",
    ),
    "values after a push that are older than it": (
        [
            Operation(
                "push_and_pull",
                1,
                2,
                A1,
                0,
                Accepted(1, 1, 0, 0, False),
                Pulled(0, values_after()),
            )
        ],
        "came with values of version 0",
    ),
    "updates that are not counted": (
        [Operation("push", 1, 2, A1, 0, Accepted(1, 0, 0, 0, False))],
        "each push is one update",
    ),
}


@pytest.mark.parametrize("history", GOOD.values(), ids=GOOD.keys())
def test_history_that_can_have_happened_has_no_violation(history):
    assert violations(history, NUM_VALUES) == []


@pytest.mark.parametrize(("history", "expected"), BAD.values(), ids=BAD.keys())
def test_history_that_cannot_have_happened_is_found(history, expected):
    found = violations(history, NUM_VALUES)
    assert any(expected in each for each in found), found


# Histories that real shards made.

NUM_SHARDS = 2
MAX_REPLICAS = 40
NUM_THREADS = 6
LAYOUT = Layout((("weight", (NUM_SHARDS, MAX_REPLICAS + 1)),), NUM_SHARDS)


def gradient_of(name):
    """Give the gradient that makes SGD of rate 1 add what the model adds."""
    gradient = np.zeros((NUM_SHARDS, MAX_REPLICAS + 1), np.float32)
    for index, added in added_by(name, MAX_REPLICAS + 1).items():
        gradient[:, index] = -added
    return gradient.ravel()


class Recorder:
    """What several clients did, an operation of each shard's history for every call."""

    def __init__(self):
        self.histories = [[] for _ in range(NUM_SHARDS)]
        self.num_calls = 0
        self.num_abandoned = 0
        self.new_replica = itertools.count()
        self.lock = threading.Lock()  # guards all of these

    def record(self, kind, invoked, answered, name, bases, answers, pulled):
        with self.lock:
            self.num_calls += 1
            for shard in range(NUM_SHARDS):
                accepted = answers and Accepted(**vars(answers[shard]))
                part = pulled and Pulled(
                    pulled.versions[shard], pulled.values[LAYOUT.slices[shard]].tobytes()
                )
                self.histories[shard].append(
                    Operation(kind, invoked, answered, name, bases[shard], accepted, part)
                )


class Caller:
    """One thread's clients and the replicas that it is, one life after the other.

    A patient client sends again what met no answer, under its own name. An impatient one has one
    attempt; then another takes its place, as after the end of its process.
    """

    def __init__(self, recorder, addresses, is_patient, stack):
        self._recorder = recorder
        self._addresses = addresses
        self._settings = ClientSettings(
            pull_timeout_s=1.0,
            push_timeout_s=1.0,
            max_attempts=3 if is_patient else 1,
            backoff_s=0.02,
        )
        self._random = random.Random()
        self._stack = stack
        self._client = None
        self._begin_replica()

    def go(self, num_calls):
        """Make so many calls."""
        for _ in range(num_calls):
            self._call()

    def _begin_replica(self):
        with self._recorder.lock:
            self._replica = next(self._recorder.new_replica)
        assert self._replica < MAX_REPLICAS, "there is no replica left"
        self._sequence = 0
        self._bases = (0,) * NUM_SHARDS
        self._last = None  # name and bases
        self._is_open = False  # the last push has no answer yet

    def _call(self):
        choice = self._random.random()
        if self._is_open and choice < 0.1 and self._may_abandon():
            self._begin_replica()
        if self._is_open:
            self._push("repeat", *self._last, wants_values=choice < 0.5)
        elif choice < 0.2:
            self._ask("pull", None, self._bases, lambda client: (None, client.pull()))
        elif choice < 0.3 and self._last is not None:
            self._push("repeat", *self._last, wants_values=choice < 0.25)
        else:
            self._sequence += 1
            name = (self._replica, self._sequence)
            kind = "push_and_pull" if choice < 0.7 else "push"
            self._push(kind, name, self._bases, wants_values=kind == "push_and_pull")

    def _may_abandon(self):
        with self._recorder.lock:
            if self._recorder.num_abandoned == MAX_REPLICAS - NUM_THREADS - 1:
                return False
            self._recorder.num_abandoned += 1
            return True

    def _push(self, kind, name, bases, wants_values):
        replica, sequence = name
        arguments = (replica, 1, sequence, bases, gradient_of(name))
        self._last, self._is_open = (name, bases), True

        def ask(client):
            if wants_values:
                return client.push_and_pull(*arguments)
            return client.push(*arguments), None

        self._is_open = not self._ask(kind, name, bases, ask)

    def _ask(self, kind, name, bases, ask):
        """Make one call and record it; tell whether it was answered."""
        if self._client is None:
            self._client = ShardClient(LAYOUT, self._addresses, self._settings)
            self._stack.callback(self._client.close)
        invoked = time.monotonic()
        try:
            answers, pulled = ask(self._client)
        except ShardUnavailable:
            if self._settings.max_attempts == 1:
                self._client.close()
                self._client = None
            self._recorder.record(kind, invoked, None, name, bases, None, None)
            return False
        self._recorder.record(kind, invoked, time.monotonic(), name, bases, answers, pulled)
        if pulled is not None and self._random.random() < 0.8:  # else the next push is stale
            self._bases = pulled.versions
        return True


def make_history(tmp_path, num_calls, num_kills, fault_rate):
    """Let threads call two shards under faults; give what they recorded, and what was done."""
    recorder = Recorder()
    with (
        ShardProcesses(
            tmp_path / "shards",
            LAYOUT.shapes,
            NUM_SHARDS,
            settings={"checkpoint_pushes": 500},
            fault_rate=fault_rate,
        ) as shards,
        ExitStack() as stack,
        ThreadPoolExecutor(NUM_THREADS) as threads,
    ):
        running = shards.start_all()
        with ShardClient(LAYOUT, shards.addresses, ClientSettings()) as launcher:
            initial = initial_values(MAX_REPLICAS + 1) * NUM_SHARDS
            launcher.initialize(np.array(initial, np.float32))
        callers = [
            Caller(recorder, shards.addresses, is_patient=index % 2 == 0, stack=stack)
            for index in range(NUM_THREADS)
        ]
        started = [threads.submit(each.go, num_calls // NUM_THREADS) for each in callers]

        def failed():
            return any(each.done() and each.exception() for each in started)

        for kill in range(1, num_kills + 1):
            due = num_calls * kill // (num_kills + 1)
            wait_until(lambda due=due: recorder.num_calls >= due or failed(), f"{due} calls", 600)
            if failed():
                break
            victim = kill % NUM_SHARDS
            assert running[victim].is_serving(timeout_s=10)
            running[victim].kill()
            running[victim] = shards.start(victim)
            wait_until_serving(running[victim])
        for each in started:
            each.result(timeout=600)
        with ShardClient(LAYOUT, shards.addresses, ClientSettings()) as client:
            invoked = time.monotonic()
            pulled = client.pull()
            bases = (0,) * NUM_SHARDS
            recorder.record("pull", invoked, time.monotonic(), None, bases, None, pulled)
        for process in running:
            assert process.end() == 0, process.log
        return recorder, shards.num_faults()


def assert_history_is_right(recorder, faults, num_calls, num_kills):
    for history in recorder.histories:
        assert violations(history, MAX_REPLICAS + 1) == []
        assert len(history) == recorder.num_calls > num_calls - NUM_THREADS
        kinds = Counter(each.kind for each in history)
        assert min(kinds[kind] for kind in ("pull", "push", "push_and_pull", "repeat")) > 0
        unknown = [each for each in history if each.answered is None]
        assert len(unknown) >= num_kills, "calls were lost at every kill"
        assert any(each.name is not None for each in unknown)
        assert any(each.accepted and each.accepted.is_repeated for each in history)
        assert any(each.accepted and each.accepted.staleness > 0 for each in history)
        final = history[-1].pulled.version
        assert 0 < final <= len({each.name for each in history if each.name is not None})
    assert min(faults[kind] for kind in KINDS) > 0, faults


@pytest.mark.timeout(120)
def test_history_of_shards_that_are_killed_meanwhile_is_that_of_simple_ones(tmp_path):
    recorder, faults = make_history(tmp_path, num_calls=3_000, num_kills=3, fault_rate=0.01)
    assert_history_is_right(recorder, faults, num_calls=3_000, num_kills=3)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_long_history_of_shards_that_are_killed_meanwhile_is_that_of_simple_ones(tmp_path):
    recorder, faults = make_history(tmp_path, num_calls=100_000, num_kills=25, fault_rate=0.002)
    assert_history_is_right(recorder, faults, num_calls=100_000, num_kills=25)
