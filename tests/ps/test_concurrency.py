"""Many at once: pushes are counted, pulls are whole."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial

import numpy as np
import pytest

from ps import wire
from ps.layout import Layout
from ps.optimizer import AdamSettings
from ps.plan import ShardPlan
from ps.push import Push
from ps.shard import Shard
from ps.storage import StorageSettings
from ps.store import Store

from .conformance import ShardAsStore, digest_of

NUM_REPLICAS = 8
NUM_PUSHES = 15
TOTAL = NUM_REPLICAS * NUM_PUSHES
NUM_PARAMETERS = 1001

# Without memory Adam's step is the learning rate against the sign of the gradient, and nothing
# where that is 0; in powers of two it is exact, and the order of pushes does not matter.
STEP = 2.0**-7
SIGN_ONLY = AdamSettings(learning_rate=STEP, beta1=0, beta2=0)
ZEROS = np.zeros(NUM_PARAMETERS, np.float32)


def gradient_of(replica):
    """Give the gradient that moves every 8th value, those of this replica alone, one STEP down."""
    return (np.arange(NUM_PARAMETERS) % NUM_REPLICAS == replica).astype(np.float32)


def run_together(work, *argument_lists):
    """Run the work on a thread for each tuple of arguments, from one instant on; give results."""
    barrier = threading.Barrier(len(argument_lists[0]))

    def start(*arguments):
        barrier.wait(timeout=10)
        return work(*arguments)

    with ThreadPoolExecutor(len(argument_lists[0])) as threads:
        return list(threads.map(start, *argument_lists, timeout=60))


@pytest.fixture(params=["none", "checkpoint", "journal"])
def open_shard(request, tmp_path):
    """Give a function that makes a shard of this process, which checkpoints itself now and then."""
    storage = StorageSettings(durability=request.param, checkpoint_pushes=10)
    with ExitStack() as shards:

        def open_shard(plan):
            shard = Shard(plan, storage, tmp_path / "state")
            shards.callback(shard.close)
            return ShardAsStore(shard)

        yield open_shard


@pytest.fixture(params=["none", "journal"])
def folder(request, tmp_path):
    """Where shards behind the network keep their state, or None."""
    return {"none": None, "journal": tmp_path}[request.param]


def assert_counted(answers, base_versions, description):
    """Check what one shard has answered against what it says of itself."""
    assert sorted(answer.version for answer in answers) == list(range(1, TOTAL + 1))
    staleness = [answer.staleness for answer in answers]
    assert staleness == [
        answer.version - 1 - base for answer, base in zip(answers, base_versions, strict=True)
    ]
    assert not any(answer.is_repeated for answer in answers)
    assert (description.version, description.updates) == (TOTAL, TOTAL)
    assert (description.num_repeated, description.num_refused) == (0, 0)
    assert description.staleness_sum == sum(staleness)
    assert description.staleness_max == max(staleness)


def test_concurrent_pushes_to_a_shard_are_all_counted(open_shard):
    layout = Layout((("weight", (NUM_PARAMETERS,)),), num_shards=1)
    store = open_shard(ShardPlan(layout, 0, SIGN_ONLY))
    store.initialize(layout, ZEROS)

    def replicate(replica):
        history = []
        for sequence in range(1, NUM_PUSHES + 1):
            base, _ = store.pull()
            push = Push(replica, sequence, 1, base, gradient_of(replica))
            history.append((base, store.push(push)))
        return history

    histories = run_together(replicate, range(NUM_REPLICAS))

    bases, answers = zip(*(entry for history in histories for entry in history), strict=True)
    assert_counted(answers, bases, store.describe())
    assert np.array_equal(store.pull()[1], ZEROS - NUM_PUSHES * STEP)


def test_concurrent_pushes_to_many_shards_are_all_counted(serve, connect, folder):
    layout = Layout((("weight", (NUM_PARAMETERS,)),), num_shards=3)
    shards = serve(layout, optimizer=SIGN_ONLY, folder=folder)
    clients = [connect(layout, shards) for _ in range(NUM_REPLICAS)]

    def replicate(replica, client):
        client.initialize(ZEROS)  # all replicas do, and one is the first
        history = []
        for sequence in range(1, NUM_PUSHES + 1):
            pulled = client.pull()
            answers = client.push(replica, 1, sequence, pulled.versions, gradient_of(replica))
            history.append((pulled.versions, answers))
        return history

    histories = run_together(replicate, range(NUM_REPLICAS), clients)

    bases, answers = zip(*(entry for history in histories for entry in history), strict=True)
    pulled = clients[0].pull()
    assert pulled.versions == (TOTAL,) * 3
    assert np.array_equal(pulled.values, ZEROS - NUM_PUSHES * STEP)
    for shard, server in enumerate(shards):
        assert_counted(
            [answer[shard] for answer in answers],
            [versions[shard] for versions in bases],
            server.describe(),
        )


def test_pushes_with_values_that_come_at_once_are_answered_with_those_of_their_version(
    serve, connect, folder
):
    layout = Layout((("weight", (NUM_PARAMETERS,)),), num_shards=1)
    shards = serve(layout, optimizer=SIGN_ONLY, folder=folder)
    clients = [connect(layout, shards) for _ in range(NUM_REPLICAS)]
    clients[0].initialize(ZEROS)

    def replicate(replica, client):
        pairs = [
            client.push_and_pull(replica, 1, sequence, [0], gradient_of(replica))
            for sequence in range(1, NUM_PUSHES + 1)
        ]
        return [(replica, answer, pulled) for (answer,), pulled in pairs]

    histories = run_together(replicate, range(NUM_REPLICAS), clients)

    entries = sorted((e for history in histories for e in history), key=lambda e: e[1].version)
    expected = ZEROS.copy()
    for replica, answer, pulled in entries:
        expected -= STEP * gradient_of(replica)
        assert pulled.versions == (answer.version,)
        assert np.array_equal(pulled.values, expected), f"version {answer.version}"
    assert len(entries) == TOTAL


def test_same_push_sent_by_many_at_once_is_applied_once(serve, connect, folder):
    layout = Layout((("weight", (NUM_PARAMETERS,)),), num_shards=1)
    shards = serve(layout, optimizer=SIGN_ONLY, folder=folder)
    clients = [connect(layout, shards) for _ in range(NUM_REPLICAS)]
    clients[0].initialize(ZEROS)

    answers = run_together(lambda client: client.push(0, 1, 1, [0], ZEROS + 1)[0], clients)

    assert sorted(answer.is_repeated for answer in answers) == [False] + [True] * 7
    assert {(answer.version, answer.staleness) for answer in answers} == {(1, 0)}
    pulled = clients[0].pull()
    assert pulled.versions == (1,)
    assert np.array_equal(pulled.values, ZEROS - STEP)


LARGE = Layout((("weight", (300_001,)),), num_shards=1)
NUM_VERSIONS = 15


def large_vector(seed):
    return np.random.default_rng(seed).standard_normal(LARGE.num_parameters, np.float32)


@pytest.fixture(scope="module")
def values_by_version():
    """The values of a store after 0, 1, 2, … pushes of large vectors 1, 2, …, undisturbed."""
    store = Store(ShardPlan(LARGE, 0))
    store.initialize(digest_of(large_vector(0)), large_vector(0))
    values = [store.values.copy()]
    for version in range(1, NUM_VERSIONS + 1):
        store.push(Push(0, version, 1, 0, large_vector(version)))
        values.append(store.values.copy())
    return values


def assert_pulls_are_whole(values_by_version, push, pulls):
    """Push all vectors while all pulls go on, and compare whatever they give.

    A push waits until the version before it was pulled, so that no version is missed.
    """
    last = len(values_by_version) - 1
    pulled, news = set(), threading.Condition()
    deadline = time.monotonic() + 30

    def push_all():
        for version in range(last):
            with news:
                assert news.wait_for(partial(pulled.__contains__, version), timeout=30)
            push(version + 1)

    def pull_all(pull):
        version = 0
        while version < last:
            assert time.monotonic() < deadline, f"version {version} is still the last one"
            version, values = pull()
            assert np.array_equal(values, values_by_version[version]), f"version {version}"
            with news:
                pulled.add(version)
                news.notify_all()

    run_together(lambda work: work(), [push_all, *(partial(pull_all, pull) for pull in pulls)])
    assert pulled == set(range(last + 1))


def test_pulls_from_a_shard_during_pushes_give_the_values_of_one_version(
    open_shard, values_by_version
):
    store = open_shard(ShardPlan(LARGE, 0))
    store.initialize(LARGE, large_vector(0))

    assert_pulls_are_whole(
        values_by_version,
        lambda version: store.push(Push(0, version, 1, 0, large_vector(version))),
        [store.pull] * 3,
    )


@pytest.mark.parametrize("num_pieces", [1, 4], ids=["whole", "in pieces"])
def test_pulls_by_clients_during_pushes_give_the_values_of_one_version(
    serve, connect, values_by_version, monkeypatch, folder, num_pieces
):
    monkeypatch.setattr(wire, "WHOLE_BYTES", LARGE.num_parameters * 4 // num_pieces)
    monkeypatch.setattr(wire, "PIECE_BYTES", 300_000)
    shards = serve(LARGE, folder=folder)
    pusher, *pullers = [connect(LARGE, shards) for _ in range(3)]
    pusher.initialize(large_vector(0))

    def pull(client):
        pulled = client.pull()
        return pulled.versions[0], pulled.values

    assert_pulls_are_whole(
        values_by_version,
        lambda version: pusher.push(0, 1, version, [0], large_vector(version)),
        [partial(pull, client) for client in pullers],
    )
