"""Real processes that die at every named point, and a client that goes on where it was."""

import hashlib
import json
import os
import subprocess
import sys
from contextlib import ExitStack, closing
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from support.crashing_shard import CRASHED, plan_of

from ps import points
from ps.client import ClientSettings, ShardClient
from ps.errors import ShardUnavailable
from ps.push import Push
from ps.store import Store

ROOT = Path(__file__).parents[2]
NUM_PARAMETERS = 1001
VALUES = np.random.default_rng(0).normal(size=NUM_PARAMETERS).astype(np.float32)
ADAM = {"optimizer": {"name": "adam", "learning_rate": 0.1}, "accumulate": 1}
SGD = {"optimizer": {"name": "sgd", "learning_rate": 0.1}, "accumulate": 3}

INITIALIZE, CHECKPOINT = "initialize", "checkpoint"
# Pushes are (replica, sequence, base version).
SCRIPT = [
    *(INITIALIZE, (0, 1, 0), (1, 1, 0), CHECKPOINT, (0, 2, 1), (2, 1, 2), CHECKPOINT, (1, 2, 3)),
    *((0, 3, 4), CHECKPOINT, (2, 2, 4), (1, 3, 6)),
]

# At which reach the process dies: behind the middle of the script, where there are two of them.
DURING_CALLS = {
    "push checked": 6,
    "push applied": 6,
    "push queued": 6,
    "journal written": 8,
    "journal synced": 8,
    "push durable": 6,
    "journal rotated": 2,
    "checkpoint written": 2,
    "checkpoint synced": 2,
    "checkpoint renamed": 2,
    "checkpoint verified": 2,
    "journal being cut": 2,
    "journal cut": 2,
}
DURING_START = {
    "epoch claimed": 1,
    "epoch written": 1,
    "push applied": 1,  # while the journal is replayed
    "state replayed": 1,
    "journal written": 1,
    "journal synced": 1,
    "journal begun": 1,
}
FAST = {"push applied", "journal written", "push durable", "checkpoint renamed"}
FAST_START = {"epoch written", "journal written"}


def gradient_of(replica, sequence):
    rng = np.random.default_rng([replica, sequence])
    return rng.normal(size=NUM_PARAMETERS).astype(np.float32)


def run_uninterrupted(settings):
    """Give the store after the script, and the version after each of its steps."""
    store = Store(plan_of(NUM_PARAMETERS, **settings))
    versions = []
    for step in SCRIPT:
        if step == INITIALIZE:
            store.initialize(hashlib.sha256(VALUES.data).digest(), VALUES)
        elif step != CHECKPOINT:
            replica, sequence, base_version = step
            store.push(Push(replica, sequence, 1, base_version, gradient_of(replica, sequence)))
        versions.append(store.version)
    return store, versions


class Process:
    """A process that is ready to begin a life of the shard."""

    def __init__(self, log):
        command = [sys.executable, str(ROOT / "tests" / "support" / "crashing_shard.py")]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=log, text=True, env=environment
        )

    def begin(self, folder, settings, point=None, n=0):
        """Begin a life; give its address, or nothing if it dies before it has one."""
        self.go(folder, settings, point, n)
        return self.address()

    def go(self, folder, settings, point=None, n=0):
        """Begin a life."""
        says = {"folder": str(folder), "num_parameters": NUM_PARAMETERS, "point": point, "n": n}
        self._process.stdin.write(json.dumps(says | settings) + "\n")
        self._process.stdin.flush()

    def address(self):
        """Give the address of the life that it has begun, or nothing if it has died before."""
        return self._process.stdout.readline().strip()

    def status(self):
        """Wait until it has died; give with which status."""
        return self._process.wait(timeout=30)

    def kill(self):
        self._process.kill()
        self._process.wait(timeout=30)
        self._process.stdin.close()
        self._process.stdout.close()

    def close(self):
        """Let it drain and end by itself."""
        self._process.stdin.close()
        assert self.status() == 0


@pytest.fixture
def start(tmp_path):
    """Give a function that starts so many processes, which import what they need at once."""
    with ExitStack() as stack:
        log = stack.enter_context((tmp_path / "log").open("wb"))

        def start_all(number):
            processes = [Process(log) for _ in range(number)]
            for process in processes:
                stack.callback(process.kill)
            return processes

        yield start_all


