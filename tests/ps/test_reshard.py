"""A search at rest is cut anew for another number of shards, to the last bit."""

import hashlib
import shutil
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
from support.crashes import StoppingDisk
from support.disks import FailingDisk, PowerCut

from ps.disk import Disk
from ps.epoch import Epoch
from ps.errors import (
    CorruptState,
    DiskFailure,
    InitializedOtherwise,
    NotAtRest,
    OutOfSequence,
    PastEpoch,
    StateInUse,
    StateMismatch,
)
from ps.layout import Layout
from ps.optimizer import AdagradSettings, AdamSettings, RmspropSettings, SgdSettings
from ps.plan import ShardPlan, UpdateSettings
from ps.push import Push
from ps.recovery import recover
from ps.reshard import reshard
from ps.shard import Shard
from ps.storage import StorageSettings
from ps.store import Store

# 201 parameters: no slice of any cut below fills whole vector registers.
SHAPES = (("weight", (14, 13)), ("bias", (19,)))
NUM_PARAMETERS = Layout(SHAPES, 1).num_parameters
INITIAL = np.linspace(-1, 1, NUM_PARAMETERS, dtype=np.float32)
OPTIMIZERS = [
    AdamSettings(learning_rate=0.1),
    SgdSettings(name="sgd", learning_rate=0.1, nesterov=True),
    AdagradSettings(name="adagrad", learning_rate=0.1, initial_accumulator=0.125),
    RmspropSettings(name="rmsprop", learning_rate=0.1, momentum=0.5),
]


def plans_of(num_shards, optimizer=OPTIMIZERS[0], accumulate=1):
    layout = Layout(SHAPES, num_shards)
    updates = UpdateSettings(accumulate=accumulate)
    return [ShardPlan(layout, shard, optimizer, updates) for shard in range(num_shards)]


def folders_of(folder, num_shards):
    return [folder / f"shard-{shard}" for shard in range(num_shards)]


def push_of(sequence, *, replica=0, incarnation=1, base_version=0, owned=slice(None)):
    generator = np.random.default_rng([replica, sequence])
    gradient = generator.standard_normal(NUM_PARAMETERS).astype(np.float32)
    return Push(replica, sequence, incarnation, base_version, gradient[owned])


def of_slice(push, plan):
    owned = plan.layout.slices[plan.shard]
    name = (push.replica, push.sequence, push.incarnation, push.base_version)
    return Push(*name, push.gradient[owned].copy())


@contextmanager
def shards_in(folder, plans, durability="journal"):
    """Start all shards of a search; close them behind the block."""
    with ExitStack() as stack:
        shards = []
        for plan, own in zip(plans, folders_of(folder, len(plans)), strict=True):
            shard = Shard(plan, StorageSettings(durability=durability), own)
            stack.callback(shard.close)
            shards.append(shard)
        yield shards


def initialize(shard, plan, values=INITIAL):
    part = values[plan.layout.slices[plan.shard]].copy()
    return shard.initialize(plan.layout.sha256, hashlib.sha256(part).digest(), part)


def begin(folder, plans, *pushes, durability="journal"):
    """Make the state of a search that was initialized, has had these pushes, and was stopped."""
    with shards_in(folder, plans, durability) as shards:
        for shard, plan in zip(shards, plans, strict=True):
            initialize(shard, plan)
    go_on(folder, plans, *pushes, durability=durability)


def go_on(folder, plans, *pushes, durability="journal", only=None):
    with shards_in(folder, plans, durability) as shards:
        chosen = range(len(plans)) if only is None else only
        return [
            shards[s].push(of_slice(push, plans[s]), lambda answer, *_: answer)
            for push in pushes
            for s in chosen
        ]


def values_in(folder, plans):
    with shards_in(folder, plans) as shards:
        return np.concatenate([shard.pull(lambda _, values: values.copy()) for shard in shards])


def states_in(folder, plans, durability="journal"):
    """What the shards would begin with."""
    return [
        recover(Disk(), own, 10**7, plan, plan.identity | {"durability": durability}).store.state()
        for plan, own in zip(plans, folders_of(folder, len(plans)), strict=True)
    ]


def held_in(folder, plans):
    """The bytes of all values, without a life of any shard."""
    states = states_in(folder, plans)
    return b"".join(state.arrays["values"].tobytes() for state in states)


