"""A shard whose checkpoints have a URL comes back in a folder where it has never been."""

import hashlib
import itertools
import logging
from contextlib import closing

import fsspec
import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.registry import known_implementations
from pydantic import ValidationError
from support.clock import FakeClock
from support.disks import HastyDisk
from support.waiting import wait_until

from ps.client import ClientSettings, ShardClient
from ps.errors import PastEpoch, RemoteFailure, ShardUnavailable, StateMismatch
from ps.folder import CheckpointName
from ps.layout import Layout
from ps.metrics import ShardMetrics
from ps.optimizer import AdamSettings
from ps.plan import ShardPlan
from ps.push import Push
from ps.remote_checkpoints import BEGIN_PATIENCE_S, Patience, RemoteCheckpoints
from ps.server import ServerSettings, ShardServer
from ps.shard import Shard
from ps.storage import StorageSettings
from ps.store import Store

LAYOUT = Layout((("weight", (7,)),), num_shards=1)
PLAN = ShardPlan(LAYOUT, 0, AdamSettings(learning_rate=0.1))
VALUES = np.linspace(-1, 1, 7, dtype=np.float32)
FAILED_UPLOADS = "nasrl_shard_failed_uploads_total"
UPLOADS = "nasrl_shard_upload_seconds_count"
IDENTITY = PLAN.identity | {"durability": "checkpoint"}


@pytest.fixture(params=["file", "memory"])
def url(request, tmp_path):
    """Stores of two kinds: a folder, and what forgets all when the process ends."""
    if request.param == "file":
        yield f"file://{tmp_path}/store"
    else:
        yield "memory://search"
        MemoryFileSystem.store.clear()
        MemoryFileSystem.pseudo_dirs[:] = [""]


@pytest.fixture
def folder_of(tmp_path):
    """The folder of the shard on each of several nodes."""
    return lambda node: tmp_path / node


def storage_of(url, **others):
    return StorageSettings(durability="checkpoint", checkpoint_url=url, **others)


def begin(url, folder, plan=PLAN, **options):
    storage = storage_of(url, **options.pop("storage", {}))
    return Shard(plan, storage, folder, disk=HastyDisk(), **options)


def initialize(shard):
    return shard.initialize(LAYOUT.sha256, hashlib.sha256(VALUES.data).digest(), VALUES)


def push_of(sequence):
    gradient = np.random.default_rng(sequence).normal(size=7).astype(np.float32)
    return Push(0, sequence, 1, sequence - 1, gradient)


def push(shard, *sequences):
    for sequence in sequences:
        shard.push(push_of(sequence), lambda *_: None)


def state_of(shard):
    return shard.pull(lambda version, values: (version, values.tobytes()))


def state_after(num_pushes):
    """What a store in memory holds to which the same was pushed."""
    store = Store(PLAN)
    store.initialize(hashlib.sha256(VALUES.data).digest(), VALUES)
    for sequence in range(1, num_pushes + 1):
        store.push(push_of(sequence))
    return store.version, store.values.tobytes()


def names_at(url):
    store, folder = fsspec.core.url_to_fs(f"{url}/shard-0")
    store.invalidate_cache()
    return sorted(path.rpartition("/")[2] for path in store.ls(folder, detail=False))


def checkpoints_at(url):
    return [name for name in map(CheckpointName.parse, names_at(url)) if name]


# Another node


def test_shard_goes_on_in_an_empty_folder_from_what_was_uploaded_last(url, folder_of):
    with closing(begin(url, folder_of("a"))) as shard:
        initialize(shard)
        push(shard, 1, 2)
        assert shard.checkpoint() == 2
    with closing(begin(url, folder_of("b"))) as shard:
        assert state_of(shard) == state_after(2)
        push(shard, 3)  # the moments of Adam came with it, and the sequence of the replica
        assert state_of(shard) == state_after(3)