@pytest.fixture
def connect():
    """Give a function that makes a client of the shard at an address, which tries once."""
    with ExitStack() as stack:

        def open_client(plan, address, version):
            settings = ClientSettings(max_attempts=1)
            client = ShardClient(plan.layout, [address], settings, acknowledged=[version])
            return stack.enter_context(closing(client))

        yield open_client


def do(client, step):
    if step == INITIALIZE:
        client.initialize(VALUES)
    elif step == CHECKPOINT:
        client.checkpoint()
    else:
        replica, sequence, base_version = step
        client.push(replica, 1, sequence, [base_version], gradient_of(replica, sequence))


def go(client, start=0):
    """Do the script's steps from this one on; give at which nobody answered."""
    for at, step in enumerate(SCRIPT[start:], start):
        try:
            do(client, step)
        except ShardUnavailable:
            return at
    return len(SCRIPT)


def check_end(client, store):
    described = client.describe()[0]
    assert client.pull().values.tobytes() == store.values.tobytes()
    assert (described.version, described.updates) == (store.version, store.describe().updates)
    assert described.staleness_sum == store.describe().staleness_sum


def with_speed(reaches, fast):
    return [
        pytest.param(point, n, id=point, marks=[] if point in fast else pytest.mark.slow)
        for point, n in reaches.items()
    ]


def test_every_point_has_its_crash():
    assert {*DURING_CALLS, *DURING_START} == set(get_args(points.Point))


@pytest.mark.parametrize(
    "settings", [ADAM, pytest.param(SGD, marks=pytest.mark.slow)], ids=["adam", "sgd"]
)
@pytest.mark.parametrize(("point", "n"), with_speed(DURING_CALLS, FAST))
def test_client_goes_on_where_it_was_when_a_shard_dies(
    tmp_path, start, connect, settings, point, n
):
    plan = plan_of(NUM_PARAMETERS, **settings)
    store, versions = run_uninterrupted(settings)
    first, second = start(2)
    address = first.begin(tmp_path / "shard", settings, point, n)
    at = go(connect(plan, address, 0))
    assert first.status() == CRASHED, "the fault must fire"
    assert len(SCRIPT) / 3 < at < len(SCRIPT)

    address = second.begin(tmp_path / "shard", settings)
    client = connect(plan, address, versions[at - 1])
    described = client.describe()[0]
    assert described.epoch == 2
    assert described.version in (versions[at - 1], versions[at])

    assert go(client, start=at) == len(SCRIPT)
    check_end(client, store)
    second.close()


@pytest.mark.parametrize(("point", "n"), with_speed(DURING_START, FAST_START))
def test_client_goes_on_where_it_was_when_a_shard_dies_while_it_recovers(
    tmp_path, start, connect, point, n
):
    plan = plan_of(NUM_PARAMETERS, **ADAM)
    store, versions = run_uninterrupted(ADAM)
    first, second, third = start(3)
    address = first.begin(tmp_path / "shard", ADAM, "journal synced", 8)
    at = go(connect(plan, address, 0))
    assert first.status() == CRASHED

    assert second.begin(tmp_path / "shard", ADAM, point, n) == "", "it has died before it serves"
    assert second.status() == CRASHED

    client = connect(plan, third.begin(tmp_path / "shard", ADAM), versions[at - 1])
    described = client.describe()[0]
    assert described.epoch == 3
    assert described.version == versions[at], "it was synced"
    assert go(client, start=at) == len(SCRIPT)
    check_end(client, store)
    third.close()


@pytest.mark.slow
def test_of_many_processes_that_begin_at_the_same_time_one_has_the_folder(tmp_path, start, connect):
    plan = plan_of(NUM_PARAMETERS, **ADAM)
    processes = start(4)
    for process in processes:
        process.go(tmp_path / "shard", ADAM)
    addresses = [process.address() for process in processes]

    (address,) = filter(None, addresses)
    client = connect(plan, address, 0)
    assert go(client) == len(SCRIPT)
    assert client.describe()[0].epoch == 1
