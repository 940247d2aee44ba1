"""One life of a shard at a time, whatever the old one does and whenever the new one begins."""

import hashlib
import itertools
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from random import Random

import numpy as np
import pytest
from support.disks import FailingDisk, HastyDisk
from support.waiting import wait_until

from ps import points
from ps.errors import DiskFailure, PastEpoch, ShardUnavailable, StateError, StateInUse
from ps.folder import EPOCH_FILE
from ps.layout import Layout
from ps.optimizer import SgdSettings
from ps.plan import ShardPlan
from ps.push import Push
from ps.recovery import recover
from ps.shard import Shard
from ps.storage import StorageSettings
from ps.store import Store

LAYOUT = Layout((("weight", (3,)),), num_shards=1)
PLAN = ShardPlan(LAYOUT, 0, SgdSettings(name="sgd"))
VALUES = np.array([1, -2, 3], np.float32)
SHA256 = hashlib.sha256(VALUES.data).digest()


class Life:
    """One life of a shard, and how it ended."""

    def __init__(self, folder, *, is_taking_over=True, disk=None, **settings):
        self.ends = []
        self.shard = Shard(
            PLAN,
            StorageSettings(**settings),
            folder,
            on_end=self.ends.append,
            is_taking_over=is_taking_over,
            disk=disk or HastyDisk(),
        )

    def push(self, replica, sequence):
        return self.shard.push(push_of(replica, sequence), lambda answer, *_: answer)

    def accepts(self, replica, sequence):
        """Push, and tell whether that was acknowledged."""
        try:
            self.push(replica, sequence)
        except ShardUnavailable:
            return False
        return True

    def close(self):
        self.shard.close()


class LookedAtDisk(HastyDisk):
    """Counts how often EPOCH was read."""

    def __init__(self):
        self.num_looks = 0

    def read_short(self, path):
        self.num_looks += 1
        return super().read_short(path)


def push_of(replica, sequence):
    gradient = np.random.default_rng([replica, sequence]).normal(size=3).astype(np.float32)
    return Push(replica, sequence, 1, 0, gradient)


def begin_first(folder):
    """Begin the first life of a shard, and bring it to version 1."""
    life = Life(folder)
    life.shard.initialize(LAYOUT.sha256, SHA256, VALUES)
    life.push(0, 1)
    return life


def bits_of(store):
    state = store.state()
    return {name: a.tobytes() for name, a in state.arrays.items()}, dict(state.numbers)


def state_after(*pushes):
    store = Store(PLAN)
    store.initialize(SHA256, VALUES)
    for replica, sequence in pushes:
        store.push(push_of(replica, sequence))
    return bits_of(store)


def found(folder):
    """Give the state that the next life would find."""
    identity = PLAN.identity | {"durability": "journal"}
    return bits_of(recover(HastyDisk(), folder, 10**6, PLAN, identity).store)


class Stage:
    """Holds the threads that it has started at points of the code, until they are let go on."""

    def __init__(self, monkeypatch):
        self._threads = ThreadPoolExecutor(16)
        self._actors = threading.local()
        monkeypatch.setattr(points, "reached", self._reached)

    def start(self, work, *arguments):
        """Start some work in a thread of its own; it is held before it begins."""
        actor = Actor()

        def act():
            self._actors.present = actor
            actor.halt(None)
            try:
                return work(*arguments)
            finally:
                self._actors.present = None
                actor.leave()

        actor.outcome = self._threads.submit(act)
        actor.await_halt()
        return actor

    def close(self):
        self._threads.shutdown()

    def _reached(self, point):
        actor = getattr(self._actors, "present", None)
        if actor is not None:
            actor.halt(point)


class Actor:
    """A thread on a stage."""

    def __init__(self):
        self.outcome = None
        self.point = None
        self.is_done = False
        self._stops = None  # the points to be held at; None before the first
        self._go = threading.Semaphore(0)
        self._halted = threading.Semaphore(0)

    def halt(self, point):
        if point is None or point in self._stops:
            self.point = point
            self._halted.release()
            assert self._go.acquire(timeout=20), f"held at {point!r}, and never let go"

    def leave(self):
        self.point = None
        self.is_done = True
        self._halted.release()

    def await_halt(self):
        assert self._halted.acquire(timeout=20)

    def go_to(self, *stops):
        """Let it go on until the next of these points, or to the end; tell whether it is held."""
        self._stops = stops
        self._go.release()
        self.await_halt()
        return not self.is_done

    def end(self):
        """Let it go on to its end; give the result, or raise what it raised."""
        if not self.is_done:
            self.go_to()
        return self.outcome.result(timeout=20)