def test_shard_that_is_killed_comes_back_elsewhere_as_it_was_at_its_checkpoint(url, folder_of):
    killed = begin(url, folder_of("a"))
    initialize(killed)
    push(killed, 1)
    killed.checkpoint()
    push(killed, 2, 3)
    # It is not closed: what is of version 3 stays in a folder that the other node does not see.
    with closing(begin(url, folder_of("b"))) as shard:
        assert state_of(shard) == state_after(1)
    with pytest.raises(ShardUnavailable, match="another has taken over"):
        killed.checkpoint()
    killed.close()


def test_first_values_are_at_the_url_before_they_are_acknowledged(url, folder_of):
    shard = begin(url, folder_of("a"))
    initialize(shard)
    assert len(checkpoints_at(url)) == 1
    with closing(begin(url, folder_of("b"))) as other:
        assert state_of(other) == state_after(0)
    shard.close()


def test_node_that_comes_back_takes_the_newer_of_its_folder_and_the_url(url, folder_of):
    with closing(begin(url, folder_of("a"))) as shard:
        initialize(shard)
        push(shard, 1)
    with closing(begin(url, folder_of("b"))) as shard:
        push(shard, 2)
    with closing(begin(url, folder_of("a"))) as shard:
        assert state_of(shard) == state_after(2)
        push(shard, 3)
        shard.checkpoint()
        push(shard, 4)
        shard._checkpoints._remote = None  # the node loses its network before the last upload
    with closing(begin(url, folder_of("a"))) as shard:
        assert state_of(shard) == state_after(4), "its own folder is newer than the URL"


def test_lives_in_different_folders_have_different_numbers(url, folder_of):
    epochs = []
    for node in "abab":
        with closing(begin(url, folder_of(node))) as shard:
            epochs.append(shard.epoch)
            if node == "a" and len(epochs) == 1:
                initialize(shard)
    assert epochs == [1, 2, 3, 4]


def test_of_two_that_claim_one_number_one_has_it(url):
    first, second = (RemoteCheckpoints(url, IDENTITY) for _ in range(2))
    assert first.claim(1)
    assert not second.claim(1)
    assert second.claim(2)
    with pytest.raises(PastEpoch, match="has life 2"):
        first.upload(
            1, CheckpointName.parse(f"checkpoint-00000001-00000001-{0:08x}.safetensors"), b""
        )
    assert checkpoints_at(url) == []


def test_life_whose_number_was_taken_by_another_ends_at_its_upload(url, monkeypatch):
    """Some stores cannot make a file only where there is none: the last to write it has it."""
    first, second = (RemoteCheckpoints(url, IDENTITY) for _ in range(2))
    for remote in (first, second):
        monkeypatch.setattr(
            remote, "_create", lambda path, r=remote: r._store.pipe_file(path, r._claim)
        )
        assert remote.claim(1)
    name = CheckpointName.parse(f"checkpoint-00000001-00000001-{0:08x}.safetensors")
    with pytest.raises(PastEpoch, match="another life 1"):
        first.upload(1, name, b"")
    second.upload(1, name, b"")


# What is kept


def cut_short(url, name):
    """Leave of a checkpoint what a shard leaves that is killed while it uploads it."""
    store, folder = fsspec.core.url_to_fs(f"{url}/shard-0")
    path = f"{folder}/{name.file_name}"
    store.pipe_file(path, store.cat_file(path)[:-1])


def test_two_newest_checkpoints_and_the_newest_life_are_kept(url, folder_of):
    for node in "ab":
        with closing(begin(url, folder_of(node))) as shard:
            if node == "a":
                initialize(shard)
            for _ in range(3):
                version, _ = state_of(shard)
                push(shard, version + 1)
                shard.checkpoint()
    assert len(checkpoints_at(url)) == 2
    assert [name for name in names_at(url) if name.startswith("life-")] == ["life-00000002.json"]


