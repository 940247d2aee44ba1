"""A replica's connection to all shards: slices, deadlines, resends, travel."""

import logging
import pickle
import time
from functools import partial
from itertools import pairwise

import grpc
import numpy as np
import pytest
from support.faults import LOST_REPLY, LOST_REQUEST, AbortAll, FailNth, HoldReplies

from ps.client import ClientSettings, ShardClient
from ps.errors import InvalidRequest, OutOfSequence, ShardUnavailable
from ps.layout import Layout
from ps.store import OptimizerSettings

LAYOUT = Layout((("weight", (2, 3)), ("bias", (1,))), num_shards=3)
VALUES = np.arange(7, dtype=np.float32)


@pytest.fixture
def shards(serve):
    return serve(LAYOUT)


@pytest.fixture
def client(shards, connect):
    return connect(LAYOUT, shards)


# Slices


def test_shards_get_their_slices_and_give_them_back_in_order(client, shards, connect):
    client.initialize(VALUES)
    client.push(0, 1, 1, [0, 0, 0], VALUES)

    pulled = client.pull()

    assert (pulled.values.shape, pulled.values.dtype) == ((7,), np.float32)
    assert pulled.values.flags.writeable
    # Adam's first step goes against the sign of the gradient by the learning rate; the first
    # element's gradient is 0.
    expected = VALUES - OptimizerSettings().learning_rate * np.sign(VALUES)
    np.testing.assert_allclose(pulled.values, expected, rtol=1e-6)
    assert [shard.num_parameters for shard in client.describe()] == [3, 2, 2]
    assert client.describe() == tuple(shard.describe() for shard in shards)


def test_every_shard_gets_its_own_base_version(client):
    client.initialize(VALUES)
    client.push(0, 1, 1, [0, 0, 0], VALUES)
    client.push(1, 1, 1, [1, 0, 1], VALUES)

    answers = client.push(2, 1, 1, [2, 1, 0], VALUES)

    assert [answer.staleness for answer in answers] == [0, 1, 2]
    assert client.pull().versions == (3, 3, 3)


@pytest.mark.parametrize("num_shards", [2, 3, 5])
def test_values_have_the_same_bits_however_many_shards_hold_them(serve, connect, num_shards):
    shapes = (("weight", (6, 6)), ("bias", (37,)))  # 73: slices end within a vector register
    clients = [
        connect(layout, serve(layout, optimizer=OptimizerSettings(learning_rate=0.1)))
        for layout in (Layout(shapes, 1), Layout(shapes, num_shards))
    ]
    generator = np.random.default_rng(0)
    for client in clients:
        client.initialize(np.linspace(-1, 1, 73, dtype=np.float32))

    for sequence in range(1, 21):
        gradient = generator.standard_normal(73).astype(np.float32)
        for client in clients:
            client.push(0, 1, sequence, client.pull().versions, gradient)

        one, many = (client.pull().values for client in clients)
        assert one.tobytes() == many.tobytes(), f"after push {sequence}"


@pytest.mark.parametrize("num_addresses", [0, 2, 4])
def test_client_with_the_wrong_number_of_addresses_is_refused(num_addresses):
    addresses = [f"shard-{i}:70" for i in range(num_addresses)]

    with pytest.raises(ValueError, match=r"addresses=\[.*\]: must be 3, one a shard"):
        ShardClient(LAYOUT, addresses, ClientSettings())


@pytest.mark.parametrize("shape", [(6,), (8,), (7, 1), ()])
def test_vector_of_another_shape_is_refused_before_anything_is_sent(client, shards, shape):
    client.initialize(VALUES)
    wrong = np.zeros(shape, np.float32)

    with pytest.raises(InvalidRequest, match=r"gradient\.shape=\(.*\): must be \(7,\)"):
        client.push(0, 1, 1, [0, 0, 0], wrong)
    with pytest.raises(InvalidRequest, match=r"values\.shape=\(.*\): must be \(7,\)"):
        client.initialize(wrong)

    assert [shard.describe().num_refused for shard in shards] == [0, 0, 0]
    assert client.pull().versions == (0, 0, 0)


@pytest.mark.parametrize("base_versions", [[0, 0], [0, 0, 0, 0]])
def test_push_with_the_wrong_number_of_base_versions_is_refused(client, base_versions):
    client.initialize(VALUES)

    with pytest.raises(ValueError, match="zip"):
        client.push(0, 1, 1, base_versions, VALUES)

    assert client.pull().versions == (0, 0, 0)


