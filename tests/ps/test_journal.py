"""The journal's group commit, and the end of a shard whose disk fails."""

import hashlib
import itertools
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.disks import FailingDisk, HastyDisk, UnwrittenDisk
from support.waiting import wait_until

from ps import journal as journal_module
from ps import points, wire
from ps.client import ClientSettings, ShardClient
from ps.epoch import Epoch
from ps.errors import DiskFailure, ShardUnavailable
from ps.folder import Segment
from ps.journal import Journal
from ps.layout import Layout
from ps.line import read_segment
from ps.optimizer import SgdSettings
from ps.plan import ShardPlan
from ps.push import Push
from ps.record import Kind, Record
from ps.recovery import recover
from ps.server import ServerSettings, ShardServer
from ps.shard import Shard
from ps.storage import StorageSettings
from ps.store import Store

LAYOUT = Layout((("weight", (5,)),), num_shards=1)
PLAN = ShardPlan(LAYOUT, 0, SgdSettings(name="sgd"))
VALUES = np.arange(5, dtype=np.float32)
JOURNAL_ONLY = StorageSettings()  # no checkpoint comes by itself in so short a test


def initialize(shard):
    return shard.initialize(LAYOUT.sha256, hashlib.sha256(VALUES.data).digest(), VALUES)


def push_of(replica, sequence, base_version=0):
    gradient = np.random.default_rng([replica, sequence]).normal(size=5).astype(np.float32)
    return Push(replica, sequence, 1, base_version, gradient)


def push(shard, replica, sequence):
    return shard.push(push_of(replica, sequence), lambda answer, *_: answer)


def bits_of(store):
    state = store.state()
    return {name: a.tobytes() for name, a in state.arrays.items()}, dict(state.numbers)


def recovered(folder):
    identity = PLAN.identity | {"durability": "journal"}
    return recover(HastyDisk(), folder, 10**6, PLAN, identity).store


@pytest.fixture
def threads():
    with ThreadPoolExecutor(16) as threads:
        yield threads


# Group commit


class GatedDisk(HastyDisk):
    """Counts syncs and what they made durable; holds the first after `close_gate` until opened."""

    def __init__(self):
        self.num_syncs = 0
        self.synced_bytes = {}
        self._gate = threading.Event()
        self._gate.set()
        self.is_held = threading.Event()

    def close_gate(self):
        self._gate.clear()

    def open_gate(self):
        self._gate.set()

    def sync(self, file):
        status = os.fstat(file)
        if not self._gate.is_set():
            self.is_held.set()
            assert self._gate.wait(timeout=10)
        super().sync(file)
        self.num_syncs += 1
        self.synced_bytes[status.st_ino] = status.st_size


def test_records_of_many_threads_are_durable_in_order_with_fewer_syncs_than_commits(
    tmp_path, threads
):
    num_threads, num_records = 12, 20
    disk = GatedDisk()
    epoch = Epoch.claim(disk, tmp_path)
    journal = Journal(disk, tmp_path, epoch, {}, None)
    file = (tmp_path / Segment(1, 0).file_name).stat().st_ino
    order, lock = [], threading.Lock()
    disk.close_gate()
    before = disk.num_syncs

    def write(writer):
        for number in range(num_records):
            with lock:
                record = Record(Kind.PUSH, b"%d" % number, writer, number, 1, len(order))
                order.append(record)
                group, end = journal.append(record), journal.segment_bytes
            journal.commit(group)
            assert disk.synced_bytes[file] >= end, "committed, and not synced"

    writing = [threads.submit(write, writer) for writer in range(num_threads)]
    wait_until(lambda: len(order) == num_threads, "every thread has a record in the journal")
    disk.open_gate()
    for each in writing:
        each.result(timeout=20)
    journal.close()
    epoch.release()

    num_commits = num_threads * num_records
    # All but one of the first records waited for the first sync, and shared the second.
    assert disk.num_syncs - before <= num_commits - (num_threads - 2)
    read = [record for record, _ in read_segment(HastyDisk(), tmp_path, Segment(1, 0), None)]
    assert read[1:] == order