def change(source, plans, target, num_shards, **more):
    given = {"durability": "journal", "initial_values": INITIAL} | more
    sources = folders_of(source, len(plans))
    with reshard(sources, plans, target, num_shards, **given) as version:
        return version


def store_after(*pushes, **plan):
    """A store in memory that owns everything and has had the same pushes."""
    (plan,) = plans_of(1, **plan)
    store = Store(plan)
    store.initialize(hashlib.sha256(INITIAL).digest(), INITIAL)
    for push in pushes:
        store.push(push)
    return store


def as_bytes(state):
    arrays = {name: (a.dtype, a.shape, a.tobytes()) for name, a in state.arrays.items()}
    return arrays, dict(state.numbers)


PUSHES = [
    push_of(sequence, replica=replica, base_version=max(0, 2 * (sequence - 1) - replica))
    for sequence in range(1, 8)
    for replica in (0, 3)
]


@pytest.mark.parametrize("durability", ["journal", "checkpoint"])
@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda optimizer: optimizer.name)
def test_search_that_was_cut_anew_again_and_again_is_one_that_never_was(
    tmp_path, optimizer, accumulate, durability
):
    rules = {"optimizer": optimizer, "accumulate": accumulate}
    pushes, folder, plans = iter(PUSHES), tmp_path / "0", plans_of(1, **rules)
    done = [next(pushes)]
    begin(folder, plans, *done, durability=durability)
    # Behind 1, 3, 5, 8 and 11 pushes; with accumulate=3 each leaves a tail but the second.
    for step, (num_shards, num_pushes) in enumerate([(3, 2), (2, 2), (5, 3), (1, 3)], start=1):
        target = tmp_path / str(step)
        version = change(folder, plans, target, num_shards, durability=durability)
        assert version == len(done)
        folder, plans = target, plans_of(num_shards, **rules)
        new = [next(pushes) for _ in range(num_pushes)]
        go_on(folder, plans, *new, durability=durability)
        done += new

    (state,) = states_in(folder, plans, durability)

    assert as_bytes(state) == as_bytes(store_after(*done, **rules).state())
    assert state.numbers["num_accumulated"] == (0 if accumulate == 1 else 2)
    assert state.numbers["staleness_max"] > 0


def test_new_state_holds_the_same_before_any_push(tmp_path):
    rules = {"accumulate": 3}
    begin(tmp_path / "old", plans_of(2, **rules), *PUSHES[:8])
    change(tmp_path / "old", plans_of(2, **rules), tmp_path / "new", 5)

    before = store_after(*PUSHES[:8], **rules).state()
    found = states_in(tmp_path / "new", plans_of(5, **rules))

    for name in ("values", "exp_avg", "exp_avg_sq", "accumulated"):
        whole = np.concatenate([state.arrays[name] for state in found])
        assert whole.tobytes() == before.arrays[name].tobytes(), name
    assert before.arrays["accumulated"].any()
    assert all(state.numbers == before.numbers for state in found)


def test_repeated_push_gets_its_first_answer_from_the_new_shards(tmp_path):
    plans = plans_of(2)
    begin(tmp_path / "old", plans, push_of(1))
    first = go_on(tmp_path / "old", plans, push_of(2), push_of(1, replica=1, base_version=0))[0]
    change(tmp_path / "old", plans, tmp_path / "new", 3)

    again = go_on(tmp_path / "new", plans_of(3), push_of(2))

    assert [answer.is_repeated for answer in again] == [True] * 3
    assert {(a.version, a.updates, a.staleness) for a in again} == {(first.version, 2, 1)}
    with pytest.raises(OutOfSequence, match="sequence must be 3"):
        go_on(tmp_path / "new", plans_of(3), push_of(4))


def test_new_shards_take_the_largest_of_what_shards_tell_each_in_their_own_way(tmp_path):
    plans, (one, other) = plans_of(2), (push_of(1), push_of(1, replica=1))
    begin(tmp_path / "old", plans)
    go_on(tmp_path / "old", plans, one, push_of(1, replica=1, base_version=1), only=[0])
    go_on(tmp_path / "old", plans, other, one, only=[1])
    change(tmp_path / "old", plans, tmp_path / "new", 1)

    (state,) = states_in(tmp_path / "new", plans_of(1))

    # replica, sequence, incarnation; version, updates, staleness, sample_staleness
    assert state.arrays["last_pushes"].tolist() == [[0, 1, 1, 2, 2, 1, 1], [1, 1, 1, 2, 2, 0, 0]]
    assert (state.numbers["staleness_sum"], state.numbers["staleness_max"]) == (1, 1)


