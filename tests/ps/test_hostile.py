"""Whatever is sent to a shard: it answers with a documented status, and a refusal changes nothing.

The shard has accepted pushes before, and much of what is sent resembles more of them. A model, a
shard in memory that is given the same, says which calls must succeed.
"""

import threading
from dataclasses import replace
from itertools import pairwise

import grpc
import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.waiting import wait_until

from ps import wire
from ps.errors import STATUS, InvalidRequest, ShardError, UnexpectedStatus
from ps.push import Push
from ps.rpc import parameter_shard_pb2 as messages
from ps.server import ServerSettings, ShardServer
from ps.shard import Shard
from ps.storage import StorageSettings

from .conformance import INITIAL, LAYOUT, ShardAsStore, digest_of, lasting, plan_of, push_of

OK = grpc.StatusCode.OK
INVALID = grpc.StatusCode.INVALID_ARGUMENT
DOCUMENTED = {code for error, code in STATUS.items() if error is not UnexpectedStatus}
UPDATES = {"staleness": "refuse", "max_staleness": 5, "accumulate": 2}
LENGTH = LAYOUT.num_parameters
PUSHES = [*(push_of(s, replica=0, base_version=s - 1) for s in (1, 2, 3, 4))]
PUSHES += [push_of(s, replica=1, base_version=s, incarnation=2) for s in (1, 2)]
FIRST_VALUES = wire.join(
    messages.InitializeRequest(layout_sha256=LAYOUT.sha256, values_sha256=digest_of(INITIAL)),
    INITIAL,
)

many = settings(deadline=None, max_examples=200)


def comparable(description):
    """Give a description without what may differ between the shard and its model."""
    return replace(lasting(description), durability="none")


class Target:
    """A shard behind the network, and a model of it that is given the same."""

    def __init__(self, server, channel, model):
        self.server = server
        self.model = model
        self.last = {}  # the last sequence of each replica
        makers = {
            (False, False): channel.unary_unary,
            (False, True): channel.unary_stream,
            (True, False): channel.stream_unary,
            (True, True): channel.stream_stream,
        }
        self.is_stream = {name: m.client_streaming for name, m in wire.METHODS.items()}
        self.gives_stream = {name: m.server_streaming for name, m in wire.METHODS.items()}
        self.methods = {
            name: makers[self.is_stream[name], self.gives_stream[name]](f"/{wire.SERVICE}/{name}")
            for name in wire.METHODS
        }

    def call(self, method, *requests):
        """Send bytes to a method, and give the status of the answer."""
        call = self.methods[method]
        try:
            answer = call(iter(requests) if self.is_stream[method] else requests[0], timeout=20)
            for _ in answer if self.gives_stream[method] else ():
                pass
        except grpc.RpcError as error:
            return error.code()
        return OK

    def state(self):
        """Give all that can be seen of the shard, but for what is of one life of it."""
        pulled = messages.PullResponse.FromString(self.methods["Pull"](b"", timeout=20))
        return pulled.version, pulled.values, comparable(self.server.describe())

    def model_state(self):
        version, values = self.model.pull()
        return version, values.tobytes(), comparable(self.model.describe())

    def push_to_model(self, *requests):
        """Give the model the push in these requests, and give the status that is due to it."""
        try:
            first, *others = [messages.PushRequest.FromString(data) for data in requests]
            pieces = [wire.unpack(request.gradient) for request in (first, *others)]
            push = Push(
                first.replica,
                first.sequence,
                first.incarnation,
                first.base_version,
                np.concatenate(pieces),
            )
            self.model.push(push)
        except (DecodeError, ValueError):
            return STATUS[InvalidRequest]
        except ShardError as error:
            return STATUS[type(error)]
        self.last[push.replica] = push.sequence
        return OK


