"""A shard of this process: the laws, in memory, on disk and from life to life; its arithmetic."""

import threading
from contextlib import ExitStack
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from support.disks import FailingDisk

from ps.disk import Disk
from ps.errors import DiskFailure, InvalidRequest, OutOfSequence, PastEpoch, ShardUnavailable
from ps.layout import Layout
from ps.optimizer import AdamSettings, SliceOptimizer
from ps.plan import ShardPlan
from ps.push import Push
from ps.shard import Shard
from ps.storage import StorageSettings

from .conformance import (
    INITIAL,
    LAYOUT,
    OneLifeLaws,
    ShardAsStore,
    StoreLaws,
    adam,
    assert_close,
    gradient_of,
    plan_of,
    push_of,
    state_of,
    values_after,
)

IN_MEMORY = StorageSettings(durability="none")


class HastyDisk(Disk):
    """Syncs nothing, since no power is cut here: so the laws take half the time."""

    def sync(self, file):
        pass

    def sync_folder(self, folder):
        pass


@pytest.fixture
def begin():
    """Give a function that begins a life of a shard, which ends with the test."""
    with ExitStack() as lives:

        def begin(*arguments, **options):
            shard = Shard(*arguments, **{"disk": HastyDisk()} | options)
            lives.callback(shard.close)
            return shard

        yield begin


class TestShardInMemory(OneLifeLaws):
    @pytest.fixture
    def make(self, begin):
        return lambda **updates: ShardAsStore(begin(plan_of(**updates), IN_MEMORY, None))

    @pytest.mark.parametrize(
        ("change", "complaint"),
        [
            ({"gradient": INITIAL.astype(np.float64)}, "gradient of type float64"),
            ({"gradient": INITIAL[:0]}, r"shape \(0,\)"),
            ({"gradient": INITIAL.reshape(17, 1)}, r"shape \(17, 1\)"),
            ({"base_version": -1}, "base_version=-1: must be between 0"),
            ({"incarnation": -1}, r"incarnation=-1: must be between 1 and 2\*\*64 - 1"),
            ({"incarnation": 2**64}, f"incarnation={2**64}: must be"),
            ({"replica": -1, "gradient": INITIAL}, "replica=-1: must be"),
        ],
        ids=[
            "float64",
            "empty",
            "matrix",
            "negative base_version",
            "negative incarnation",
            "incarnation of 65 bits",
            "negative replica",
        ],
    )
    def test_push_that_no_message_could_carry_is_refused(self, pushed, change, complaint):
        before = state_of(pushed)

        with pytest.raises(InvalidRequest, match=complaint):
            pushed.push(push_of(3, **change))

        assert state_of(pushed) == before

    @pytest.mark.parametrize("sequence", [-1, 2**64])
    def test_sequence_that_no_message_could_carry_is_refused(self, pushed, sequence):
        before = state_of(pushed)

        with pytest.raises(OutOfSequence, match=f"r0#{sequence} refused: sequence must be 3"):
            pushed.push(push_of(sequence, gradient=INITIAL))

        assert state_of(pushed) == before

    def test_norm_of_a_gradient_may_be_as_large_as_its_bound(self, pushed):
        whole = np.full(17, 2.4e17, np.float32)  # its norm is 0.99e18

        assert pushed.push(push_of(3, gradient=whole)).version == 3
        assert np.isfinite(pushed.pull()[1]).all()
        with pytest.raises(InvalidRequest, match=r"norm 1.03e\+18: must be at most 1e\+18"):
            pushed.push(push_of(4, gradient=np.full(17, 2.5e17, np.float32)))


class TestShardWithJournal(OneLifeLaws):
    durability = "journal"
    epoch = 1

    @pytest.fixture
    def make(self, begin, tmp_path):
        return lambda **updates: ShardAsStore(
            begin(plan_of(**updates), StorageSettings(), tmp_path / "state")
        )


class TestShardWithCheckpoints(OneLifeLaws):
    """Written by the shard, every second push."""

    durability = "checkpoint"
    epoch = 1

    @pytest.fixture
    def make(self, begin, tmp_path):
        storage = StorageSettings(durability="checkpoint", checkpoint_pushes=2)
        return lambda **updates: ShardAsStore(
            begin(plan_of(**updates), storage, tmp_path / "state")
        )