@pytest.fixture
def stage(monkeypatch):
    with closing(Stage(monkeypatch)) as stage:
        yield stage


# Without taking over


def test_second_life_is_refused_and_names_the_process_of_the_first(tmp_path):
    with closing(begin_first(tmp_path / "shard")) as taking_over:
        assert taking_over.shard.epoch == 1
        with pytest.raises(StateInUse, match=f"held by process {os.getpid()} of this host"):
            Life(tmp_path / "shard", is_taking_over=False)
    with closing(Life(tmp_path / "shard", is_taking_over=False)) as first:
        before = found(tmp_path / "shard")

        with pytest.raises(StateInUse, match=f"held by process {os.getpid()} of this host"):
            Life(tmp_path / "shard", is_taking_over=False)

        assert first.push(0, 2).version == 2
        assert first.shard.epoch == 2
        assert before == state_after((0, 1))
    with closing(Life(tmp_path / "shard", is_taking_over=False)) as second:
        assert second.shard.epoch == 3
    assert found(tmp_path / "shard") == state_after((0, 1), (0, 2))


# Taking over


def test_old_life_answers_nothing_once_a_new_one_has_taken_over(tmp_path):
    with closing(begin_first(tmp_path)) as old, closing(Life(tmp_path)) as new:
        with pytest.raises(ShardUnavailable, match="another has taken over"):
            old.push(0, 2)
        for call in (
            old.shard.describe,
            old.shard.checkpoint,
            lambda: old.shard.pull(lambda *_: None),
            lambda: old.push(0, 1),
            lambda: old.push(0, 2),
        ):
            with pytest.raises(ShardUnavailable, match="another has taken over"):
                call()
        assert [type(end) for end in old.ends] == [PastEpoch]

        assert new.push(0, 2).version == 2
        assert new.ends == []
    assert found(tmp_path) == state_after((0, 1), (0, 2))


@pytest.mark.parametrize("durability", ["journal", "checkpoint"])
def test_life_that_nobody_pushes_to_sees_by_itself_that_it_is_over(
    tmp_path, monkeypatch, durability
):
    monkeypatch.setattr("ps.shard.EPOCH_CHECK_S", 0.01)
    disk = LookedAtDisk()
    with closing(Life(tmp_path, durability=durability, disk=disk)) as old:
        num_looks = disk.num_looks
        wait_until(lambda: disk.num_looks > num_looks + 2, "it looks now and then")
        assert old.ends == []
        with closing(Life(tmp_path, durability=durability)) as new:
            wait_until(lambda: old.ends, "the old life ends")
            assert [type(end) for end in old.ends] == [PastEpoch]
            assert new.ends == []
            with pytest.raises(ShardUnavailable, match="another has taken over"):
                old.shard.describe()


@pytest.mark.parametrize("is_ready", [False, True], ids=["meanwhile", "when the new one is ready"])
@pytest.mark.parametrize(
    "new_point", ["epoch claimed", "epoch written", "state replayed", "journal begun"]
)
@pytest.mark.parametrize(
    "old_point",
    ["push checked", "push queued", "journal written", "journal synced", "push durable"],
)
def test_push_to_the_old_life_is_in_the_new_one_if_it_was_acknowledged(
    stage, tmp_path, old_point, new_point, is_ready
):
    with closing(begin_first(tmp_path)) as old:
        pushing = stage.start(old.accepts, 5, 1)
        assert pushing.go_to(old_point)
        beginning = stage.start(Life, tmp_path)
        assert beginning.go_to(new_point)
        if is_ready:
            beginning.end()
        is_acknowledged = pushing.end()

        with closing(beginning.end()) as new:
            is_there = new.shard.describe().version == 2
            assert is_there >= is_acknowledged, "an acknowledged push is lost"
            is_fenced = old_point != "push durable" and (is_ready or new_point != "epoch claimed")
            assert is_acknowledged != is_fenced
            assert [type(end) for end in old.ends] == [PastEpoch] * is_fenced
            was_read = new_point in ("epoch claimed", "epoch written") and not is_ready
            was_written = old_point not in ("push checked", "push queued")
            assert is_there == (was_read or was_written)

            # The client sends it again, for it has heard nothing, or to see what comes.
            assert new.push(5, 1).is_repeated == is_there
            assert new.push(0, 2).version == 3
            assert not old.accepts(7, 1)
            assert [type(end) for end in old.ends] == [PastEpoch]
            assert new.ends == []
    assert found(tmp_path) == state_after((0, 1), (5, 1), (0, 2))