@pytest.fixture(scope="module")
def target(tmp_path_factory):
    plan = plan_of(**UPDATES)
    model = ShardAsStore(Shard(plan, StorageSettings(durability="none"), None))
    folder = tmp_path_factory.mktemp("hostile") / "state"
    server_settings = ServerSettings(checkpoint_pushes=20)
    with (
        ShardServer(plan, server_settings, folder) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        target = Target(server, channel, model)
        assert target.call("Initialize", FIRST_VALUES) is OK
        model.initialize(LAYOUT, INITIAL)
        for push in PUSHES:
            data = wire.join(message_of(push), push.gradient)
            assert target.call("Push", data) is target.push_to_model(data) is OK
        assert target.state() == target.model_state()
        yield target


def message_of(push):
    return messages.PushRequest(
        replica=push.replica,
        sequence=push.sequence,
        incarnation=push.incarnation,
        base_version=push.base_version,
    )


# Strategies

EXTREMES = st.sampled_from([0, 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1])
ELEMENTS = st.one_of(
    st.floats(width=32),
    st.sampled_from([np.nan, np.inf, -np.inf, 3e38, -5e18, 1e18, 1e-45, -0.0]),
)


def vector_of(length, seed, index, element):
    """Give the bytes of a vector of common numbers, but for one of them."""
    vector = np.random.default_rng(seed).standard_normal(length).astype(np.float32)
    if length:
        vector[index % length] = element
    return vector.tobytes()


VECTORS = st.one_of(
    st.builds(vector_of, st.just(LENGTH), st.integers(0, 99), st.integers(0, 99), st.just(1.0)),
    st.builds(vector_of, st.just(LENGTH), st.integers(0, 99), st.integers(0, 99), ELEMENTS),
    st.builds(vector_of, st.integers(0, 40), st.integers(0, 99), st.just(0), ELEMENTS),
    st.binary(max_size=80),
)


@st.composite
def pushes(draw):
    """Give what makes a push that is often right, when the shard's state is known."""
    return {
        "replica": draw(st.one_of(st.integers(0, 3), st.sampled_from([9_999, 10_000, 2**32 - 1]))),
        "ahead": draw(st.sampled_from([1, 1, 1, 0, -1, 2])),
        "behind": draw(st.sampled_from([0, 0, 1, 5, 6, -1])),
        "incarnation": draw(st.sampled_from([2, 2, 2, 1, 3, 0])),
        "extreme": draw(st.one_of(st.none(), st.none(), st.none(), EXTREMES)),
        "field": draw(st.sampled_from(["sequence", "base_version"])),
        "wants_values": draw(st.booleans()),
    }


def request_of(target, push):
    """Give the request of a push, by what its replica and the shard have done so far."""
    version = target.model.describe().version
    numbers = {
        "sequence": max(0, target.last.get(push["replica"], 0) + push["ahead"]),
        "base_version": max(0, version - push["behind"]),
    }
    if push["extreme"] is not None:
        numbers[push["field"]] = push["extreme"]
    return messages.PushRequest(
        replica=push["replica"],
        incarnation=push["incarnation"],
        wants_values=push["wants_values"],
        **numbers,
    )


def with_gradient(request, data):
    return messages.PushRequest(
        gradient=data,
        **{
            field.name: getattr(request, field.name)
            for field in request.DESCRIPTOR.fields
            if field.name != "gradient"
        },
    ).SerializeToString()


def cut_up(data, cuts):
    """Give the parts of some bytes between these places."""
    places = sorted({min(cut, len(data)) for cut in cuts})
    return [data[a:b] for a, b in pairwise([0, *places, len(data)])]


@st.composite
def damages(draw):
    """Give a function that changes and cuts off some of some bytes."""
    changes = draw(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 255)), max_size=3))
    end = draw(st.one_of(st.none(), st.integers(0, 99)))

    def damage(data):
        changed = bytearray(data)
        for place, byte in changes:
            changed[place % len(changed)] = byte
        return bytes(changed[:end])

    return damage


# The laws


def check(target, method, expected, *requests):
    """Check that the shard does with a call what the model has done."""
    status = target.call(method, *requests)

    assert status is expected
    assert status is OK or status in DOCUMENTED
    version, values, described = target.state()
    assert (version, values, described) == target.model_state()
    assert np.isfinite(np.frombuffer(values, np.float32)).all()


@given(pushes(), VECTORS)
@many
def test_any_push_is_accepted_or_refused_as_the_model_says(target, push, data):
    request = with_gradient(request_of(target, push), data)
    before = target.model_state()

    expected = target.push_to_model(request)

    assert expected is OK or target.model_state() == before
    check(target, "Push", expected, request)