def test_new_shards_take_the_search_s_first_values_and_no_others(tmp_path):
    begin(tmp_path / "old", plans_of(2), *PUSHES[:3])
    change(tmp_path / "old", plans_of(2), tmp_path / "new", 3)
    plans = plans_of(3)

    with shards_in(tmp_path / "new", plans) as shards:
        assert [initialize(s, p) for s, p in zip(shards, plans, strict=True)] == [3, 3, 3]
        with pytest.raises(InitializedOtherwise, match="with other values"):
            initialize(shards[1], plans[1], INITIAL + 1)


def test_new_state_is_none_of_the_old_number_of_shards(tmp_path):
    begin(tmp_path / "old", plans_of(2), push_of(1))
    change(tmp_path / "old", plans_of(2), tmp_path / "new", 3)

    with pytest.raises(StateMismatch, match="num_shards=3 instead of 2"):
        states_in(tmp_path / "new", plans_of(2))


def test_sources_can_be_gone_on_from(tmp_path):
    begin(tmp_path / "old", plans_of(2), push_of(1))
    change(tmp_path / "old", plans_of(2), tmp_path / "new", 3)

    go_on(tmp_path / "old", plans_of(2), push_of(2))

    values = store_after(push_of(1), push_of(2)).values
    assert values_in(tmp_path / "old", plans_of(2)).tobytes() == values.tobytes()


def test_sources_are_held_until_the_block_ends(tmp_path):
    plans = plans_of(2)
    begin(tmp_path / "old", plans, push_of(1))

    with reshard(folders_of(tmp_path / "old", 2), plans, tmp_path / "new", 3, "journal", INITIAL):
        assert values_in(tmp_path / "new", plans_of(3)).shape == (NUM_PARAMETERS,)
        with pytest.raises(StateInUse):
            values_in(tmp_path / "old", plans)

    assert values_in(tmp_path / "old", plans).shape == (NUM_PARAMETERS,)


def test_old_life_that_comes_to_a_new_folder_is_fenced_off(tmp_path):
    begin(tmp_path / "old", plans_of(1), push_of(1))
    frozen = Epoch.claim(Disk(), tmp_path / "old" / "shard-0")
    frozen.release()  # as if it were on another host, where the lock does not count
    change(tmp_path / "old", plans_of(1), tmp_path / "new", 2)
    (tmp_path / "old").rename(tmp_path / "kept")
    (tmp_path / "new").rename(tmp_path / "old")

    for _ in range(3):
        with pytest.raises(PastEpoch, match="another has taken over"):
            frozen.check()
        values_in(tmp_path / "old", plans_of(2))  # one more life of each new shard


def test_new_shard_does_not_start_empty_where_its_checkpoint_is_damaged(tmp_path):
    begin(tmp_path / "old", plans_of(2), push_of(1))
    change(tmp_path / "old", plans_of(2), tmp_path / "new", 1)
    (checkpoint,) = (tmp_path / "new" / "shard-0").glob("checkpoint-*")
    data = bytearray(checkpoint.read_bytes())
    data[-1] ^= 1
    checkpoint.write_bytes(data)

    with pytest.raises(CorruptState, match="checksum of the checkpoint"):
        states_in(tmp_path / "new", plans_of(1))


# Refusals


def is_missing(folder, plans):
    begin(folder, plans, push_of(1))
    for path in (folder / "shard-1").iterdir():
        path.unlink()
    (folder / "shard-1").rmdir()


def is_empty(folder, plans):
    begin(folder, plans, push_of(1))
    for path in (folder / "shard-1").iterdir():
        path.unlink()


def has_an_open_push(folder, plans):
    begin(folder, plans, push_of(1))
    go_on(folder, plans, push_of(2), only=[0])


def has_two_open_pushes(folder, plans):
    begin(folder, plans)
    go_on(folder, plans, push_of(1), only=[0])
    go_on(folder, plans, push_of(1, replica=7), only=[1])


def knows_a_newer_incarnation(folder, plans):
    begin(folder, plans, push_of(1))
    go_on(folder, plans, push_of(1, incarnation=2), only=[1])