@pytest.mark.parametrize("num_new_checkpoints", [0, 1, 3])
@pytest.mark.parametrize(
    "old_point",
    [
        "journal rotated",
        "journal written",
        "journal synced",
        "checkpoint written",
        "checkpoint synced",
        "checkpoint renamed",
        "checkpoint verified",
        "journal being cut",
        "journal cut",
    ],
)
def test_checkpoint_of_the_old_life_does_no_harm_to_the_new_one(
    stage, tmp_path, old_point, num_new_checkpoints
):
    with closing(begin_first(tmp_path)) as old:
        for sequence in (2, 3):
            old.shard.checkpoint()
            old.push(0, sequence)
        checkpointing = stage.start(old.shard.checkpoint)
        assert checkpointing.go_to(old_point)
        with closing(Life(tmp_path)) as new:
            pushes = [(0, 1), (0, 2), (0, 3)]
            for sequence in range(4, 4 + num_new_checkpoints):
                new.push(0, sequence)
                pushes.append((0, sequence))
                new.shard.checkpoint()
            expected = state_after(*pushes)
            assert found(tmp_path) == expected

            checkpointing.go_to()

            is_over = old_point in ("journal being cut", "journal cut")
            if checkpointing.outcome.exception(timeout=5) is None:
                assert is_over
            else:
                assert isinstance(checkpointing.outcome.exception(), ShardUnavailable)
                assert [type(end) for end in old.ends] in ([PastEpoch], [DiskFailure])
            assert not old.accepts(7, 1)
            assert found(tmp_path) == expected
            new.push(1, 1)
            new.shard.checkpoint()
            new.push(1, 2)
            assert new.ends == []
    assert found(tmp_path) == state_after(*pushes, (1, 1), (1, 2))


class SlowToCutDisk(HastyDisk):
    """Holds whoever asks for the names in the folder, once it is armed."""

    def __init__(self):
        self.is_armed = False
        self.is_held = threading.Event()
        self.gate = threading.Event()

    def names(self, folder):
        if self.is_armed:
            self.is_held.set()
            assert self.gate.wait(timeout=10)
        return super().names(folder)


@pytest.mark.parametrize(
    "new_point", ["checkpoint written", "checkpoint synced", "checkpoint renamed"]
)
def test_old_life_that_was_frozen_before_it_cut_the_journal_does_no_harm_to_the_new_one(
    stage, tmp_path, new_point
):
    disk = SlowToCutDisk()
    begin_first(tmp_path).close()
    with closing(Life(tmp_path, disk=disk)) as old:
        old.shard.checkpoint()
        old.push(0, 2)
        disk.is_armed = True
        checkpointing = stage.start(old.shard.checkpoint)
        with ThreadPoolExecutor(1) as waiting:
            frozen = waiting.submit(checkpointing.go_to)
            assert disk.is_held.wait(timeout=5)
            with closing(Life(tmp_path)) as new:
                new.push(0, 3)
                writing = stage.start(new.shard.checkpoint)
                assert writing.go_to(new_point)

                disk.gate.set()
                frozen.result(timeout=5)

                assert writing.end() == 3
                assert new.push(0, 4).version == 4
                assert new.ends == []
    assert found(tmp_path) == state_after((0, 1), (0, 2), (0, 3), (0, 4))


# Several that begin at the same time


STEPS = ("epoch claimed", "epoch written", "state replayed", "journal begun", "journal synced")


def begin_and_push(folder, replica, disk=None):
    """Begin a life, and push to it; give it and whether it has acknowledged."""
    life = Life(folder, disk=disk)
    return life, life.accepts(replica, 1)