class ManyLives(ShardAsStore):
    """A shard that begins a new life before every call."""

    def __init__(self, begin, end):
        self._begin = begin
        self._end = end
        self.lives = [begin()]

    def shard(self):
        self._end(self.lives[-1])
        self.lives.append(self._begin())
        return self.lives[-1]


class ManyLivesLaws(StoreLaws):
    """Also the laws that need several lives."""

    def test_epoch_grows_with_every_life(self, filled):
        epochs = [filled.describe().epoch for _ in range(3)]

        assert epochs == list(range(epochs[0], epochs[0] + 3))
        assert filled.describe().durability == "journal"

    def test_pull_by_one_who_knows_the_version_of_an_older_life_gives_the_values(self, pushed):
        version, values = pushed.pull_unless(pushed.describe().epoch, 2)

        assert (version, values.tobytes()) == (2, values_after(push_of(1), push_of(2)).tobytes())


class TestShardClosedBetweenAnyTwoCalls(ManyLivesLaws):
    @pytest.fixture
    def make(self, begin, tmp_path):
        return lambda **updates: ManyLives(
            partial(begin, plan_of(**updates), StorageSettings(), tmp_path / "state"), Shard.close
        )


class TestShardAbandonedBetweenAnyTwoCalls(ManyLivesLaws):
    """Its lives are never closed, and checkpoints lie between some."""

    @pytest.fixture
    def make(self, begin, tmp_path):
        return lambda **updates: ManyLives(
            partial(
                begin,
                plan_of(**updates),
                StorageSettings(checkpoint_pushes=3),
                tmp_path / "state",
                is_taking_over=True,
            ),
            lambda _: None,
        )

    def test_older_life_that_is_pushed_to_changes_nothing_and_answers_no_more(self, pushed):
        older = ShardAsStore(pushed.lives[-1])
        before = state_of(pushed)

        for call in (
            partial(older.push, push_of(3)),
            partial(older.push, push_of(2)),  # its last one: nothing would change
            partial(older.initialize, LAYOUT, INITIAL),
            older.pull,
            older.describe,
        ):
            with pytest.raises(ShardUnavailable, match=r"shard 0 of 1 has ended: .* taken over"):
                call()

        assert state_of(pushed) == before


# The end of a shard


@pytest.fixture
def ended():
    """Why shards have ended, in order."""
    return []


def test_shard_whose_disk_fails_ends_once_and_answers_nothing_more(begin, tmp_path, ended):
    disk = FailingDisk(1)
    disk.kind = "never"  # until it is said
    shard = ShardAsStore(
        begin(plan_of(), StorageSettings(), tmp_path / "state", on_end=ended.append, disk=disk)
    )
    shard.initialize(LAYOUT, INITIAL)
    disk.kind = "sync"

    for sequence in (1, 1, 2):
        with pytest.raises(ShardUnavailable, match=r"has ended: .*injected"):
            shard.push(push_of(sequence))
    for call in (shard.pull, shard.describe):
        with pytest.raises(ShardUnavailable, match=r"has ended: .*injected"):
            call()

    assert disk.fired == "sync 1 on " + disk.fired.rpartition(" ")[2]
    assert [type(failure) for failure in ended] == [DiskFailure]


@pytest.mark.parametrize("durability", ["none", "journal"])
def test_shard_whose_optimizer_fails_ends_and_forgets_the_push(
    begin, tmp_path, ended, monkeypatch, durability
):
    storage = StorageSettings(durability=durability)
    folder = tmp_path / "state"
    shard = ShardAsStore(begin(plan_of(), storage, folder, on_end=ended.append))
    shard.initialize(LAYOUT, INITIAL)

    def step(optimizer, gradient):
        optimizer.values[:8] = 0  # half-way through the slice
        raise RuntimeError("a bug")

    with monkeypatch.context() as patch:
        patch.setattr(SliceOptimizer, "step", step)
        with pytest.raises(ShardUnavailable, match=r"has ended: .*r0#1 was broken off: .*a bug"):
            shard.push(push_of(1))
    with pytest.raises(ShardUnavailable, match=r"has ended: .*a bug"):
        shard.pull()

    assert [type(failure) for failure in ended] == [DiskFailure]


