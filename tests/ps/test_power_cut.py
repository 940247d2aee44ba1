"""Whatever the instant of a crash or a power cut, nothing acknowledged is lost or done twice."""

import hashlib
import itertools
import threading
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, replace
from random import Random
from typing import get_args

import numpy as np
import pytest
from support.disks import HastyDisk, PowerCut, UnsyncedDisk

from ps import points
from ps.folder import LOCK_FILE
from ps.layout import Layout
from ps.metrics import ShardMetrics
from ps.optimizer import AdagradSettings, AdamSettings, RmspropSettings, SgdSettings
from ps.plan import ShardPlan, UpdateSettings
from ps.push import Push
from ps.recovery import recover
from ps.shard import Shard
from ps.storage import StorageSettings
from ps.store import Store

LAYOUT = Layout((("weight", (7, 11)),), num_shards=2)
SHARD = 1
NUM_PARAMETERS = 38
VALUES = np.random.default_rng(1).normal(size=NUM_PARAMETERS).astype(np.float32)
STORAGE = StorageSettings(checkpoint_pushes=3)
POINTS = get_args(points.Point)

PLANS = {
    "adam": ShardPlan(LAYOUT, SHARD, AdamSettings(learning_rate=0.1)),
    "adam, 3 a step": ShardPlan(
        LAYOUT, SHARD, AdamSettings(learning_rate=0.1), UpdateSettings(accumulate=3)
    ),
    "sgd, scaled": ShardPlan(
        LAYOUT, SHARD, SgdSettings(name="sgd"), UpdateSettings(staleness="scale")
    ),
    "sgd, 3 a step": ShardPlan(
        LAYOUT, SHARD, SgdSettings(name="sgd", nesterov=True), UpdateSettings(accumulate=3)
    ),
    "rmsprop": ShardPlan(LAYOUT, SHARD, RmspropSettings(name="rmsprop", momentum=0.5)),
    "adagrad": ShardPlan(LAYOUT, SHARD, AdagradSettings(name="adagrad")),
}


# The script: what is done to a shard, one call after the other.


@dataclass(frozen=True)
class Initialize:
    pass


@dataclass(frozen=True)
class Begin:
    """The shard is closed, and begins a new life."""


def push_of(replica, sequence, base_version, incarnation=1):
    gradient = np.random.default_rng([replica, sequence]).normal(size=NUM_PARAMETERS)
    sampled_at = max(0, base_version - replica)
    gradient = gradient.astype(np.float32)
    return Push(replica, sequence, incarnation, base_version, gradient, sampled_at)


SCRIPT = [
    Begin(),
    Initialize(),
    push_of(0, 1, 0),
    push_of(1, 1, 0),
    push_of(0, 2, 1),
    push_of(0, 2, 1),  # a repeat
    push_of(1, 2, 2),
    push_of(1, 2, 2, incarnation=3),  # a repeat that fences
    push_of(2, 1, 0),
    push_of(0, 3, 5),
    Begin(),
    push_of(1, 3, 4, incarnation=3),
    push_of(2, 2, 7, incarnation=2),
    Begin(),
    push_of(0, 4, 6),
    push_of(2, 3, 9, incarnation=2),
    push_of(2, 3, 9, incarnation=2),  # a repeat
    push_of(1, 4, 10, incarnation=4),
]


def digest(values):
    return hashlib.sha256(values.data).digest()


def bits_of(store):
    """Give a store's state in a form in which equal means equal to the last bit."""
    state = store.state()
    arrays = {name: (a.dtype, a.shape, a.tobytes()) for name, a in sorted(state.arrays.items())}
    return arrays, dict(state.numbers)


def expected_of(plan):
    """Give what an uninterrupted store is after, and answers to, every step of the script."""
    store = Store(plan)
    states, answers = [], []
    for step in SCRIPT:
        answer = None
        if isinstance(step, Initialize):
            store.initialize(digest(VALUES), VALUES)
        elif isinstance(step, Push):
            answer, _ = store.push(step)
        states.append(bits_of(store))
        answers.append(answer)
    return states, answers


