"""A state on disk with a wrong byte, cut short or partly gone is used as it was, or not at all."""

import hashlib
import logging
import re
import shutil
from contextlib import ExitStack, closing
from itertools import pairwise
from random import Random

import numpy as np
import pytest
from support.disks import HastyDisk

from ps.client import ClientSettings, ShardClient
from ps.errors import CorruptState, NotInitialized, StateLost
from ps.folder import EPOCH_FILE, LOCK_FILE, Segment
from ps.layout import Layout
from ps.line import read_segment
from ps.optimizer import SgdSettings
from ps.plan import ShardPlan
from ps.push import Push
from ps.record import HEADER_BYTES
from ps.recovery import recover
from ps.server import ServerSettings, ShardServer
from ps.shard import Shard
from ps.storage import StorageSettings
from ps.store import Store

LAYOUT = Layout((("weight", (3,)),), num_shards=1)
PLAN = ShardPlan(LAYOUT, 0, SgdSettings(name="sgd"))
STORAGE = StorageSettings()
VALUES = np.array([1, -2, 3], np.float32)
PATIENT = ClientSettings(pull_timeout_s=0.5, backoff_s=0.01)  # the shard's address changes


@pytest.fixture(autouse=True)
def no_warnings(caplog):
    """Thousands of broken files are thousands of warnings."""
    caplog.set_level(logging.CRITICAL)


def push_of(replica, sequence, base_version=0, seed=0):
    gradient = np.random.default_rng([seed, replica, sequence]).normal(size=3).astype(np.float32)
    return Push(replica, sequence, 1, base_version, gradient)


def bits_of(store):
    state = store.state()
    return {name: a.tobytes() for name, a in state.arrays.items()}, dict(state.numbers)


BEGIN, INITIALIZE, CHECKPOINT = "begin", "initialize", "checkpoint"
SCRIPTS = {
    "without a checkpoint": [
        *(BEGIN, INITIALIZE, (0, 1), (1, 1), BEGIN, (0, 2), BEGIN, (1, 2), (0, 3)),
    ],
    "with a checkpoint": [
        *(BEGIN, INITIALIZE, (0, 1), BEGIN, (1, 1), CHECKPOINT, (0, 2), BEGIN, (1, 2), (0, 3)),
    ],
    "with two checkpoints": [
        *(BEGIN, INITIALIZE, (0, 1), CHECKPOINT, (1, 1), CHECKPOINT, (0, 2)),
        *(BEGIN, (1, 2), CHECKPOINT, BEGIN, (0, 3), (1, 3)),
    ],
    "with a checkpoint at the end": [
        *(BEGIN, INITIALIZE, (0, 1), CHECKPOINT, (1, 1), CHECKPOINT),
    ],
}


class Written:
    """A folder that a script has written, and the state after each of its steps."""

    def __init__(self, script, folder, seed=0):
        self.folder = folder
        store = Store(PLAN)
        self.states = [bits_of(store)]
        shard = None
        for step in script:
            if step == BEGIN:
                if shard is not None:
                    shard.close()
                shard = Shard(PLAN, STORAGE, folder, disk=HastyDisk())
            elif step == INITIALIZE:
                sha256 = hashlib.sha256(VALUES.data).digest()
                shard.initialize(LAYOUT.sha256, sha256, VALUES)
                store.initialize(sha256, VALUES)
            elif step == CHECKPOINT:
                shard.checkpoint()
            else:
                push = push_of(*step, seed=seed)
                shard.push(push, lambda *_: None)
                store.push(push)
            self.states.append(bits_of(store))
        self.version = store.version
        shard.close()
        (folder / LOCK_FILE).unlink()
        self.files = sorted(folder.iterdir())

    def read(self):
        """Give the state that is found; None where it is refused, with file and offset."""
        identity = PLAN.identity | {"durability": STORAGE.durability}
        try:
            return bits_of(recover(HastyDisk(), self.folder, 10**6, PLAN, identity).store)
        except CorruptState as error:
            named = re.match(rf"{re.escape(str(self.folder))}/([\w.-]+), offset \d+: ", str(error))
            assert named, f"must name file and offset: {error}"  # noqa: PT017
            self.refusal = str(error)
            return None