NOT_AT_REST = [
    (is_missing, r"shard-1 does not exist: must be the folder of shard 1 of 2"),
    (is_empty, r"shard-1: shard 1 of 2 holds no values"),
    (
        has_an_open_push,
        r"shard 1 of 2 has version 1 instead of 2; updates 1 instead of 2; push r0#1 of "
        r"incarnation 1 instead of push r0#2 .* it ends with all its pushes finished",
    ),
    (has_two_open_pushes, "has no push r0 instead of push r0#1 .*; push r7#1 .*instead of no push"),
    (knows_a_newer_incarnation, "r0#1 of incarnation 2 instead of push r0#1 of incarnation 1"),
]


@pytest.mark.parametrize(
    ("make", "complaint"), NOT_AT_REST, ids=[make.__name__ for make, _ in NOT_AT_REST]
)
def test_search_that_is_not_at_rest_is_refused(tmp_path, make, complaint):
    plans = plans_of(2)
    make(tmp_path / "old", plans)

    with pytest.raises(NotAtRest, match=complaint):
        change(tmp_path / "old", plans, tmp_path / "new", 3)

    assert [path.name for path in tmp_path.iterdir()] == ["old"]


def test_search_that_may_have_lost_pushes_is_told_that_it_stays_so(tmp_path):
    plans = plans_of(2)
    begin(tmp_path / "old", plans, push_of(1), durability="checkpoint")
    go_on(tmp_path / "old", plans, push_of(2), durability="checkpoint", only=[1])

    with pytest.raises(NotAtRest, match="has to keep its shards"):
        change(tmp_path / "old", plans, tmp_path / "new", 3, durability="checkpoint")


def test_open_push_that_is_finished_later_lets_the_search_be_cut(tmp_path):
    plans = plans_of(2)
    has_an_open_push(tmp_path / "old", plans)
    go_on(tmp_path / "old", plans, push_of(2))

    assert change(tmp_path / "old", plans, tmp_path / "new", 3) == 2
    assert values_in(tmp_path / "new", plans_of(3)).tobytes() == (
        store_after(push_of(1), push_of(2)).values.tobytes()
    )


def test_running_shard_is_refused_and_goes_on(tmp_path):
    plans = plans_of(2)
    begin(tmp_path / "old", plans, push_of(1))
    running = Shard(plans[1], StorageSettings(), tmp_path / "old" / "shard-1")

    with pytest.raises(StateInUse, match="shard-1 is held by process"):
        change(tmp_path / "old", plans, tmp_path / "new", 3)

    assert running.push(of_slice(push_of(2), plans[1]), lambda answer, *_: answer.version) == 2
    running.close()
    go_on(tmp_path / "old", plans, push_of(2))  # shard 0 is free again


def test_shard_that_begins_elsewhere_meanwhile_stops_it(tmp_path):
    plans = plans_of(2)
    begin(tmp_path / "old", plans, push_of(1))

    class Meddling(Disk):
        def create(self, path):
            if path.name.startswith("checkpoint-") and path.parent.name == "shard-0":
                Epoch.claim(Disk(), tmp_path / "old" / "shard-1", is_taking_over=True)
            return super().create(path)

    with pytest.raises(PastEpoch, match="shard-1/EPOCH says"):
        change(tmp_path / "old", plans, tmp_path / "new", 3, disk=Meddling())

    assert [path.name for path in tmp_path.iterdir()] == ["old"]


def test_other_first_values_are_refused(tmp_path):
    begin(tmp_path / "old", plans_of(2), push_of(1))
    others = INITIAL.copy()
    others[-1] = np.nextafter(others[-1], np.float32(9))

    with pytest.raises(StateMismatch, match="shard 1 of 2 was initialized with other values"):
        change(tmp_path / "old", plans_of(2), tmp_path / "new", 3, initial_values=others)

    assert not (tmp_path / "new").exists()


def test_state_of_another_optimizer_is_refused(tmp_path):
    begin(tmp_path / "old", plans_of(2), push_of(1))

    with pytest.raises(StateMismatch, match="'name': 'adam'"):
        change(tmp_path / "old", plans_of(2, OPTIMIZERS[1]), tmp_path / "new", 3)


def test_more_shards_than_parameters_are_refused(tmp_path):
    begin(tmp_path / "old", plans_of(2), push_of(1))

    with pytest.raises(ValueError, match=r"num_shards=202: must be between 1 and .*, 201"):
        change(tmp_path / "old", plans_of(2), tmp_path / "new", 202)