def test_checkpoint_that_is_not_whole_is_passed_over(url, folder_of, caplog):
    with closing(begin(url, folder_of("a"))) as shard:
        initialize(shard)
        push(shard, 1)
        shard.checkpoint()
        push(shard, 2)
    cut_short(url, max(checkpoints_at(url)))
    with (
        caplog.at_level(logging.WARNING),
        closing(begin(url, folder_of("b"))) as shard,
    ):
        assert state_of(shard) == state_after(1)
    assert "is not whole" in caplog.text


@pytest.mark.parametrize("num_pushes", [0, 2], ids=["first of all", "not the first"])
def test_upload_that_a_killed_life_left_cut_short_is_made_up_for_by_the_next(
    url, folder_of, num_pushes
):
    """Where a file is under its name before all of it is there, the name says nothing."""
    with closing(begin(url, folder_of("a"))) as shard:
        initialize(shard)
        for sequence in range(1, num_pushes + 1):
            push(shard, sequence)
            shard.checkpoint()
    cut_short(url, max(checkpoints_at(url)))
    begin(url, folder_of("a")).close()
    with closing(begin(url, folder_of("b"))) as shard:
        assert state_of(shard) == state_after(num_pushes)


def test_first_values_are_acknowledged_once_a_whole_checkpoint_is_at_the_url(url, folder_of):
    """Also where something of a checkpoint is there, of a life that was killed meanwhile."""
    with closing(begin(url, folder_of("a"))) as shard:
        initialize(shard)
    [name] = checkpoints_at(url)
    cut_short(url, name)
    with closing(begin(url, folder_of("b"))) as shard:
        assert not shard.is_initialized
        initialize(shard)
        with closing(begin(url, folder_of("c"))) as other:
            assert state_of(other) == state_after(0)


def test_checkpoint_that_is_at_the_url_is_not_uploaded_again(url, folder_of):
    num_uploads = []
    for node in "aab":
        metrics = ShardMetrics(0)
        with closing(begin(url, folder_of(node), metrics=metrics)) as shard:
            initialize(shard)
        num_uploads.append(metrics.registry.get_sample_value(UPLOADS, {"shard": "0"}))
    assert num_uploads == [1, 0, 0]


def test_pushes_bring_checkpoints_to_the_url_by_themselves(url, folder_of):
    with closing(begin(url, folder_of("a"), storage={"checkpoint_pushes": 2})) as shard:
        initialize(shard)
        before = checkpoints_at(url)
        push(shard, 1, 2)
        wait_until(lambda: checkpoints_at(url) != before, "a checkpoint is uploaded")


# Stores that fail


def failing(store, *methods):
    """Let these methods of a store fail, as one does whose network is gone."""

    class Failing:
        def __getattr__(self, name):
            if name in methods:

                def fail(*_, **__):
                    raise ConnectionError("the network is unreachable")

                return fail
            return getattr(store, name)

    return Failing()


def test_upload_that_fails_costs_nothing_but_a_warning_and_is_made_up_for(url, folder_of, caplog):
    metrics = ShardMetrics(0)
    with closing(begin(url, folder_of("a"), metrics=metrics)) as shard:
        initialize(shard)
        remote = shard._checkpoints._remote
        whole, remote._store = remote._store, failing(remote._store, "pipe_file")
        push(shard, 1)
        with pytest.raises(ShardUnavailable, match=r"on this node alone: .*network is unreach"):
            shard.checkpoint()
        assert "tried again with the next checkpoint" in caplog.text
        assert metrics.registry.get_sample_value(FAILED_UPLOADS, {"shard": "0"}) == 1
        push(shard, 2)
        assert state_of(shard) == state_after(2), "the shard goes on"
        remote._store = whole
        shard.checkpoint()
    with closing(begin(url, folder_of("b"))) as shard:
        assert state_of(shard) == state_after(2)


def test_upload_that_arrives_in_part_is_not_left_there(url, folder_of, monkeypatch):
    with closing(begin(url, folder_of("a"))) as shard:
        initialize(shard)
        before = checkpoints_at(url)
        store = shard._checkpoints._remote._store
        pipe_file = type(store).pipe_file
        with monkeypatch.context() as patched:
            patched.setattr(
                type(store),
                "pipe_file",
                lambda s, path, data, **o: pipe_file(s, path, data[:9], **o),
            )
            push(shard, 1)
            with pytest.raises(ShardUnavailable, match="9 bytes arrived of"):
                shard.checkpoint()
        assert checkpoints_at(url) == before