def check_lives(folder, outcomes):
    """Check that of lives that have begun one at most goes on, and none has lied; end them."""
    lives, acknowledged = [], []
    for replica, outcome in enumerate(outcomes, start=1):
        try:
            life, is_acknowledged = outcome()
        except PastEpoch:
            continue
        lives.append(life)
        acknowledged += [(replica, 1)] * is_acknowledged
    numbers = [life.shard.epoch for life in lives]
    assert len(set(numbers)) == len(numbers)
    accepting = [life for life in lives if life.accepts(9, 1)]
    assert len(accepting) <= 1, "two lives accept"
    for life in lives:
        life.close()
        assert [type(end) for end in life.ends] == [PastEpoch] * (life not in accepting)
    with closing(Life(folder)) as last:
        for replica, sequence in [(0, 1), *acknowledged]:
            assert last.push(replica, sequence).is_repeated, "an acknowledged push is lost"
        assert last.push(9, 1).is_repeated == bool(accepting) or not accepting
    return len(accepting)


def interleavings(num_steps):
    """Give every order in which two lives can take their steps."""
    for taken in itertools.combinations(range(2 * num_steps), num_steps):
        yield [0 if step in taken else 1 for step in range(2 * num_steps)]


ORDERS = list(interleavings(len(STEPS) + 1))


@pytest.mark.parametrize(
    "orders",
    [
        pytest.param(Random(1).sample(ORDERS, 300), id="some orders"),
        pytest.param(ORDERS, id="all orders", marks=pytest.mark.slow),
    ],
)
def test_of_two_lives_that_begin_at_the_same_time_one_at_most_accepts(stage, tmp_path, orders):
    num_accepting = 0
    for number, order in enumerate([[0] * 6 + [1] * 6, *orders]):
        folder = tmp_path / str(number)
        begin_first(folder).close()
        actors = [stage.start(begin_and_push, folder, replica) for replica in (1, 2)]
        for turn in order:
            if not actors[turn].is_done:
                actors[turn].go_to(*STEPS)

        num_accepting += check_lives(folder, [actor.end for actor in actors])

    assert num_accepting > len(orders) / 4, "mostly one of the two goes on"


OPERATIONS = ("create", "write", "sync", "rename", "delete", "names", "open", "read")


class SteppedDisk(HastyDisk):
    """Makes a point of every operation, so that a thread can be held before it."""

    def create(self, path):
        points.reached("create")
        return super().create(path)

    def write(self, file, buffers):
        points.reached("write")
        super().write(file, buffers)

    def sync(self, file):
        points.reached("sync")
        super().sync(file)

    def rename(self, path, to):
        points.reached("rename")
        super().rename(path, to)

    def delete(self, path):
        points.reached("delete")
        super().delete(path)

    def names(self, folder):
        points.reached("names")
        return super().names(folder)

    def open(self, path):
        points.reached("open")
        return super().open(path)

    def read_short(self, path):
        points.reached("read")
        return super().read_short(path)


@pytest.mark.parametrize(
    "num_orders", [100, pytest.param(2000, marks=pytest.mark.slow)], ids=["some", "many"]
)
@pytest.mark.parametrize("num_lives", [2, 3])
def test_of_lives_that_begin_at_the_same_time_one_at_most_accepts_whatever_the_order_of_operations(
    stage, tmp_path, num_lives, num_orders
):
    random = Random(num_lives)
    disk = SteppedDisk()
    num_accepting = 0
    for number in range(num_orders):
        folder = tmp_path / str(number)
        begin_first(folder).close()
        replicas = range(1, num_lives + 1)
        actors = [stage.start(begin_and_push, folder, replica, disk) for replica in replicas]
        # Long turns and short ones: a life may be through before another has taken a step.
        while going := [actor for actor in actors if not actor.is_done]:
            actor = random.choice(going)
            for _ in range(random.choice([1, 2, 5, 20])):
                if not actor.is_done:
                    actor.go_to(*OPERATIONS)

        num_accepting += check_lives(folder, [actor.end for actor in actors])

    assert num_accepting > num_orders / 4, "mostly one goes on"


def test_life_that_says_so_late_gives_way_to_a_newer_one_that_has_accepted(stage, tmp_path):
    begin_first(tmp_path).close()
    late = stage.start(begin_and_push, tmp_path, 1, SteppedDisk())
    assert late.go_to("rename"), "its number is to be written into EPOCH"
    with closing(Life(tmp_path)) as newer:
        assert newer.shard.epoch == 3
        assert newer.accepts(2, 1)

        with pytest.raises(PastEpoch, match="life 3 of the shard began while life 2 did"):
            late.end()

        assert not newer.accepts(3, 1), "EPOCH does not name it any more"
    with closing(Life(tmp_path)) as last:
        assert last.shard.epoch == 4
        assert last.push(2, 1).is_repeated