class Power:
    """Cuts the power of a disk, and stops every thread, at the n-th reach of a point."""

    def __init__(self, disk, point=None, n=0):
        self.disk = disk
        self.counts = Counter()
        self.fired = False
        self._fuse = (point, n)
        self._lock = threading.Lock()
        self._checkpoints = threading.Semaphore(0)

    def reached(self, point):
        with self._lock:
            if self.disk.is_stopped:
                raise PowerCut
            self.counts[point] += 1
            if (point, self.counts[point]) == self._fuse:
                self.fired = True
                self.disk.stop()
                self._checkpoints.release()
                raise PowerCut

    def checkpointed(self, _):
        self._checkpoints.release()

    def await_checkpoint(self):
        """Return when the checkpoint that is due is there, or the power is off."""
        assert self._checkpoints.acquire(timeout=10), "the checkpoint that was due"

    def check(self):
        if self.disk.is_stopped:
            raise PowerCut


class Run:
    """Goes through the script with one folder, life after life."""

    def __init__(self, plan, power, folder):
        self.answers = [None] * len(SCRIPT)
        self._plan = plan
        self._power = power
        self._folder = folder
        self._shard = None

    def go(self, start=0):
        """Do the steps from this one on; give how many are acknowledged when the power goes."""
        at = start
        try:
            for at, step in enumerate(SCRIPT[start:], start):
                self._do(at, step)
                self._power.check()
        except PowerCut:
            return at
        finally:
            self._put_away()
        return len(SCRIPT)

    def _do(self, at, step):
        if self._shard is None or isinstance(step, Begin):
            self._put_away()
            metrics = ShardMetrics(SHARD)
            metrics.checkpointed = self._power.checkpointed
            self._shard = Shard(
                self._plan, STORAGE, self._folder, metrics=metrics, disk=self._power.disk
            )
        if isinstance(step, Initialize):
            self._shard.initialize(LAYOUT.sha256, digest(VALUES), VALUES)
        elif isinstance(step, Push):
            before = self._shard._num_since_checkpoint
            self.answers[at] = self._shard.push(step, lambda answer, *_: answer)
            # The other thread may have begun the checkpoint, and set the number to 0.
            after = self._shard._num_since_checkpoint
            if after != before and not 0 < after < STORAGE.checkpoint_pushes:
                self._power.await_checkpoint()

    def _put_away(self):
        if self._shard is not None:
            self._shard.close()
            self._shard = None


@pytest.fixture(autouse=True)
def threads_may_stop(monkeypatch):
    """Let threads end in PowerCut, which is no failure here, and in nothing else."""
    usual = threading.excepthook

    def hook(arguments):
        if not issubclass(arguments.exc_type, PowerCut):
            usual(arguments)

    monkeypatch.setattr(threading, "excepthook", hook)


def recovered(plan, folder):
    """Give the state that is found in a folder, which is not changed."""
    identity = plan.identity | {"durability": STORAGE.durability}
    return bits_of(recover(HastyDisk(), folder, 10**6, plan, identity).store)


class Laboratory:
    """Makes folders, cuts the power of their disks, and checks what is found afterwards."""

    def __init__(self, plan, place, monkeypatch):
        self.states, self.expected = expected_of(plan)
        self._plan = plan
        self._place = place
        self._monkeypatch = monkeypatch
        self._numbers = itertools.count()

    def cut(self, disk, point, n, start=0):
        """Go through the script until the power goes; give its switch, and the step it went at."""
        power = Power(disk, point, n)
        self._monkeypatch.setattr(points, "reached", power.reached)
        run = Run(self._plan, power, disk.root / "shard")
        at = run.go(start)
        disk.close_all()
        self._monkeypatch.setattr(points, "reached", lambda _: None)
        assert run.answers[start + 1 : at] == self.expected[start + 1 : at]
        return power, at

    def new_disk(self):
        root = self._place / str(next(self._numbers))
        root.mkdir()
        return UnsyncedDisk(root)

    def disk_after(self, disk, keep):
        """Give a disk with what may be found after the cut."""
        return UnsyncedDisk(disk.crash(self._place / str(next(self._numbers)), keep))

    def check(self, disk, at):
        """Check what is found after a cut at a step, go on, and check the end of it."""
        before, after = self.states[max(at - 1, 0)], self.states[at]
        is_there = (disk.root / "shard").exists()
        found = (
            recovered(self._plan, disk.root / "shard") if is_there else bits_of(Store(self._plan))
        )
        assert found in (before, after), "neither what was acknowledged nor one push more"

        power = Power(disk)
        self._monkeypatch.setattr(points, "reached", power.reached)
        run = Run(self._plan, power, disk.root / "shard")
        assert run.go(at) == len(SCRIPT)
        self._monkeypatch.setattr(points, "reached", lambda _: None)
        first = self.expected[at]
        if first is not None:
            is_repeated = first.is_repeated or (found == after != before)
            assert run.answers[at] == replace(first, is_repeated=is_repeated)
        assert run.answers[at + 1 :] == self.expected[at + 1 :]
        end = self.disk_after(disk, "nothing").root
        assert recovered(self._plan, end / "shard") == self.states[-1]