@pytest.fixture(params=SCRIPTS)
def written(request, tmp_path):
    return Written(SCRIPTS[request.param], tmp_path / "shard")


def test_untouched_state_is_found_as_it_was_written(written):
    assert written.read() == written.states[-1]
    assert len(written.files) >= 4


# Every third byte, and, where slow tests run, every one.
strides = pytest.mark.parametrize("stride", [3, pytest.param(1, marks=pytest.mark.slow)])


@strides
def test_any_wrong_byte_is_refused_or_does_not_matter(written, stride):
    random = Random(1)
    refused = set()
    for path in written.files:
        content = path.read_bytes()
        for offset in range(random.randrange(stride), len(content), stride):
            broken = bytearray(content)
            broken[offset] ^= random.choice([0xFF, 1 << random.randrange(8)])
            path.write_bytes(broken)
            found = written.read()
            assert found in (None, written.states[-1]), f"byte {offset} of {path.name}"
            if found is None:
                refused.add(path.name)
                assert f"{path}, offset " in written.refusal
        path.write_bytes(content)
    newest = max(path.name for path in written.files if path.name.startswith("journal"))
    assert newest in refused
    assert written.read() == written.states[-1]


def test_checkpoint_with_a_wrong_byte_is_not_missed_where_there_is_one_before_it(tmp_path):
    written = Written(SCRIPTS["with two checkpoints"], tmp_path / "shard")
    older, newest = (path for path in written.files if path.name.startswith("checkpoint"))

    for path in (newest, older):
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        assert written.read() == written.states[-1]
        path.write_bytes(content)


def flip_last_byte(path):
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def test_checkpoints_that_are_all_wrong_are_named_and_what_follows_is_said_once(tmp_path, caplog):
    written = Written(SCRIPTS["with two checkpoints"], tmp_path / "shard")
    checkpoints = [path for path in written.files if path.name.startswith("checkpoint")]
    for path in checkpoints:
        flip_last_byte(path)

    with caplog.at_level(logging.WARNING):
        assert written.read() is None

    wrong = "offset 0: the checksum of the checkpoint is not the one in its name"
    assert [record.getMessage() for record in caplog.records] == [
        f"{path}, {wrong}; going on from what came before it" for path in checkpoints[::-1]
    ]
    assert f"{checkpoints[0]}, {wrong}" in written.refusal
    assert written.refusal.count("the shard does not start on it") == 1


def test_record_that_is_cut_short_is_passed_over_with_a_warning(tmp_path, caplog):
    written = Written(SCRIPTS["without a checkpoint"], tmp_path / "shard")
    newest = max(path for path in written.files if path.name.startswith("journal"))
    content = newest.read_bytes()
    newest.write_bytes(content[:-5])

    with caplog.at_level(logging.WARNING):
        assert written.read() == written.states[-2]

    offset = len(content) - HEADER_BYTES - push_of(0, 3).gradient.nbytes
    assert [record.getMessage() for record in caplog.records] == [
        f"{newest}: 1 record cut short at offset {offset}, passed over (it was never acknowledged)"
    ]


@strides
def test_any_cut_is_refused_or_gives_what_was_acknowledged_before(written, stride):
    random = Random(2)
    found_versions = set()
    for path in written.files:
        content = path.read_bytes()
        for length in range(random.randrange(stride), len(content), stride):
            path.write_bytes(content[:length])
            found = written.read()
            assert found is None or found in written.states, f"{path.name} cut to {length}"
            if found is not None:
                found_versions.add(found[1]["version"])
        path.write_bytes(content)
    assert written.version in found_versions