def test_store_that_cannot_be_reached_is_named_before_anything_is_written(folder_of, monkeypatch):
    store = fsspec.filesystem("memory")
    monkeypatch.setattr(
        "ps.remote_checkpoints._open", lambda url: (failing(store, "ls"), "/search/shard-0")
    )
    monkeypatch.setattr("ps.remote_checkpoints.BEGIN_PATIENCE_S", 0)
    with pytest.raises(RemoteFailure, match="memory://search/shard-0: cannot be listed: the netw"):
        begin("memory://search", folder_of("a"))
    assert not folder_of("a").exists()


def test_package_that_a_store_needs_is_named(folder_of, monkeypatch):
    monkeypatch.setitem(
        known_implementations,
        "far",
        {"class": "no_such_package.Store", "err": "Install no_such_package to reach it"},
    )
    with pytest.raises(RemoteFailure, match=r"Install no_such_package .*pip install no_such_pack"):
        begin("far://search", folder_of("a"))


# Stores that are away while a shard begins


LOST_REQUEST, LOST_REPLY = "lost request", "lost reply"


class FailsNth:
    """A store whose n-th call (from 1) fails, once; `fired` tells whether it came to that."""

    def __init__(self, store, n, kind):
        self._store, self._n, self._kind = store, n, kind
        self._count = itertools.count(1)
        self.fired = False

    def __getattr__(self, name):
        method = getattr(self._store, name)
        if name == "invalidate_cache":
            return method

        def call(*arguments, **options):
            is_failing = next(self._count) == self._n
            self.fired |= is_failing
            if not is_failing or self._kind == LOST_REPLY:
                answer = method(*arguments, **options)
            if is_failing:
                raise ConnectionError(f"{self._kind} (injected)")
            return answer

        return call


@pytest.mark.parametrize("kind", [LOST_REQUEST, LOST_REPLY])
@pytest.mark.parametrize("node", ["a", "b"])
def test_shard_begins_whichever_call_to_its_store_fails(
    url, folder_of, monkeypatch, caplog, node, kind
):
    with closing(begin(url, folder_of("a"))) as shard:
        initialize(shard)
        push(shard, 1)
    opened = fsspec.core.url_to_fs
    monkeypatch.setattr("ps.remote_checkpoints.FIRST_WAIT_S", 0)
    for n in range(1, 20):
        store, folder = opened(f"{url}/shard-0")
        fault = FailsNth(store, n, kind)
        monkeypatch.setattr("ps.remote_checkpoints._open", lambda _, found=(fault, folder): found)
        caplog.clear()
        with closing(begin(url, folder_of(node))) as shard:
            assert state_of(shard) == state_after(1)
        if not fault.fired:
            break
        assert "waiting for the store of checkpoints" in caplog.text
    assert 5 < n < 19, "the loop ended before every call had failed once"


def asking_for(failure, clock):
    """Have something asked of a store that always fails; give how often it was waited."""
    slept = []

    def ask():
        raise failure

    def sleep(seconds):
        slept.append(seconds)
        clock.advance(seconds)

    with pytest.raises(type(failure)):
        Patience(clock, sleep).insist(ask)
    return slept


def test_store_that_stays_away_is_waited_for_with_longer_and_longer_pauses(caplog):
    slept = asking_for(RemoteFailure("it is away"), FakeClock())
    assert sum(slept) == pytest.approx(BEGIN_PATIENCE_S)
    assert slept[:4] == [0.5, 1, 2, 4]
    assert max(slept) == 10
    assert len(caplog.messages) == len(slept)
    assert "120 s more at the most; tried again in 0.5 s: it is away" in caplog.messages[0]