def test_push_on_which_the_optimizer_failed_is_applied_in_the_next_life(
    begin, tmp_path, monkeypatch
):
    def fail(optimizer, gradient):
        raise RuntimeError("a bug")

    first = begin(plan_of(), StorageSettings(), tmp_path / "state")
    ShardAsStore(first).initialize(LAYOUT, INITIAL)
    with monkeypatch.context() as patch:
        patch.setattr(SliceOptimizer, "step", fail)
        with pytest.raises(ShardUnavailable, match="was broken off"):
            ShardAsStore(first).push(push_of(1))
    first.close()

    second = ShardAsStore(begin(plan_of(), StorageSettings(), tmp_path / "state"))

    assert second.pull()[1].tobytes() == INITIAL.tobytes()
    assert second.push(push_of(1)).version == 1
    assert second.pull()[1].tobytes() == values_after(push_of(1)).tobytes()


def test_life_that_was_overtaken_says_so(begin, tmp_path, ended):
    first = begin(plan_of(), StorageSettings(), tmp_path / "state", on_end=ended.append)
    begin(plan_of(), StorageSettings(), tmp_path / "state", is_taking_over=True)

    with pytest.raises(ShardUnavailable, match=r"has ended: .*another has taken over"):
        ShardAsStore(first).initialize(LAYOUT, INITIAL)

    assert [type(failure) for failure in ended] == [PastEpoch]


def test_shard_without_a_folder_that_needs_one_is_refused():
    with pytest.raises(ValueError, match="durability='journal': a folder must be given"):
        Shard(plan_of(), StorageSettings(), None)


def test_shard_in_memory_writes_no_checkpoint(begin):
    with pytest.raises(ShardUnavailable, match="keeps nothing on disk"):
        begin(plan_of(), IN_MEMORY, None).checkpoint()


# What may be lost without a journal


@pytest.mark.parametrize("num_kept", [0, 1, 3], ids=["nothing kept", "1 kept", "all kept"])
def test_shard_that_has_lost_pushes_takes_the_next_ones_of_every_replica(begin, tmp_path, num_kept):
    storage = StorageSettings(durability="checkpoint")
    first = begin(plan_of(), storage, tmp_path / "state")
    store = ShardAsStore(first)
    store.initialize(LAYOUT, INITIAL)
    for sequence in (1, 2, 3):
        store.push(push_of(sequence))
        for _ in range(sequence == num_kept):
            first.checkpoint()

    # A crash: the first life is not closed.
    again = ShardAsStore(begin(plan_of(), storage, tmp_path / "state", is_taking_over=True))

    kept = [push_of(sequence) for sequence in range(1, num_kept + 1)]
    version, values = again.pull()
    assert (version, values.tobytes()) == (num_kept, values_after(*kept).tobytes())
    answer = again.push(push_of(4, base_version=3))  # pulled before the crash
    assert (answer.version, answer.staleness) == (num_kept + 1, 0)
    with pytest.raises(OutOfSequence, match="sequence must be 5"):
        again.push(push_of(3))
    only = replace(push_of(4), sequence=num_kept + 1)
    assert again.pull()[1].tobytes() == values_after(*kept, only).tobytes()


def test_shard_without_a_journal_that_is_closed_in_order_loses_nothing(begin, tmp_path):
    storage = StorageSettings(durability="checkpoint")
    first = begin(plan_of(), storage, tmp_path / "state")
    ShardAsStore(first).initialize(LAYOUT, INITIAL)
    ShardAsStore(first).push(push_of(1))
    first.close()

    again = ShardAsStore(begin(plan_of(), storage, tmp_path / "state"))

    assert again.pull()[1].tobytes() == values_after(push_of(1)).tobytes()
    assert again.push(push_of(1)).is_repeated


# Many at once