@given(
    st.one_of(
        st.builds(
            vector_of,
            st.just(LENGTH),
            st.integers(0, 99),
            st.integers(0, LENGTH - 1),
            st.one_of(
                st.sampled_from([np.nan, np.inf, -np.inf]),
                st.floats(2.0**61, 2.0**127, width=32),
                st.floats(-(2.0**127), -(2.0**61), width=32),
            ),
        ),
        st.binary(max_size=100).filter(lambda data: len(data) != 4 * LENGTH),
    )
)
@many
def test_next_push_of_a_replica_is_refused_if_its_gradient_is_wrong(target, data):
    request = messages.PushRequest(
        replica=2,
        sequence=target.last.get(2, 0) + 1,
        incarnation=2**40,
        base_version=target.model.describe().version,
        gradient=data,
    ).SerializeToString()

    assert target.push_to_model(request) is INVALID
    check(target, "Push", INVALID, request)


@given(pushes(), VECTORS, st.lists(st.integers(0, 100).map(lambda n: 4 * n), max_size=4))
@many
def test_any_push_in_pieces_is_accepted_or_refused_as_the_model_says(target, push, data, cuts):
    first, *others = cut_up(data, cuts)
    requests = [with_gradient(request_of(target, push), first)]
    requests += [messages.PushRequest(gradient=part).SerializeToString() for part in others]

    check(target, "PushPieces", target.push_to_model(*requests), *requests)


@given(pushes(), VECTORS, damages())
@many
def test_damaged_push_is_accepted_or_refused_as_the_model_says(target, push, data, damage):
    request = damage(with_gradient(request_of(target, push), data))

    check(target, "Push", target.push_to_model(request), request)


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=80),
            VECTORS.map(
                lambda data: messages.PushRequest(replica=3, gradient=data).SerializeToString()
            ),
        ),
        max_size=5,
    )
)
@many
@example([])
def test_any_stream_of_pieces_is_accepted_or_refused_as_the_model_says(target, requests):
    check(target, "PushPieces", target.push_to_model(*requests), *requests)


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=80),
            st.builds(
                lambda layout, digest, data: messages.InitializeRequest(
                    layout_sha256=layout, values_sha256=digest, values=data
                ).SerializeToString(),
                st.sampled_from([LAYOUT.sha256, b"", bytes(32)]),
                st.sampled_from([digest_of(INITIAL), b"", bytes(32)]),
                st.one_of(VECTORS, st.just(INITIAL.tobytes())),
            ),
        ),
        max_size=4,
    )
)
@many
@example([])
@example([FIRST_VALUES])
@example([FIRST_VALUES, FIRST_VALUES])
@example([FIRST_VALUES[:-4]])
def test_any_stream_of_first_values_leaves_the_state_as_it_is(target, requests):
    status = target.call("Initialize", *requests)

    assert status is OK or status in DOCUMENTED
    assert target.state() == target.model_state()


@given(
    st.sampled_from(["Describe", "Pull", "PullPieces", "Checkpoint"]),
    st.one_of(
        st.binary(max_size=40),
        st.builds(
            lambda version, epoch: messages.PullRequest(
                known_version=version, known_epoch=epoch
            ).SerializeToString(),
            EXTREMES,
            EXTREMES,
        ),
    ),
)
@many
def test_any_bytes_to_a_method_that_only_reads_leave_the_state_as_it_is(target, method, data):
    status = target.call(method, data)

    assert status in (OK, INVALID)
    assert target.state() == target.model_state()


@pytest.mark.parametrize("method", wire.METHODS)
def test_message_that_is_too_long_is_not_taken(target, method):
    status = target.call(method, bytes(wire.WHOLE_BYTES + (1 << 20) + 1))

    assert status is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert target.state() == target.model_state()


@pytest.mark.parametrize("method", ["PushPieces", "Initialize"])
@pytest.mark.parametrize("num_sent", range(4))
def test_stream_that_its_caller_gives_up_changes_nothing(target, method, num_sent):
    kind = {"PushPieces": messages.PushRequest, "Initialize": messages.InitializeRequest}[method]
    parts = cut_up(INITIAL.tobytes(), [20, 40])
    requests = [wire.join(kind(), np.frombuffer(part, np.float32)) for part in parts]
    has_ended, was_sent = threading.Event(), threading.Event()

    def some():
        yield from requests[:num_sent]
        was_sent.set()
        has_ended.wait(timeout=20)

    call = target.methods[method]
    call = call(some(), timeout=20) if method == "PushPieces" else call.future(some(), timeout=20)
    assert was_sent.wait(timeout=10)
    call.cancel()
    has_ended.set()
    calls = target.server.metrics.registry
    wait_until(
        lambda: calls.get_sample_value("nasrl_shard_calls", {"shard": "0"}) == 0,
        "the shard has let go of the stream",
    )

    assert target.state() == target.model_state()