@pytest.mark.parametrize(
    "num_bytes", [1, HEADER_BYTES - 1, HEADER_BYTES, HEADER_BYTES + 1, 3 << 20]
)
def test_zeros_behind_the_last_record_are_a_record_that_was_never_written(tmp_path, num_bytes):
    """Some file systems keep the length of a write whose bytes a power cut has lost."""
    written = Written(SCRIPTS["without a checkpoint"], tmp_path / "shard")
    last = max(path for path in written.files if Segment.parse(path.name))
    content = last.read_bytes()
    last.write_bytes(content + bytes(num_bytes))
    assert written.read() == written.states[-1]

    last.write_bytes(content + bytes(num_bytes) + b"\1" + bytes(HEADER_BYTES))
    assert written.read() is None
    assert f"{last.name}, offset {len(content)}: the checksum" in written.refusal


def test_journal_with_records_left_out_or_changed_about_is_refused(tmp_path):
    """Each record is as it was written; of one left out at the end, a shard cannot know."""
    written = Written([BEGIN, INITIALIZE, (0, 1), (1, 1), (2, 1), (3, 1)], tmp_path / "shard")
    (path,) = (path for path in written.files if path.name.startswith("journal"))
    content = path.read_bytes()
    read = read_segment(HastyDisk(), written.folder, Segment.parse(path.name), None)
    ends = [place.offset for _, place in read]
    records = [content[a:b] for a, b in pairwise([0, *ends])]
    for one in range(len(records) - 1):
        path.write_bytes(b"".join(records[:one] + records[one + 1 :]))
        assert written.read() is None, f"without record {one}"
        twice = records[: one + 1] + records[one:]
        path.write_bytes(b"".join(twice))
        assert written.read() is None, f"record {one} twice"
        for other in range(one + 1, len(records)):
            about = list(records)
            about[one], about[other] = about[other], about[one]
            path.write_bytes(b"".join(about))
            assert written.read() is None, f"records {one} and {other} changed about"


def test_any_missing_file_is_refused_or_gives_what_was_acknowledged_before(written):
    for path in written.files:
        content = path.read_bytes()
        path.unlink()
        found = written.read()
        assert found is None or found in written.states, path.name
        path.write_bytes(content)


def test_any_two_missing_files_are_refused_or_give_what_was_acknowledged_before(written):
    for one in written.files:
        for other in written.files:
            contents = {path: path.read_bytes() for path in {one, other}}
            for path in contents:
                path.unlink()
            found = written.read()
            assert found is None or found in written.states, (one.name, other.name)
            for path, content in contents.items():
                path.write_bytes(content)


def test_file_of_another_time_in_the_place_of_one_is_refused_or_does_not_matter(tmp_path):
    """An old copy of one file is as bad as a cut; of all files, it is an earlier state."""
    script = SCRIPTS["with two checkpoints"]
    now = Written(script, tmp_path / "now" / "shard")
    for end in range(2, len(script)):
        before = Written(script[:end], tmp_path / f"before {end}" / "shard")
        for old in before.files:
            path = now.folder / old.name
            content = path.read_bytes() if path.exists() else None
            shutil.copy(old, path)
            found = now.read()
            assert found is None or found in now.states, (end, old.name)
            if content is None:
                path.unlink()
            else:
                path.write_bytes(content)


def test_file_of_another_search_in_the_place_of_one_is_refused_or_does_not_matter(tmp_path):
    script = SCRIPTS["without a checkpoint"]
    ours = Written(script, tmp_path / "ours" / "shard")
    other = Written(script, tmp_path / "other" / "shard", seed=2)
    for path, its in zip(ours.files, other.files, strict=True):
        assert path.name == its.name
        content = path.read_bytes()
        assert len(content) == its.stat().st_size
        path.write_bytes(its.read_bytes())
        found = ours.read()
        is_last = path == ours.files[-1]  # which is believed: it fits what is before it
        assert found is None or found == ours.states[-1] or is_last, path.name
        path.write_bytes(content)