# Silence


@pytest.mark.parametrize("nobody", ["refusing_address", "frozen_address"])
def test_silent_shard_is_named_with_method_timeout_and_attempts_in_bounded_time(
    serve, connect, request, nobody
):
    address = request.getfixturevalue(nobody)
    first, last = serve(LAYOUT, shards=[0, 2])
    client = connect(LAYOUT, [first, address, last], pull_timeout_s=0.1, max_attempts=3)
    before = time.monotonic()

    with pytest.raises(ShardUnavailable) as raised:
        client.describe()

    assert time.monotonic() - before < 3 * 0.1 + 2
    message = str(raised.value)
    assert message.startswith(
        f"shard 1 of 3 at {address}: no answer to Describe within 0.1 s, 3 attempts "
        "(DEADLINE_EXCEEDED: "
    )
    assert message.endswith("; is it up? `nasrl shards`")
    assert isinstance(raised.value.__cause__, grpc.RpcError)


@pytest.mark.parametrize(
    ("method", "call", "setting"),
    [
        ("Describe", lambda client: client.describe(), "pull_timeout_s"),
        ("Pull", lambda client: client.pull(), "pull_timeout_s"),
        ("Initialize", lambda client: client.initialize(VALUES), "push_timeout_s"),
        ("Push", lambda client: client.push(0, 1, 1, [0, 0, 0], VALUES), "push_timeout_s"),
    ],
    ids=["Describe", "Pull", "Initialize", "Push"],
)
def test_every_method_has_its_deadline(connect, refusing_address, method, call, setting):
    client = connect(LAYOUT, [refusing_address] * 3, max_attempts=1, **{setting: 0.11})

    with pytest.raises(
        ShardUnavailable, match=f"shard 0 of 3 .* no answer to {method} within 0.11 s, 1 attempts"
    ):
        call(client)


@pytest.mark.parametrize("max_attempts", [1, 4])
def test_unavailable_shard_is_asked_as_often_as_the_settings_say(serve, connect, max_attempts):
    unavailable = AbortAll(grpc.StatusCode.UNAVAILABLE, "draining")
    shards = [*serve(LAYOUT, shards=[0, 1]), *serve(LAYOUT, shards=[2], interceptors=[unavailable])]

    with pytest.raises(
        ShardUnavailable, match=rf"shard 2 of 3 .*, {max_attempts} attempts \(UNAVAILABLE: draining"
    ):
        connect(LAYOUT, shards, max_attempts=max_attempts).describe()

    assert unavailable.num_calls == max_attempts


def test_refusal_is_not_sent_again(serve, connect):
    refusal = AbortAll(grpc.StatusCode.FAILED_PRECONDITION, "out of sequence")
    shards = serve(LAYOUT, shards=[0], interceptors=[refusal]) + serve(LAYOUT, shards=[1, 2])

    with pytest.raises(OutOfSequence, match=r"shard 0 of 3 at .*: out of sequence$"):
        connect(LAYOUT, shards, max_attempts=4).describe()

    assert refusal.num_calls == 1


def test_waits_between_attempts_double_and_are_jittered(connect, refusing_address, monkeypatch):
    waits = []
    monkeypatch.setattr("ps.client.time.sleep", waits.append)
    client = connect(
        LAYOUT, [refusing_address] * 3, pull_timeout_s=0.02, backoff_s=8.0, max_attempts=6
    )

    with pytest.raises(ShardUnavailable, match="6 attempts"):
        client.describe()

    factors = [wait / (8.0 * 2**i) for i, wait in enumerate(waits)]
    assert len(factors) == 5
    assert all(0.5 <= factor <= 1.5 for factor in factors)
    assert all(one != other for one, other in pairwise(factors))


def test_shard_that_comes_up_between_two_attempts_is_found(serve, connect, monkeypatch):
    layout = Layout((("weight", (7,)),), num_shards=1)
    (gone,) = serve(layout)
    gone.close()
    starts = iter([partial(serve, layout, address=gone.address)])
    came_up = []
    monkeypatch.setattr(
        "ps.client.time.sleep", lambda _: came_up.extend(start()[0] for start in starts)
    )

    connect(layout, [gone], push_timeout_s=0.2, max_attempts=30).initialize(VALUES)

    assert [shard.describe().is_initialized for shard in came_up] == [True]


