"""A replica's connection to all shards: slices, deadlines, resends, travel."""

import logging
import pickle
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise

import grpc
import numpy as np
import pytest
from support.faults import LOST_REPLY, LOST_REQUEST, AbortAll, FailNth, HoldReplies

from ps.client import ClientSettings, ShardClient
from ps.errors import InvalidRequest, OutOfSequence, ShardUnavailable, StateLost
from ps.layout import Layout
from ps.optimizer import AdamSettings

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
    assert not pulled.values.flags.writeable
    # Adam's first step goes against the sign of the gradient by the learning rate; the first
    # element's gradient is 0.
    expected = VALUES - AdamSettings().learning_rate * np.sign(VALUES)
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


def test_every_shard_gets_its_own_sample_version(client):
    client.initialize(VALUES)
    client.push(0, 1, 1, [0, 0, 0], VALUES)
    client.push(1, 1, 1, [1, 1, 1], VALUES)

    answers = client.push(2, 1, 1, [2, 2, 2], VALUES, sample_versions=[2, 1, 0])

    assert [answer.staleness for answer in answers] == [0, 0, 0]
    assert [answer.sample_staleness for answer in answers] == [0, 1, 2]
    with pytest.raises(ValueError, match=r"sample_versions=\[2\]: must be 3, one a shard"):
        client.push(2, 1, 2, [3, 3, 3], VALUES, sample_versions=[2])


@pytest.mark.parametrize("num_shards", [2, 3, 5])
def test_values_have_the_same_bits_however_many_shards_hold_them(serve, connect, num_shards):
    shapes = (("weight", (6, 6)), ("bias", (37,)))  # 73: slices end within a vector register
    clients = [
        connect(layout, serve(layout, optimizer=AdamSettings(learning_rate=0.1)))
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

    with pytest.raises(InvalidRequest, match=r"gradient\.shape=\(.*\), .*: must be \(7,\)"):
        client.push(0, 1, 1, [0, 0, 0], wrong)
    with pytest.raises(InvalidRequest, match=r"values\.shape=\(.*\), .*: must be \(7,\)"):
        client.initialize(wrong)

    assert [shard.describe().num_refused for shard in shards] == [0, 0, 0]
    assert client.pull().versions == (0, 0, 0)


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int32, ">f4"])
def test_vector_of_another_type_is_refused_before_anything_is_sent(client, shards, dtype):
    client.initialize(VALUES)

    with pytest.raises(InvalidRequest, match=r"gradient.*: must be \(7,\), float32"):
        client.push(0, 1, 1, [0, 0, 0], VALUES.astype(dtype))

    assert [shard.describe().num_refused for shard in shards] == [0, 0, 0]


def test_vector_may_have_gaps_in_memory(client):
    wide = np.zeros((7, 2), np.float32)
    wide[:, 0] = VALUES

    client.initialize(wide[:, 0])

    assert client.pull().values.tobytes() == VALUES.tobytes()
    assert client.push(0, 1, 1, [0, 0, 0], wide[:, 1])[0].version == 1


@pytest.mark.parametrize("base_versions", [[0, 0], [0, 0, 0, 0]])
def test_push_with_the_wrong_number_of_base_versions_is_refused(client, base_versions):
    client.initialize(VALUES)

    with pytest.raises(ValueError, match=r"base_versions=\[0, .*\]: must be 3, one a shard"):
        client.push(0, 1, 1, base_versions, VALUES)

    assert client.pull().versions == (0, 0, 0)


# How long a shard that has moved is waited for; many attempts are safe under load.
IMPATIENT = {"pull_timeout_s": 0.5, "push_timeout_s": 0.5, "max_attempts": 20}


# What need not travel


class RecordSizes(grpc.ServerInterceptor):
    """Record the length of every answer to Pull and Push, in bytes."""

    def __init__(self):
        self.num_bytes = []

    def intercept_service(self, continuation, handler_call_details):
        handler = continuation(handler_call_details)
        if handler_call_details.method.rpartition("/")[2] not in ("Pull", "Push"):
            return handler

        def call(request, context):
            response = handler.unary_unary(request, context)
            self.num_bytes.append(len(response))
            return response

        return grpc.unary_unary_rpc_method_handler(call)