def test_any_wrong_byte_or_cut_in_the_epoch_does_not_matter(tmp_path):
    written = Written(SCRIPTS["with a checkpoint"], tmp_path / "shard")
    content = (written.folder / EPOCH_FILE).read_bytes()
    broken = [content[:length] for length in range(len(content))]
    for offset in range(len(content)):
        for mask in (1, 0x10, 0xFF):
            broken.append(bytearray(content))
            broken[-1][offset] ^= mask
    for epoch, each in enumerate([*broken, None], start=4):
        (written.folder / EPOCH_FILE).unlink()
        if each is not None:
            (written.folder / EPOCH_FILE).write_bytes(each)
        with closing(Shard(PLAN, STORAGE, written.folder, disk=HastyDisk())) as shard:
            assert shard.epoch == epoch, "no life has the number of another"
            assert shard.describe().version == written.version
            # The new life's number is in its place again.
            shard.push(push_of(7, epoch - 3), lambda *_: None)
            written.version += 1


# What a shard cannot see, a client does.


@pytest.fixture
def serve():
    """Give a function that starts a server on a folder, and makes clients of it."""
    with ExitStack() as stack:

        def start(folder):
            return stack.enter_context(ShardServer(PLAN, ServerSettings(), folder))

        def connect(address, acknowledged=()):
            return stack.enter_context(
                ShardClient(LAYOUT, lambda: [address()], PATIENT, acknowledged=acknowledged)
            )

        yield start, connect


def place_behind(folder, version):
    """Give the journal's last file and the place in it behind so many of its pushes."""
    path = max(folder.glob("journal-*"))
    places = [
        place.offset
        for record, place in read_segment(HastyDisk(), folder, Segment.parse(path.name), None)
        if record.kind != 1  # the first names the segment
    ]
    return path, places[version]  # the first of these is Initialize


def cut(folder, version):
    path, offset = place_behind(folder, version)
    path.write_bytes(path.read_bytes()[:offset])


def test_client_refuses_a_shard_whose_journal_was_cut(tmp_path, serve):
    start, connect = serve
    server = start(tmp_path / "shard")
    client = connect(lambda: server.address)
    client.initialize(VALUES)
    for replica in range(3):
        client.push(replica, 1, 1, [0], push_of(replica, 1).gradient)
    server.close()
    cut(tmp_path / "shard", version=1)
    server = start(tmp_path / "shard")
    assert server.describe().version == 1

    with pytest.raises(StateLost, match="it is at version 1 and had acknowledged 3"):
        client.pull()
    with pytest.raises(StateLost, match="it is at version 1 and had acknowledged 3"):
        connect(lambda: server.address, acknowledged=[3]).pull()
    for lost in (2, 3):
        with pytest.raises(StateLost, match=f"it is at version 1 and had acknowledged {lost}"):
            connect(lambda: server.address, acknowledged=[lost]).pull()
    assert connect(lambda: server.address, acknowledged=[1]).pull().versions == (1,)


def test_client_whose_push_takes_the_place_of_a_lost_one_refuses_the_shard(tmp_path, serve):
    """With the push of another lost, its own gets a version that it has seen already."""
    start, connect = serve
    server = start(tmp_path / "shard")
    client = connect(lambda: server.address)
    client.initialize(VALUES)
    client.push(0, 1, 1, [0], push_of(0, 1).gradient)
    client.push(1, 1, 1, [0], push_of(1, 1).gradient)
    server.close()
    cut(tmp_path / "shard", version=1)
    server = start(tmp_path / "shard")
    assert server.describe().version == 1

    behind = connect(lambda: server.address, acknowledged=[2])
    with pytest.raises(StateLost, match="had acknowledged 2"):
        behind.push(0, 1, 2, [1], push_of(0, 2).gradient)


def test_client_does_not_fill_a_shard_that_has_lost_all_again(tmp_path, serve):
    start, connect = serve
    server = start(tmp_path / "shard")
    client = connect(lambda: server.address)
    client.initialize(VALUES)
    client.push(0, 1, 1, [0], push_of(0, 1).gradient)
    server.close()
    shutil.rmtree(tmp_path / "shard")
    server = start(tmp_path / "shard")

    behind = connect(lambda: server.address, acknowledged=[1])
    with pytest.raises((StateLost, NotInitialized)):
        behind.pull()
    with pytest.raises(StateLost):
        behind.initialize(VALUES)
    assert not server.describe().is_initialized