def test_pull_waits_until_what_it_shows_is_durable(tmp_path, threads):
    disk = GatedDisk()
    with closing(Shard(PLAN, JOURNAL_ONLY, tmp_path, disk=disk)) as shard:
        initialize(shard)
        disk.close_gate()
        pushing = threads.submit(push, shard, 0, 1)
        assert disk.is_held.wait(timeout=5)
        was_read = threading.Event()

        pulling = threads.submit(shard.pull, lambda version, _: (version, was_read.set())[0])
        assert was_read.wait(timeout=5)
        describing = threads.submit(shard.describe)
        assert not pulling.done()
        assert not describing.done()
        disk.open_gate()

        assert pulling.result(timeout=5) == 1
        assert describing.result(timeout=5).version == 1
        assert pushing.result(timeout=5).version == 1


def test_pushes_on_both_sides_of_a_rotation_share_a_group_and_are_all_there(tmp_path, threads):
    disk = GatedDisk()
    shard = Shard(PLAN, JOURNAL_ONLY, tmp_path, disk=disk)
    initialize(shard)
    disk.close_gate()
    pushing = [threads.submit(push, shard, 0, 1)]
    assert disk.is_held.wait(timeout=5)
    pushing.append(threads.submit(push, shard, 1, 1))
    wait_until(lambda: shard._store.version == 2, "the second waits for the next group")
    checkpointing = threads.submit(shard.checkpoint)
    wait_until(lambda: shard._journal._segment.number == 1, "the journal is to be rotated")
    pushing.append(threads.submit(push, shard, 2, 1))
    wait_until(lambda: shard._store.version == 3, "the third waits for the new segment")
    before = disk.num_syncs
    disk.open_gate()

    assert sorted(each.result(timeout=5).version for each in pushing) == [1, 2, 3]
    assert checkpointing.result(timeout=5) == 2
    assert disk.num_syncs - before == 3 + 1, "two groups in three pieces, and the checkpoint"
    shard.close()
    for checkpoint in tmp_path.glob("checkpoint-*"):
        assert recovered(tmp_path).version == 3
        checkpoint.unlink()
    assert recovered(tmp_path).version == 3, "from the journal alone"


# Failures of the disk


class GatedFailingDisk(FailingDisk):
    """Holds the operation that is to fail until the gate is opened."""

    def __init__(self, kind):
        super().__init__(10**9, kind)
        self.is_held = threading.Event()
        self.gate = threading.Event()

    def fail_next(self):
        self.n = self.num_operations + 1

    def _pass(self, operation, target):
        if self.kind == operation and self.num_operations + 1 == self.n:
            self.is_held.set()
            assert self.gate.wait(timeout=10)
        super()._pass(operation, target)


@pytest.mark.parametrize("kind", ["write", "sync"])
def test_failed_write_or_sync_fails_all_who_wait_and_all_who_come(tmp_path, threads, kind):
    num_waiting = 8
    disk = GatedFailingDisk(kind)
    ends = []
    shard = Shard(PLAN, JOURNAL_ONLY, tmp_path, on_end=ends.append, disk=disk)
    initialize(shard)
    disk.fail_next()
    first = threads.submit(push, shard, 0, 1)
    assert disk.is_held.wait(timeout=5)
    others = [threads.submit(push, shard, replica, 1) for replica in range(1, num_waiting)]
    wait_until(lambda: shard._store.version == num_waiting, "all are in memory, and wait")
    disk.gate.set()

    for each in [first, *others]:
        with pytest.raises(ShardUnavailable, match=r"has ended.*injected"):
            each.result(timeout=5)
    assert disk.fired
    assert [type(end) for end in ends] == [DiskFailure]
    num_operations = disk.num_operations
    for call in (
        lambda: push(shard, 0, 1),
        lambda: push(shard, 9, 1),
        lambda: shard.pull(lambda *_: None),
        lambda: initialize(shard),
        shard.describe,
        shard.checkpoint,
    ):
        with pytest.raises(ShardUnavailable, match=r"has ended.*injected"):
            call()
    assert disk.num_operations == num_operations, "a second sync would not tell what is on disk"
    assert len(ends) == 1
    shard.close()