@pytest.fixture
def sizes():
    return RecordSizes()


LONG = Layout((("weight", (1000,)),), num_shards=1)
LONG_VALUES = np.linspace(1, 2, 1000, dtype=np.float32)


def test_slice_that_has_not_changed_is_not_pulled_again(serve, connect, sizes):
    shards = serve(LONG, interceptors=[sizes])
    client, other = connect(LONG, shards), connect(LONG, shards)
    client.initialize(LONG_VALUES)

    pulls = [client.pull(), client.pull()]
    other.push(0, 1, 1, [0], LONG_VALUES)
    pulls += [client.pull(), client.pull()]

    assert [pulled.versions for pulled in pulls] == [(0,), (0,), (1,), (1,)]
    bits = [pulled.values.tobytes() for pulled in pulls]
    assert bits[0] == bits[1] == LONG_VALUES.tobytes()
    assert bits[2] == bits[3] == other.pull().values.tobytes() != bits[0]
    assert [num_bytes > 4000 for num_bytes in sizes.num_bytes] == [
        *(True, False),  # pulls
        False,  # the push
        *(True, False),
        True,  # the other's pull
    ]


def test_values_that_came_with_a_push_are_not_pulled_again(serve, connect, sizes):
    client = connect(LONG, serve(LONG, interceptors=[sizes]))
    client.initialize(LONG_VALUES)

    (answer,), pulled = client.push_and_pull(0, 1, 1, [0], LONG_VALUES)
    again = client.pull()

    assert (answer.version, pulled.versions, again.versions) == (1, (1,), (1,))
    assert again.values.tobytes() == pulled.values.tobytes() != LONG_VALUES.tobytes()
    assert [num_bytes > 4000 for num_bytes in sizes.num_bytes] == [True, False]


def test_only_slices_that_have_changed_are_pulled_again(serve, connect, sizes):
    layout = Layout((("weight", (2000,)),), num_shards=2)
    shards = serve(layout, interceptors=[sizes])
    half = Layout((("any", (1000,)),), num_shards=1)
    client = connect(layout, shards)
    client.initialize(np.append(LONG_VALUES, LONG_VALUES))
    client.pull()
    connect(half, shards[1:]).push(0, 1, 1, [0], LONG_VALUES)
    sizes.num_bytes.clear()

    pulled = client.pull()

    assert pulled.versions == (0, 1)
    assert pulled.values[:1000].tobytes() == LONG_VALUES.tobytes()
    assert not np.isclose(pulled.values[1000:], LONG_VALUES, atol=1e-4).any()
    assert sorted(num_bytes > 4000 for num_bytes in sizes.num_bytes) == [False, True]


def test_slice_is_pulled_again_from_a_new_life_of_its_shard(serve, connect, tmp_path):
    (first,) = serve(LONG, folder=tmp_path)
    where = [first.address]
    client = connect(LONG, lambda: where, **IMPATIENT)
    client.initialize(LONG_VALUES)
    client.pull()
    first.close()
    (second,) = serve(LONG, folder=tmp_path)
    where[:] = [second.address]

    pulled = client.pull()

    assert (pulled.versions, second.describe().epoch) == ((0,), 2)
    assert pulled.values.tobytes() == LONG_VALUES.tobytes()


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
        ("Checkpoint", lambda client: client.checkpoint(), "push_timeout_s"),
    ],
    ids=["Describe", "Pull", "Initialize", "Push", "Checkpoint"],
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


def test_busy_shard_is_asked_again(serve, connect):
    shards = serve(LAYOUT, num_calls=1)
    client = connect(LAYOUT, shards, max_attempts=30)
    client.initialize(VALUES)
    others = [connect(LAYOUT, shards, max_attempts=30) for _ in range(8)]

    with ThreadPoolExecutor(8) as threads:
        pushes = [
            threads.submit(other.push, replica, 1, 1, [0, 0, 0], VALUES)
            for replica, other in enumerate(others)
        ]
        assert all(push.result(timeout=30) for push in pushes)

    assert client.pull().versions == (8, 8, 8)


# Shards that move