def test_waits_of_all_that_a_shard_asks_at_its_begin_are_counted_together():
    clock = FakeClock()
    patience = Patience(clock, clock.advance)
    answers = iter([None, "there"])

    def ask():
        if (answer := next(answers)) is None:
            raise RemoteFailure("it is away")
        return answer

    assert patience.insist(ask) == "there"
    clock.advance(BEGIN_PATIENCE_S)
    answers = iter([None, "too late"])
    with pytest.raises(RemoteFailure):
        patience.insist(ask)


@pytest.mark.parametrize("cause", [ModuleNotFoundError("s3fs"), PermissionError("Forbidden")])
def test_mistake_that_no_waiting_cures_is_told_at_once(cause):
    failure = RemoteFailure("it cannot be reached")
    failure.__cause__ = cause
    assert asking_for(failure, FakeClock()) == []


def test_what_is_no_failure_of_the_store_is_told_at_once():
    assert asking_for(StateMismatch("of another search"), FakeClock()) == []


# Mistakes


def test_url_of_another_search_that_is_just_alike_is_refused(url, folder_of):
    with closing(begin(url, folder_of("a"), search_id="first")) as shard:
        initialize(shard)
        before = names_at(url)
        with pytest.raises(StateMismatch, match=r"'first': must be of 'second', .* another checkp"):
            begin(url, folder_of("b"), search_id="second")
        assert names_at(url) == before
        push(shard, 1)
        assert shard.checkpoint() == 1, "the search goes on that was there"
    with closing(begin(url, folder_of("c"), search_id="first")) as shard:
        assert state_of(shard) == state_after(1)


@pytest.mark.parametrize(("before", "after"), [(None, "a"), ("a", None)])
def test_shard_that_was_not_told_its_search_is_taken_for_one_of_it(url, folder_of, before, after):
    for node, search_id in (("a", before), ("b", after)):
        with closing(begin(url, folder_of(node), search_id=search_id)) as shard:
            initialize(shard)
            push(shard, shard.version + 1)
    with pytest.raises(StateMismatch, match="search 'a': must be of 'other'"):
        begin(url, folder_of("c"), search_id="other")


def test_url_of_a_search_with_other_settings_is_refused(url, folder_of):
    with closing(begin(url, folder_of("a"))) as shard:
        initialize(shard)
    other = ShardPlan(LAYOUT, 0, AdamSettings(learning_rate=0.2))
    with pytest.raises(StateMismatch, match="give the old settings, or another checkpoint_url"):
        begin(url, folder_of("b"), plan=other)


@pytest.mark.parametrize("durability", ["journal", "none"])
def test_url_is_for_checkpoints_alone(durability):
    with pytest.raises(ValidationError, match="must be 'checkpoint' with a URL"):
        StorageSettings(durability=durability, checkpoint_url="s3://bucket/search")


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("/mnt/search", "must be one URL"),
        ("s3://", "must be one URL"),
        ("zip::s3://bucket/a.zip", "must be one URL"),
        ("bucket://search", "scheme 'bucket' must be one that fsspec knows"),
    ],
)
def test_url_that_is_none_is_refused(url, complaint):
    with pytest.raises(ValidationError, match=complaint):
        StorageSettings(durability="checkpoint", checkpoint_url=url)


# Over gRPC


def test_server_comes_back_on_another_node(url, folder_of):
    def serving(node, search_id="this"):
        settings = ServerSettings(**storage_of(url).model_dump())
        return ShardServer(PLAN, settings, folder_of(node), search_id=search_id)

    with serving("a") as server, ShardClient(LAYOUT, [server.address], ClientSettings()) as client:
        client.initialize(VALUES)
        client.push(0, 1, 1, [0], push_of(1).gradient)
    with serving("b") as server, ShardClient(LAYOUT, [server.address], ClientSettings()) as client:
        pulled = client.pull()
    assert (pulled.versions[0], pulled.values.tobytes()) == state_after(1)
    with pytest.raises(StateMismatch, match="must be of 'other'"):
        serving("c", "other")