@pytest.fixture
def laboratory(tmp_path, monkeypatch):
    return lambda plan: Laboratory(plan, tmp_path, monkeypatch)


def plans(fast):
    """Run a test with every plan; with those that are not named only where slow tests run."""
    return pytest.mark.parametrize(
        "plan",
        [
            pytest.param(plan, id=name, marks=[] if name in fast else pytest.mark.slow)
            for name, plan in PLANS.items()
        ],
    )


@plans(fast=["adam"])
@pytest.mark.parametrize("point", POINTS)
def test_nothing_acknowledged_is_lost_wherever_the_power_goes(laboratory, plan, point):
    lab = laboratory(plan)
    for n in itertools.count(1):
        disk = lab.new_disk()
        power, at = lab.cut(disk, point, n)
        if not power.fired:
            break
        for keep in ("nothing", "everything", Random(n)):
            lab.check(lab.disk_after(disk, keep), at)
    assert at == len(SCRIPT)
    assert n > 2, f"{point!r} was reached {n - 1} times: the fault must fire more than once"


@plans(fast=["sgd, 3 a step"])
@pytest.mark.parametrize("point", POINTS)
def test_nothing_acknowledged_is_lost_when_a_process_dies_and_the_power_goes_later(
    laboratory, plan, point
):
    lab = laboratory(plan)
    for n in itertools.count(1):
        disk = lab.new_disk()
        power, at = lab.cut(disk, point, n)
        if not power.fired:
            break
        disk.resume()  # what was not synced is in the memory of the machine
        (disk.root / "shard" / LOCK_FILE).unlink(missing_ok=True)  # held until a process dies
        lab.check(disk, at)
    assert at == len(SCRIPT)
    assert n > 2, f"{point!r} was reached {n - 1} times: the fault must fire more than once"


BEGINNING = ("epoch claimed", "epoch written", "state replayed", "journal begun")


@pytest.mark.parametrize("again", BEGINNING)
@pytest.mark.parametrize("point", ["journal written", "checkpoint renamed"])
def test_nothing_acknowledged_is_lost_when_the_power_goes_again_during_recovery(
    laboratory, point, again
):
    lab = laboratory(PLANS["adam"])
    for n in itertools.count(1):
        disk = lab.new_disk()
        power, at = lab.cut(disk, point, n)
        if not power.fired:
            break
        for keep in ("nothing", "everything", Random(n)):
            second = lab.disk_after(disk, keep)
            power, again_at = lab.cut(second, again, 1, start=at)
            assert power.fired
            assert again_at == at
            lab.check(lab.disk_after(second, keep), at)
    assert n > 2, f"{point!r} was reached {n - 1} times: the fault must fire more than once"