def test_shard_that_moved_while_nobody_called_is_found_without_waiting_for_the_deadline(
    serve, connect, tmp_path
):
    shards = serve(LAYOUT, folder=tmp_path)
    where = [shard.address for shard in shards]
    client = connect(LAYOUT, lambda: where, push_timeout_s=100)
    client.initialize(VALUES)
    shards[1].close()
    (moved,) = serve(LAYOUT, shards=[1], folder=tmp_path)
    where[1] = moved.address

    with ThreadPoolExecutor(1) as threads:
        push = threads.submit(client.push, 0, 1, 1, [0, 0, 0], VALUES)
        assert [answer.version for answer in push.result(timeout=40)] == [1, 1, 1]


def test_shard_is_found_where_it_has_moved_to(serve, connect, tmp_path):
    shards = serve(LAYOUT, folder=tmp_path)
    where = [shard.address for shard in shards]
    client = connect(LAYOUT, lambda: where, **IMPATIENT)
    client.initialize(VALUES)
    client.push(0, 1, 1, [0, 0, 0], VALUES)
    shards[1].close()
    (moved,) = serve(LAYOUT, shards=[1], folder=tmp_path)
    assert moved.address != shards[1].address
    where[1] = moved.address

    answers = client.push(0, 1, 2, [1, 1, 1], VALUES)

    assert [answer.version for answer in answers] == [2, 2, 2]
    assert client.pull().versions == (2, 2, 2)


def test_shard_that_moved_is_found_by_the_next_call_if_there_is_one_attempt(
    serve, connect, tmp_path
):
    shards = serve(LAYOUT, folder=tmp_path)
    where = [shard.address for shard in shards]
    client = connect(LAYOUT, lambda: where, max_attempts=1)
    client.initialize(VALUES)
    shards[1].close()
    (moved,) = serve(LAYOUT, shards=[1], folder=tmp_path)
    where[1], old = moved.address, where[1]
    with pytest.raises(ShardUnavailable, match=f"at {old}: no answer to Push"):
        client.push(0, 1, 1, [0, 0, 0], VALUES)

    answers = client.push(0, 1, 1, [0, 0, 0], VALUES)

    assert [answer.version for answer in answers] == [1, 1, 1]


def test_function_that_gives_too_few_addresses_is_refused(connect):
    with pytest.raises(ValueError, match=r"addresses=\['a:1'\]: must be 3, one a shard"):
        connect(LAYOUT, lambda: ["a:1"]).pull()


@pytest.fixture
def two_lives(serve, connect, tmp_path):
    """An older life of shard 0 that does not know that it is over, a newer one, and its fault."""
    fault = FailNth(2, LOST_REQUEST)
    (older,) = serve(LONG, folder=tmp_path)
    connect(LONG, [older]).initialize(LONG_VALUES)
    (newer,) = serve(LONG, folder=tmp_path, is_taking_over=True, interceptors=[fault])
    return older, newer, fault


def test_answer_of_an_older_life_is_not_listened_to(connect, two_lives):
    older, newer, fault = two_lives
    where = iter([newer.address, older.address, newer.address])
    client = connect(LONG, lambda: [next(where)])
    client.push(0, 1, 1, [0], LONG_VALUES)

    pulled = client.pull()  # is lost, and goes to the older life next

    assert fault.fired
    assert not list(where), "the older life was not asked"
    assert pulled.versions == (1,)


def test_shard_that_only_an_older_life_answers_for_is_unavailable(connect, two_lives):
    older, newer, fault = two_lives
    where = iter([newer.address, *[older.address] * 3])
    client = connect(LONG, lambda: [next(where)], max_attempts=4)
    client.push(0, 1, 1, [0], LONG_VALUES)

    with pytest.raises(
        ShardUnavailable,
        match=rf"shard 0 of 1 at {older.address}: Pull is answered by an older life .*4 attempts",
    ):
        client.pull()

    assert fault.fired


# Shards that have lost something