def test_server_whose_disk_fails_says_so_and_answers_nothing_more(tmp_path):
    disk = FailingDisk(10**9, "sync")
    server = ShardServer(PLAN, ServerSettings(), tmp_path, disk=disk)
    once = ClientSettings(max_attempts=1, push_timeout_s=5)
    with (
        closing(server),
        closing(ShardClient(LAYOUT, [server.address], once)) as client,
        grpc.insecure_channel(server.address) as channel,
    ):
        health = health_pb2_grpc.HealthStub(channel)
        client.initialize(VALUES)
        client.push(0, 1, 1, [0], VALUES)
        disk.n = disk.num_operations + 1

        with pytest.raises(ShardUnavailable, match=r"UNAVAILABLE: .* has ended.*injected"):
            client.push(0, 1, 2, [0], VALUES)

        assert disk.fired
        with pytest.raises(DiskFailure, match="injected"):
            server.wait(timeout_s=5)
        for service in ("", wire.SERVICE):
            asked = health_pb2.HealthCheckRequest(service=service)
            answer = health.Check(asked, timeout=5)
            assert answer.status == health_pb2.HealthCheckResponse.NOT_SERVING
        for call in (
            client.pull,
            client.describe,
            client.checkpoint,
            lambda: client.initialize(VALUES),
            lambda: client.push(0, 1, 2, [0], VALUES),
        ):
            with pytest.raises(ShardUnavailable, match="has ended"):
                call()
    assert recovered(tmp_path).version in (1, 2)


# Every operation fails once


BEGIN, INITIALIZE, CHECKPOINT = "begin", "initialize", "checkpoint"
SCRIPT = [
    *(BEGIN, INITIALIZE, (0, 1), (1, 1), CHECKPOINT, (0, 2), CHECKPOINT, (1, 2), (0, 3)),
    *(BEGIN, (0, 4), CHECKPOINT, (2, 1), BEGIN, (2, 2)),
]


def expected_states():
    """Give the state after every step of the script, if nothing fails."""
    store, states = Store(PLAN), []
    for step in SCRIPT:
        if step == INITIALIZE:
            store.initialize(hashlib.sha256(VALUES.data).digest(), VALUES)
        elif isinstance(step, tuple):
            store.push(push_of(*step))
        states.append(bits_of(store))
    return states


class Script:
    """Goes through the script; notes what a shard says of its end."""

    def __init__(self, folder):
        self.folder = folder
        self.shard = None
        self.ends = []

    def go(self, disk, start=0):
        """Do the steps from this one on; give at which the shard failed, and with what."""
        for at, step in enumerate(SCRIPT[start:], start):
            try:
                self._do(disk, step)
            except (ShardUnavailable, DiskFailure) as error:
                return at, error
        return len(SCRIPT), None

    def close(self):
        if self.shard is not None:
            self.shard.close()
            self.shard = None

    def _do(self, disk, step):
        if self.shard is None or step == BEGIN:
            self.close()
            self.shard = Shard(PLAN, JOURNAL_ONLY, self.folder, on_end=self.ends.append, disk=disk)
        if step == INITIALIZE:
            initialize(self.shard)
        elif step == CHECKPOINT:
            self.shard.checkpoint()
        elif isinstance(step, tuple):
            push(self.shard, *step)


@pytest.mark.parametrize("is_lasting", [False, True], ids=["once", "from then on"])
@pytest.mark.parametrize(
    "kind", [None, "create", "write", "sync", "rename", "delete", "sync_folder", "open"]
)
def test_nothing_acknowledged_is_lost_whichever_operation_fails(tmp_path, kind, is_lasting):
    states = expected_states()
    for n in itertools.count(1):
        script = Script(tmp_path / str(n))
        disk = FailingDisk(n, kind, is_lasting)
        at, error = script.go(disk)
        if disk.fired is None:
            break
        assert "injected" in str(error), disk.fired
        if script.shard is not None:
            assert [type(end) for end in script.ends] == [DiskFailure], disk.fired
            num_operations = disk.num_operations
            with pytest.raises(ShardUnavailable, match="injected"):
                push(script.shard, 9, 1)
            assert disk.num_operations == num_operations
        script.close()

        if at:
            found = bits_of(recovered(script.folder))
            assert found in (states[at - 1], states[at]), disk.fired
        assert script.go(HastyDisk(), start=at) == (len(SCRIPT), None), disk.fired
        script.close()
        assert bits_of(recovered(script.folder)) == states[-1], disk.fired
    assert at == len(SCRIPT)
    assert n > 3, f"{n - 1} operations failed"