class CrowdedLock:
    """A lock that others take right before and right after its next user does."""

    def __init__(self, before, after):
        self._lock = threading.Lock()
        self._others = [after, before]
        self._other_is_in = False

    def __enter__(self):
        self._let_other_in()
        self._lock.acquire()

    def __exit__(self, *_):
        self._lock.release()
        self._let_other_in()

    def _let_other_in(self):
        if not self._other_is_in and self._others:
            self._other_is_in = True
            self._others.pop()()
            self._other_is_in = False


@pytest.mark.parametrize("durability", ["none", "journal"])
def test_pull_gives_one_version_when_pushes_come_right_before_and_after(
    begin, tmp_path, monkeypatch, durability
):
    shard = begin(plan_of(), StorageSettings(durability=durability), tmp_path / "state")
    store = ShardAsStore(shard)
    store.initialize(LAYOUT, INITIAL)

    with monkeypatch.context() as patch:
        crowded = CrowdedLock(partial(store.push, push_of(1)), partial(store.push, push_of(2)))
        patch.setattr(shard, "_lock", crowded)
        version, values = store.pull()

    assert store.describe().version == 2, "the others did not push"
    assert (version, values.tobytes()) == (1, values_after(push_of(1)).tobytes())


@pytest.mark.parametrize("durability", ["none", "journal"])
def test_values_in_the_answer_to_a_push_are_of_its_version_when_others_push_before_and_after(
    begin, tmp_path, monkeypatch, durability
):
    shard = begin(plan_of(), StorageSettings(durability=durability), tmp_path / "state")
    store = ShardAsStore(shard)
    store.initialize(LAYOUT, INITIAL)
    others = [push_of(1, replica=1), push_of(2, replica=1)]

    with monkeypatch.context() as patch:
        crowded = CrowdedLock(*(partial(store.push, push) for push in others))
        patch.setattr(shard, "_lock", crowded)
        answer, version, values = store.push_and_pull(push_of(1))

    assert store.describe().version == 3, "the others did not push"
    assert (answer.version, version) == (2, 2)
    assert values.tobytes() == values_after(others[0], push_of(1)).tobytes()


# Arithmetic, and the slice


@pytest.mark.parametrize(
    "settings",
    [
        {"learning_rate": 0.1, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8},
        {"learning_rate": 0.1, "beta1": 0.0, "beta2": 0.5, "epsilon": 1e-8},
    ],
    ids=["usual", "no momentum"],
)
def test_pushes_are_applied_by_the_optimizer_of_the_plan(begin, settings):
    optimizer = AdamSettings(**settings)
    gradients = np.stack([gradient_of(0, s) * 2.0 ** (s % 5) for s in range(1, 21)])
    gradients = gradients.astype(np.float32)
    store = ShardAsStore(begin(ShardPlan(LAYOUT, 0, optimizer), IN_MEMORY, None))
    store.initialize(LAYOUT, INITIAL)

    for step, expected in enumerate(adam(INITIAL, gradients, optimizer), start=1):
        store.push(Push(0, step, 1, step - 1, gradients[step - 1]))
        assert_close(store.pull()[1], expected, f"after push {step}")


def test_default_learning_rate_is_the_papers():
    assert ShardPlan(LAYOUT, 0).optimizer == AdamSettings(learning_rate=0.0006)


@pytest.mark.parametrize(("shard", "length"), [(0, 4), (1, 3), (2, 3)])
def test_store_owns_the_slice_of_its_shard(begin, shard, length):
    layout = Layout((("weight", (2, 5)),), num_shards=3)
    store = ShardAsStore(begin(ShardPlan(layout, shard), IN_MEMORY, None))
    store.initialize(layout, INITIAL[:length])

    assert store.pull()[1].tobytes() == INITIAL[:length].tobytes()
    description = store.describe()
    assert (description.shard, description.num_shards) == (shard, 3)
    assert description.num_parameters == length
    with pytest.raises(
        InvalidRequest, match=rf"shard {shard} of 3 owns float32 of shape \({length},\)"
    ):
        store.push(push_of(1, gradient=INITIAL[: length + 1]))