@pytest.mark.parametrize(
    "keep",
    ["nothing", "everything", Random(1), Random(2)],
    ids=["nothing", "everything", "some", "others"],
)
@pytest.mark.parametrize(
    "point",
    [
        "checkpoint written",
        "checkpoint synced",
        "checkpoint renamed",
        "checkpoint verified",
        "journal being cut",
        "journal cut",
    ],
)
def test_push_beside_a_checkpoint_is_durable_when_it_is_acknowledged(
    tmp_path, monkeypatch, point, keep
):
    root = tmp_path / "root"
    root.mkdir()
    disk = UnsyncedDisk(root)
    plan = PLANS["adam"]
    shard = Shard(plan, STORAGE, root / "shard", disk=disk)
    store = Store(plan)
    shard.initialize(LAYOUT.sha256, digest(VALUES), VALUES)
    store.initialize(digest(VALUES), VALUES)

    def accept(sequence):
        shard.push(push_of(0, sequence, 0), lambda *_: None)
        store.push(push_of(0, sequence, 0))

    accept(1)
    shard.checkpoint()
    accept(2)
    is_held, gate = threading.Event(), threading.Event()

    def hold(here):
        if here == point and threading.current_thread() is checkpointing:
            is_held.set()
            assert gate.wait(timeout=10)

    monkeypatch.setattr(points, "reached", hold)
    checkpointing = threading.Thread(target=shard.checkpoint)
    checkpointing.start()
    assert is_held.wait(timeout=10)
    accept(3)
    accept(4)

    found = disk.crash(tmp_path / "found", keep)
    gate.set()
    checkpointing.join(timeout=10)
    shard.close()

    assert recovered(plan, found / "shard") == bits_of(store)


def test_folders_around_a_new_shard_are_durable_before_anything_is_acknowledged(
    tmp_path, monkeypatch
):
    disk = UnsyncedDisk(tmp_path)
    folder = tmp_path / "run" / "shards" / "shard-1"
    shard = Shard(PLANS["adam"], STORAGE, folder, disk=disk)
    shard.initialize(LAYOUT.sha256, digest(VALUES), VALUES)

    found = disk.crash(tmp_path.with_name("found"), "nothing") / folder.relative_to(tmp_path)
    shard.close()

    with closing(Shard(PLANS["adam"], STORAGE, found, disk=HastyDisk())) as again:
        assert again.is_initialized


# Without a journal of pushes: what came after the last checkpoint may be lost, and no more


ON_CHECKPOINTS = StorageSettings(durability="checkpoint")


def begin_on_checkpoints(root, disk):
    shard = Shard(PLANS["adam"], ON_CHECKPOINTS, root / "shard", disk=disk)
    shard.initialize(LAYOUT.sha256, digest(VALUES), VALUES)
    return shard


def test_checkpoint_is_durable_when_it_is_answered(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    disk = UnsyncedDisk(root)
    shard = begin_on_checkpoints(root, disk)
    shard.push(push_of(0, 1, 0), lambda *_: None)
    shard.push(push_of(0, 2, 0), lambda *_: None)
    assert shard.checkpoint() == 2
    shard.push(push_of(0, 3, 0), lambda *_: None)

    found = disk.crash(tmp_path / "found", "nothing")
    disk.resume()
    shard.close()

    with closing(begin_on_checkpoints(found, HastyDisk())) as again:
        assert again.describe().version == 2


@pytest.mark.parametrize("num_checkpoints", [0, 1, 2])
def test_replica_whose_pushes_were_lost_without_a_journal_goes_on(tmp_path, num_checkpoints):
    root = tmp_path / "root"
    root.mkdir()
    disk = UnsyncedDisk(root)
    shard = begin_on_checkpoints(root, disk)
    for sequence in range(1, num_checkpoints + 1):
        shard.push(push_of(0, sequence, 0), lambda *_: None)
        shard.checkpoint()
    for sequence in (num_checkpoints + 1, num_checkpoints + 2):
        shard.push(push_of(0, sequence, 0), lambda *_: None)
    found = disk.crash(tmp_path / "found", "everything")
    disk.resume()
    shard.close()

    with closing(begin_on_checkpoints(found, HastyDisk())) as again:
        assert again.describe().version == num_checkpoints
        answer = again.push(push_of(0, sequence + 1, sequence), lambda answer, *_: answer)
        assert (answer.version, answer.is_repeated) == (num_checkpoints + 1, False)