def test_next_life_does_not_build_on_what_a_failed_sync_left_in_memory_alone(tmp_path):
    disk = UnwrittenDisk()
    with closing(Shard(PLAN, JOURNAL_ONLY, tmp_path, disk=disk)) as shard:
        initialize(shard)
        assert push(shard, 0, 1).version == 1
        disk.is_failing = True
        with pytest.raises(ShardUnavailable, match="injected"):
            push(shard, 0, 2)
    assert recovered(tmp_path).version == 2, "it can be read"

    with closing(Shard(PLAN, JOURNAL_ONLY, tmp_path, disk=disk)) as shard:
        again = push(shard, 0, 2)

    assert (again.version, again.is_repeated) == (2, False)


def test_checkpoint_that_cannot_be_written_by_itself_ends_the_shard(tmp_path):
    ended = threading.Event()
    disk = FailingDisk(10**9, "rename")
    often = StorageSettings(checkpoint_pushes=2)
    shard = Shard(PLAN, often, tmp_path, on_end=lambda _: ended.set(), disk=disk)
    initialize(shard)
    disk.n = disk.num_operations + 1

    push(shard, 0, 1)
    push(shard, 0, 2)

    assert ended.wait(timeout=5)
    assert disk.fired
    with pytest.raises(ShardUnavailable, match="the checkpoint cannot be written"):
        push(shard, 0, 3)
    shard.close()
    assert recovered(tmp_path).version == 2


# What is no failure of the disk


def test_interrupted_writer_leaves_nobody_with_an_answer(tmp_path, threads, monkeypatch):
    shard = Shard(PLAN, JOURNAL_ONLY, tmp_path, disk=HastyDisk())
    initialize(shard)
    push(shard, 0, 1)
    others = []

    def interrupt(point):
        if point == "journal written":
            monkeypatch.setattr(points, "reached", lambda _: None)
            was_read = threading.Event()
            others.append(
                threads.submit(shard.pull, lambda version, _: (version, was_read.set())[0])
            )
            assert was_read.wait(timeout=5)
            raise KeyboardInterrupt

    monkeypatch.setattr(points, "reached", interrupt)
    with pytest.raises(KeyboardInterrupt):
        push(shard, 0, 2)

    (pulling,) = others
    with pytest.raises(ShardUnavailable):
        pulling.result(timeout=5)
    with pytest.raises(ShardUnavailable):
        push(shard, 0, 3)
    shard.close()


def test_push_that_is_applied_and_cannot_be_queued_ends_the_shard(tmp_path, monkeypatch):
    shard = Shard(PLAN, JOURNAL_ONLY, tmp_path, disk=HastyDisk())
    initialize(shard)
    push(shard, 0, 1)

    def no_memory(*_):
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(journal_module, "pack_header", no_memory)
        with pytest.raises((MemoryError, ShardUnavailable)):
            push(shard, 0, 2)

    # Its values are those of a push that the journal does not have.
    with pytest.raises(ShardUnavailable):
        push(shard, 0, 3)
    shard.close()
    assert recovered(tmp_path).version == 1


def test_push_whose_answer_cannot_be_made_is_durable_when_the_caller_hears_of_it(tmp_path):
    shard = Shard(PLAN, JOURNAL_ONLY, tmp_path, disk=HastyDisk())
    initialize(shard)
    sent = push_of(0, 1)
    gradient = sent.gradient.copy()

    def no_memory(*_):
        raise MemoryError

    with pytest.raises((MemoryError, ShardUnavailable)):
        shard.push(Push(0, 1, 1, 0, gradient), no_memory)
    gradient[:] = 7  # the buffer is used again

    shard.close()
    found = recovered(tmp_path)
    assert found.version in (0, 1)
    answer, _ = found.push(sent)
    assert answer.version == 1