# Resends


@pytest.mark.parametrize(
    ("kind", "is_repeated"), [(LOST_REQUEST, False), (LOST_REPLY, True)], ids=str
)
def test_push_that_one_shard_missed_is_completed_by_the_same_push_again(
    serve, connect, kind, is_repeated
):
    fault = FailNth(2, kind)
    shards = [*serve(LAYOUT, shards=[0, 1]), *serve(LAYOUT, shards=[2], interceptors=[fault])]
    client = connect(LAYOUT, shards, max_attempts=1)
    client.initialize(VALUES)

    with pytest.raises(ShardUnavailable, match=r"shard 2 of 3 at .* no answer to Push"):
        client.push(0, 1, 1, [0, 0, 0], VALUES)
    assert fault.fired

    answers = client.push(0, 1, 1, [0, 0, 0], VALUES)

    assert [answer.version for answer in answers] == [1, 1, 1]
    assert [answer.is_repeated for answer in answers] == [True, True, is_repeated]


def test_resend_goes_only_to_the_shards_that_did_not_answer(serve, connect):
    fault = FailNth(2, LOST_REPLY)
    shards = [*serve(LAYOUT, shards=[0, 1]), *serve(LAYOUT, shards=[2], interceptors=[fault])]
    client = connect(LAYOUT, shards)
    client.initialize(VALUES)

    answers = client.push(0, 1, 1, [0, 0, 0], VALUES)

    assert fault.fired
    assert [answer.is_repeated for answer in answers] == [False, False, True]
    assert [shard.describe().num_repeated for shard in shards] == [0, 0, 1]


def test_push_that_is_answered_after_its_deadline_is_applied_once(serve, connect):
    with HoldReplies("Push", num_calls=1) as hold:
        shards = [*serve(LAYOUT, shards=[0, 1]), *serve(LAYOUT, shards=[2], interceptors=[hold])]
        client = connect(LAYOUT, shards, push_timeout_s=0.5)
        client.initialize(VALUES)

        answers = client.push(0, 1, 1, [0, 0, 0], VALUES)

        assert hold.num_held == 1
        assert (answers[2].version, answers[2].is_repeated) == (1, True)
        assert client.pull().versions == (1, 1, 1)


def test_resends_are_logged_once_for_each_call(serve, connect, caplog):
    faults = [FailNth(1, LOST_REQUEST), FailNth(2, LOST_REQUEST)]
    client = connect(LAYOUT, serve(LAYOUT, interceptors=faults))

    with caplog.at_level(logging.WARNING, "ps.client"):
        client.initialize(VALUES)
        client.pull()

    assert all(fault.fired for fault in faults)
    assert [record.getMessage() for record in caplog.records] == [
        "Initialize was answered by all shards at attempt 2"
    ]


# Travel


@pytest.mark.parametrize("uses", [0, 1])
def test_client_works_after_it_was_pickled(client, shards, connect, uses):
    connect(LAYOUT, shards).initialize(VALUES)
    for _ in range(uses):
        client.pull()

    with pickle.loads(pickle.dumps(client)) as arrived:
        assert arrived.pull().values.tobytes() == VALUES.tobytes()
        assert arrived.push(0, 1, 1, [0, 0, 0], VALUES)[2].version == 1

    assert client.pull().versions == (1, 1, 1), "the client that stayed works no more"


def test_pickled_client_keeps_all_its_settings(connect, refusing_address):
    client = connect(LAYOUT, [refusing_address] * 3, pull_timeout_s=0.06, max_attempts=2)

    with (
        pickle.loads(pickle.dumps(client)) as arrived,
        pytest.raises(ShardUnavailable, match=f"{refusing_address}: .* 0.06 s, 2 attempts"),
    ):
        arrived.pull()


def test_client_opens_nothing_until_it_is_used(refusing_address, monkeypatch):
    def fail(*_):
        raise AssertionError("a channel was opened")

    monkeypatch.setattr(grpc, "insecure_channel", fail)

    with ShardClient(LAYOUT, [refusing_address] * 3, ClientSettings()) as client:
        pickle.loads(pickle.dumps(client))
        with pytest.raises(AssertionError, match="a channel was opened"):
            client.pull()