@pytest.fixture
def set_back(serve, connect, tmp_path):
    """Give a function that serves the copy at version 1 of a shard that was at version 3.

    Before, it hands the address at which it was, in a list that changes, to who wants to know it.
    """

    def set_back(meet, **options):
        (shard,) = serve(LONG, folder=tmp_path / "now", **options)
        pusher = connect(LONG, [shard])
        pusher.initialize(LONG_VALUES)
        pusher.push(0, 1, 1, [0], LONG_VALUES)
        shard.close()
        shutil.copytree(tmp_path / "now", tmp_path / "copy")
        (shard,) = serve(LONG, folder=tmp_path / "now", **options)
        pusher = connect(LONG, [shard])
        pusher.push(0, 1, 2, [0], LONG_VALUES)
        pusher.push(0, 1, 3, [0], LONG_VALUES)
        where = [shard.address]
        met = meet(where)
        shard.close()
        (shard,) = serve(LONG, folder=tmp_path / "copy", **options)
        where[:] = [shard.address]
        return shard, met

    return set_back


@pytest.fixture
def meet(connect):
    """Give a function that makes a client which has seen the version of a shard."""

    def meet(where):
        client = connect(LONG, lambda: where, **IMPATIENT)
        assert client.pull().versions == (3,)
        return client

    return meet


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.pull(),
        lambda client: client.push(1, 1, 1, [0], LONG_VALUES),
        lambda client: client.push_and_pull(0, 1, 1, [0], LONG_VALUES),  # a repeat
    ],
    ids=["pull", "push", "repeat"],
)
def test_shard_that_has_lost_acknowledged_pushes_is_noticed(set_back, meet, call):
    shard, client = set_back(meet)

    with pytest.raises(
        StateLost,
        match=rf"shard 0 of 1 at {shard.address}: it is at version [12] and had acknowledged 3; "
        "its journal was cut or an old copy was restored",
    ):
        call(client)


def test_shard_behind_what_it_has_acknowledged_to_others_is_noticed(connect, set_back):
    shard, _ = set_back(lambda _: None)

    with pytest.raises(StateLost, match="it is at version 1 and had acknowledged 3"):
        connect(LONG, [shard], acknowledged=[3]).pull()

    assert connect(LONG, [shard], acknowledged=[1]).pull().versions == (1,)


def test_shard_without_a_journal_may_go_back_and_says_so(set_back, meet, caplog):
    _, client = set_back(meet, durability="checkpoint")

    with caplog.at_level(logging.WARNING, "ps.client"):
        assert client.pull().versions == (1,)
        client.pull()
        (answer,) = client.push(0, 1, 4, [3], LONG_VALUES)

    assert (answer.version, answer.staleness) == (2, 0)
    (warning,) = [r.getMessage() for r in caplog.records if "gone back" in r.getMessage()]
    assert "it is at version 1 and had acknowledged 3" in warning


@pytest.mark.parametrize("acknowledged", [[1], [1, 2, 3, 4]])
def test_wrong_number_of_acknowledged_versions_is_refused(connect, acknowledged):
    with pytest.raises(ValueError, match=r"acknowledged=\[1.*\]: must be 3, one a shard"):
        connect(LAYOUT, ["a:1", "b:1", "c:1"], acknowledged=acknowledged)


def test_checkpoints_of_all_shards_are_written(serve, connect, tmp_path):
    client = connect(LAYOUT, serve(LAYOUT, folder=tmp_path))
    client.initialize(VALUES)
    client.push(0, 1, 1, [0, 0, 0], VALUES)

    assert client.checkpoint() == (1, 1, 1)
    assert len(list(tmp_path.rglob("checkpoint-*"))) == 3


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


def test_observer_is_told_of_each_call_and_of_its_attempts(serve, connect):
    faults = [FailNth(1, LOST_REQUEST), FailNth(2, LOST_REQUEST)]
    told = []
    client = connect(
        LAYOUT,
        serve(LAYOUT, interceptors=faults),
        observe=lambda method, seconds, attempts: told.append((method, seconds > 0, attempts)),
    )
    client.initialize(VALUES)
    client.pull()
    assert all(fault.fired for fault in faults)
    assert told == [("Initialize", True, 2), ("Pull", True, 1)]


def test_observer_is_told_of_a_call_that_fails(connect, refusing_address):
    told = []
    client = connect(
        LAYOUT,
        [refusing_address] * 3,
        observe=lambda method, _, attempts: told.append((method, attempts)),
        max_attempts=2,
        pull_timeout_s=0.2,
    )
    with pytest.raises(ShardUnavailable):
        client.pull()
    assert told == [("Pull", 2)]


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