def test_target_that_exists_stays_as_it_is(tmp_path):
    begin(tmp_path / "old", plans_of(2), push_of(1))
    (tmp_path / "new").mkdir()

    with pytest.raises(ValueError, match="new: must not exist"):
        change(tmp_path / "old", plans_of(2), tmp_path / "new", 3)

    assert list((tmp_path / "new").iterdir()) == []


@pytest.mark.parametrize(
    ("plans", "sources", "values", "complaint"),
    [
        (plans_of(2)[:1], 1, INITIAL, r"plans of shards \[0\]: must be all of one layout"),
        (plans_of(2)[::-1], 2, INITIAL, r"plans of shards \[1, 0\]"),
        ([], 0, INITIAL, r"plans of shards \[\]"),
        (plans_of(2), 1, INITIAL, "1 sources: must be 2"),
        ([plans_of(2)[0], plans_of(2, OPTIMIZERS[1])[1]], 2, INITIAL, "the same layout, optimizer"),
        (plans_of(2), 2, INITIAL[1:], r"initial_values of type float32 and shape \(200,\)"),
        (plans_of(2), 2, INITIAL.astype(np.float64), "initial_values of type float64"),
    ],
)
def test_arguments_that_do_not_fit_each_other_are_refused(
    tmp_path, plans, sources, values, complaint
):
    folders = folders_of(tmp_path / "old", sources)

    with (
        pytest.raises(ValueError, match=complaint),
        reshard(folders, plans, tmp_path / "new", 3, "journal", values),
    ):
        pass

    assert list(tmp_path.iterdir()) == []


# Interruptions


@pytest.mark.parametrize(
    ("failing", "raised"), [(FailingDisk, DiskFailure), (StoppingDisk, PowerCut)]
)
def test_whichever_step_fails_the_sources_stay_and_a_repeat_succeeds(tmp_path, failing, raised):
    plans, expected = plans_of(2), store_after(*PUSHES[:3]).values.tobytes()
    begin(tmp_path / "at rest", plans, *PUSHES[:3])
    for n in range(1, 200):
        folder = tmp_path / str(n)
        shutil.copytree(tmp_path / "at rest", folder / "old")
        disk = failing(n)
        with suppress(raised):
            change(folder / "old", plans, folder / "new", 3, disk=disk)
        if not disk.fired:
            break
        assert held_in(folder / "old", plans) == expected, disk.fired
        if not (folder / "new").exists():
            assert change(folder / "old", plans, folder / "new", 3) == 3, disk.fired
        assert held_in(folder / "new", plans_of(3)) == expected, disk.fired
        assert sorted(path.name for path in folder.iterdir()) == ["new", "old"], disk.fired
    assert n > 60, "the loop ended before every step had failed once"


def test_everything_is_durable_before_it_is_in_its_place(tmp_path):
    begin(tmp_path / "old", plans_of(2), *PUSHES[:3])

    class Watching(Disk):
        """Knows what a power cut would leave."""

        def __init__(self):
            self.paths, self.unsynced, self.synced_names = {}, set(), {}
            self.log = []

        def create(self, path):
            file = super().create(path)
            self.paths[file] = path
            self.unsynced.add(path)
            return file

        def write(self, file, buffers):
            self.unsynced.add(self.paths[file])
            super().write(file, buffers)

        def sync(self, file):
            super().sync(file)
            self.unsynced.discard(self.paths[file])

        def rename(self, path, to):
            if path.is_dir():
                for folder in (path, *filter(Path.is_dir, path.iterdir())):
                    assert self.synced_names[folder] == sorted(folder.iterdir())
                    # The first journal, of the lives before, stays empty.
                    assert not [p for p in self.unsynced & {*folder.iterdir()} if p.stat().st_size]
                    self.log.append("checked")
            super().rename(path, to)
            if path in self.unsynced:
                self.unsynced = self.unsynced - {path} | {to}
            self.log.append(f"renamed to {to.name}")

        def sync_folder(self, folder):
            super().sync_folder(folder)
            self.synced_names[folder] = sorted(folder.iterdir())
            self.log.append(f"synced {folder.name}")

    disk = Watching()
    change(tmp_path / "old", plans_of(2), tmp_path / "new", 3, disk=disk)

    assert disk.log.count("checked") == 4
    assert disk.log[-2:] == ["renamed to new", f"synced {tmp_path.name}"]