def test_life_that_is_overtaken_before_it_says_so_does_no_harm_to_the_newer_one(stage, tmp_path):
    begin_first(tmp_path).close()
    late = stage.start(begin_and_push, tmp_path, 1)
    assert late.go_to("epoch claimed")
    with closing(Life(tmp_path)) as newer:
        with pytest.raises(PastEpoch, match="life 3 of the shard began while life 2 did"):
            late.end()

        assert newer.accepts(2, 1)
    assert found(tmp_path) == state_after((0, 1), (2, 1))


def test_of_many_threads_that_begin_a_life_one_at_most_accepts(tmp_path):
    num_lives = 8
    for number in range(5):
        folder = tmp_path / str(number)
        begin_first(folder).close()
        barrier = threading.Barrier(num_lives)

        def begin(replica, folder=folder, barrier=barrier):
            barrier.wait(timeout=10)
            return begin_and_push(folder, replica)

        with ThreadPoolExecutor(num_lives) as threads:
            beginning = [threads.submit(begin, replica) for replica in range(1, num_lives + 1)]
        check_lives(folder, [each.result for each in beginning])


def test_of_many_threads_that_do_not_take_over_one_has_the_folder(tmp_path):
    num_lives = 8
    begin_first(tmp_path).close()
    barrier = threading.Barrier(num_lives)

    def begin(_):
        barrier.wait(timeout=10)
        try:
            return Life(tmp_path, is_taking_over=False)
        except StateInUse:
            return None

    with ThreadPoolExecutor(num_lives) as threads:
        lives = [life for life in threads.map(begin, range(num_lives)) if life is not None]

    (life,) = lives
    assert life.shard.epoch == 2
    assert life.push(0, 2).version == 2
    life.close()


# EPOCH, by hand


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (None, DiskFailure),
        (b"", PastEpoch),
        (b"1", PastEpoch),
        (b"7 00000000\n", PastEpoch),
        (b"\xff" * 9, PastEpoch),
    ],
    ids=["gone", "empty", "cut", "wrong checksum", "no text"],
)
def test_life_whose_epoch_is_deleted_or_broken_by_hand_ends_and_the_next_goes_on(
    tmp_path, content, kind
):
    with closing(begin_first(tmp_path)) as life:
        (tmp_path / EPOCH_FILE).unlink()
        if content is not None:
            (tmp_path / EPOCH_FILE).write_bytes(content)

        assert not life.accepts(0, 2)
        assert not life.accepts(0, 2)
        assert [type(end) for end in life.ends] == [kind]
        with closing(Life(tmp_path)) as new:
            assert new.shard.epoch == 2
            # Its record was written; nobody was told.
            assert new.push(0, 2).is_repeated
            assert new.push(0, 3).version == 3
    assert found(tmp_path) == state_after((0, 1), (0, 2), (0, 3))


def test_life_that_finds_a_higher_epoch_than_any_journal_has_takes_a_higher_one_yet(tmp_path):
    begin_first(tmp_path).close()
    other = tmp_path.with_name("other")
    for _ in range(4):
        begin = Life(other)
        begin.close()
    (other / EPOCH_FILE).replace(tmp_path / EPOCH_FILE)

    with closing(Life(tmp_path)) as life:
        assert life.shard.epoch == 5
        assert life.push(0, 2).version == 2


def test_life_that_cannot_begin_leaves_the_folder_to_the_next(tmp_path):
    begin_first(tmp_path).close()
    disk = HastyDisk()
    disk.rename = None  # not callable: EPOCH cannot be written
    with pytest.raises((StateError, TypeError)):
        Life(tmp_path, is_taking_over=False, disk=disk)

    with closing(Life(tmp_path, is_taking_over=False)) as life:
        assert life.push(0, 2).version == 2


def test_life_that_cannot_begin_leaves_no_file_open(tmp_path):
    before = len([*Path("/proc/self/fd").iterdir()])
    disk = FailingDisk(1, "rename")

    with pytest.raises(DiskFailure, match="the shard cannot begin"):
        Life(tmp_path, is_taking_over=False, disk=disk)

    assert disk.fired
    assert len([*Path("/proc/self/fd").iterdir()]) == before
