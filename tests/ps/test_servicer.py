"""A shard behind the network: the laws, and bytes that no client of ours would send."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial

import grpc
import numpy as np
import pytest
from support.waiting import wait_until

from ps import wire
from ps.authority import CertificateAuthority
from ps.connection import ShardConnection
from ps.errors import ERRORS, NotPermitted
from ps.layout import Layout
from ps.plan import UpdateSettings
from ps.rpc import parameter_shard_pb2 as messages
from ps.rpc import parameter_shard_pb2_grpc as rpc
from ps.servicer import MAX_BUFFERS

from .conformance import (
    INITIAL,
    LAYOUT,
    OPTIMIZER,
    OneLifeLaws,
    digest_of,
    gradient_of,
    push_of,
    state_of,
    values_after,
)


class RemoteStore:
    """A shard that is called as a store is.

    A client refuses what does not fit its layout, so vectors are sent by one that they do fit.
    With a certificate authority a replica pushes under its own name, and the launcher does the
    rest.
    """

    def __init__(self, server, connect, authority=None):
        self._server = server
        self._connect = connect
        self._authority = authority
        self._clients = {}

    def initialize(self, layout, values, digest=b""):
        if not digest:
            self._client(layout).initialize(values)
            return
        request = messages.InitializeRequest(
            layout_sha256=layout.sha256, values_sha256=digest, values=wire.pack(values)
        )
        with self._channel("launcher") as channel:
            _raising(rpc.ParameterShardStub(channel).Initialize, iter([request]))

    def pull(self):
        pulled = self._client(LAYOUT).pull()
        return pulled.versions[0], pulled.values

    def pull_unless(self, epoch, version):
        connection = ShardConnection(LAYOUT, 0, self._server.address, self._identity("launcher"))
        try:
            answer = _raising(connection.pull, (epoch, version))
        finally:
            connection.close()
        return None if answer.values is None else (answer.version, answer.values)

    def push(self, push):
        client = self._pusher(push)
        (answer,) = client.push(*_arguments(push))
        return answer

    def push_and_pull(self, push):
        client = self._pusher(push)
        (answer,), pulled = client.push_and_pull(*_arguments(push))
        return answer, pulled.versions[0], pulled.values

    def describe(self):
        (description,) = self._client(LAYOUT).describe()
        return description

    def _pusher(self, push):
        return self._client(Layout((("any", push.gradient.shape),), 1), f"replica-{push.replica}")

    def _client(self, layout, name="launcher"):
        identity = self._identity(name)
        if (layout, identity) not in self._clients:
            client = self._connect(layout, [self._server], identity=identity)
            self._clients[layout, identity] = client
        return self._clients[layout, identity]

    def _identity(self, name):
        return None if self._authority is None else self._authority.issue(name)

    def _channel(self, name):
        return channel_to(self._server, self._identity(name))


def channel_to(server, identity=None):
    if identity is None:
        return grpc.insecure_channel(server.address)
    options = [("grpc.ssl_target_name_override", identity.server_name(0))]
    return grpc.secure_channel(server.address, identity.channel_credentials(), options)


def _arguments(push):
    sampled_at = None if push.sample_version is None else (push.sample_version,)
    name = (push.replica, push.incarnation, push.sequence)
    return *name, (push.base_version,), push.gradient, sampled_at


def _raising(call, request):
    """Make a call, and raise what a client would raise."""
    try:
        return call(request, 5)
    except grpc.RpcError as error:
        raise ERRORS[error.code()](error.details()) from error


class BehindTheNetwork(OneLifeLaws):
    """A subclass may give the fixtures `folder` and `authority`."""

    @pytest.fixture
    def folder(self):
        return None

    @pytest.fixture
    def authority(self):
        return None

    @pytest.fixture
    def servers(self):
        """All that were made, in order."""
        return []

    @pytest.fixture
    def make(self, serve, connect, folder, authority, servers):
        def make(**updates):
            servers.extend(
                serve(
                    LAYOUT,
                    optimizer=OPTIMIZER,
                    updates=UpdateSettings(**updates),
                    folder=folder,
                    authority=authority,
                )
            )
            return RemoteStore(servers[-1], connect, authority)

        return make

    def test_description_is_the_same_on_both_sides(self, pushed, servers):
        assert pushed.describe() == servers[0].describe()

    def test_pulled_values_cannot_be_changed(self, pushed):
        for values in (pushed.pull()[1], pushed.push_and_pull(push_of(3))[2]):
            with pytest.raises(ValueError, match="read-only"):
                values.fill(7)


class TestShardBehindTheNetwork(BehindTheNetwork):
    pass


class TestShardWithJournalBehindTheNetwork(BehindTheNetwork):
    durability = "journal"
    epoch = 1

    @pytest.fixture
    def folder(self, tmp_path):
        return tmp_path


class TestShardInPiecesBehindTheNetwork(BehindTheNetwork):
    """Its slice of 17 parameters is too long to travel whole, and travels by 3 parameters."""

    @pytest.fixture(autouse=True)
    def travels_in_pieces(self, monkeypatch):
        monkeypatch.setattr(wire, "WHOLE_BYTES", 16 * 4 - 1)
        monkeypatch.setattr(wire, "PIECE_BYTES", 3 * 4)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """An authority whose certificates several tests use."""
    folder = tmp_path_factory.mktemp("run") / "tls"
    return CertificateAuthority.open_or_create(folder, "laws")


class TestShardBehindTheNetworkWithCertificates(BehindTheNetwork):
    @pytest.fixture
    def authority(self, certificates):
        return certificates

    def test_replica_that_pushes_under_another_name_is_refused(
        self, filled, servers, connect, certificates
    ):
        before = state_of(filled)
        refused = filled.describe().num_refused
        client = connect(LAYOUT, servers, identity=certificates.issue("replica-1"))

        with pytest.raises(NotPermitted, match=r"replica=0: must be 1, the caller is 'replica-1\."):
            client.push(0, 1, 1, (0,), INITIAL)

        assert state_of(filled) == before
        assert filled.describe().num_refused == refused

    @pytest.mark.parametrize("name", ["observer", "replica-0", "shard-0"])
    def test_initialize_by_anybody_but_the_launcher_is_refused(
        self, store, servers, connect, certificates, name
    ):
        with pytest.raises(NotPermitted, match=f"caller='{name}.*: must be launcher to call Init"):
            connect(LAYOUT, servers, identity=certificates.issue(name)).initialize(INITIAL)

        assert not store.describe().is_initialized

    @pytest.mark.parametrize("name", ["observer", "launcher", "shard-0", "replica-1"])
    def test_push_in_pieces_under_another_name_is_refused_before_it_is_whole(
        self, filled, servers, certificates, name
    ):
        before = state_of(filled)
        has_ended = threading.Event()
        with channel_to(servers[0], certificates.issue(name)) as channel:
            stub = rpc.ParameterShardStub(channel)
            with pytest.raises(
                grpc.RpcError, match=r"must be (replica to call Push|1, )"
            ) as refusal:
                next(stub.PushPieces(unfinished(has_ended), timeout=10))
            has_ended.set()

        assert refusal.value.code() == grpc.StatusCode.PERMISSION_DENIED
        assert state_of(filled) == before


# Bytes


@pytest.fixture
def server(serve):
    (server,) = serve(LAYOUT, optimizer=OPTIMIZER)
    return server


@pytest.fixture
def remote(server, connect):
    return RemoteStore(server, connect)


@pytest.fixture
def stub(server):
    """What protobuf's own compiler makes for whoever is not a client of ours."""
    with channel_to(server) as channel:
        yield rpc.ParameterShardStub(channel)


@pytest.mark.parametrize("method", ["Initialize", "PushPieces"])
@pytest.mark.parametrize("timeout_s", [None, 4000])
def test_call_that_would_hold_a_buffer_for_ever_is_refused(stub, method, timeout_s):
    has_ended = threading.Event()
    calls = {
        "Initialize": stub.Initialize,
        "PushPieces": lambda *a, **k: next(stub.PushPieces(*a, **k)),
    }
    with pytest.raises(grpc.RpcError, match="must have one, at most 3600 s away") as refusal:
        calls[method](unfinished(has_ended), timeout=timeout_s)
    has_ended.set()

    assert refusal.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def push_message(sequence=1, **fields):
    fields = {"gradient": gradient_of(0, sequence).tobytes()} | fields
    return messages.PushRequest(sequence=sequence, incarnation=1, **fields)


BROKEN_BYTES = [
    pytest.param(b"", r"\b0\b.*: .*\b17\b", id="none"),
    pytest.param(b"\0" * 67, "67 bytes: must be a multiple of 4", id="last byte missing"),
    pytest.param(INITIAL.astype(np.float64).tobytes(), r"\b34\b.*: .*\b17\b", id="float64"),
]


@pytest.mark.parametrize(("data", "complaint"), BROKEN_BYTES)
def test_push_of_broken_bytes_is_an_invalid_argument_and_changes_nothing(
    remote, stub, data, complaint
):
    remote.initialize(LAYOUT, INITIAL)
    before = state_of(remote)

    with pytest.raises(grpc.RpcError, match=complaint) as refusal:
        stub.Push(push_message(gradient=data), timeout=5)

    assert refusal.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert state_of(remote) == before


@pytest.mark.parametrize(("data", "complaint"), BROKEN_BYTES)
def test_initialize_with_broken_bytes_is_an_invalid_argument(server, stub, data, complaint):
    request = messages.InitializeRequest(layout_sha256=LAYOUT.sha256, values=data)
    with pytest.raises(grpc.RpcError, match=complaint) as refusal:
        stub.Initialize(iter([request]), timeout=5)

    assert refusal.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert not server.describe().is_initialized


@pytest.mark.parametrize("method", ["Pull", "PullPieces", "Push"])
def test_bytes_that_are_no_message_are_an_invalid_argument(remote, server, method):
    remote.initialize(LAYOUT, INITIAL)
    before = state_of(remote)
    with channel_to(server) as channel:
        kind = channel.unary_stream if method == "PullPieces" else channel.unary_unary
        with pytest.raises(grpc.RpcError, match=r"7 bytes: must be a Pu.*Request") as refusal:
            list(kind(f"/{wire.SERVICE}/{method}")(b"no such", timeout=5))

    assert refusal.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert state_of(remote) == before


def test_other_libraries_can_do_all_that_a_client_does(remote, server, stub):
    values = iter([INITIAL[:5], INITIAL[5:5], INITIAL[5:]])
    first = messages.InitializeRequest(
        layout_sha256=LAYOUT.sha256,
        values_sha256=digest_of(INITIAL),
        values=next(values).tobytes(),
    )
    others = [messages.InitializeRequest(values=piece.tobytes()) for piece in values]

    initialized = stub.Initialize(iter([first, *others]), timeout=5)
    pushed = stub.Push(push_message(wants_values=True), timeout=5)
    pulled = stub.Pull(messages.PullRequest(), timeout=5)
    known = stub.Pull(messages.PullRequest(known_version=1), timeout=5)
    described = stub.Describe(messages.DescribeRequest(), timeout=5)

    assert (initialized.version, initialized.epoch) == (0, 0)
    assert (pushed.version, pushed.values_version, pushed.updates) == (1, 1, 1)
    assert pushed.values == pulled.values == values_after(push_of(1)).tobytes()
    assert (pulled.version, pulled.is_not_modified) == (1, False)
    assert (known.version, known.is_not_modified, known.values) == (1, True, b"")
    assert wire.unpack_description(described) == server.describe()
    assert described.durability == messages.DURABILITY_NONE


def test_push_that_asks_for_no_values_gets_none(remote, stub):
    remote.initialize(LAYOUT, INITIAL)

    answer = stub.Push(push_message(), timeout=5)

    assert (answer.version, answer.values_version, answer.values) == (1, 0, b"")


@pytest.mark.parametrize("method", ["Pull", "Push"])
def test_slice_that_is_too_long_to_travel_whole_says_what_to_call(
    remote, stub, monkeypatch, method
):
    remote.initialize(LAYOUT, INITIAL)
    before = state_of(remote)
    requests = {"Pull": messages.PullRequest(), "Push": push_message()}

    with monkeypatch.context() as patch:
        patch.setattr(wire, "WHOLE_BYTES", 16 * 4)
        with pytest.raises(
            grpc.RpcError, match=f"17 parameters: must be at most 16 .*; call {method}Pieces"
        ) as refusal:
            getattr(stub, method)(requests[method], timeout=5)

    assert refusal.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert state_of(remote) == before


# Streams


def pieces_of(vector, *cuts):
    """Give the requests of a push in pieces that end at these places."""
    first, *others = np.split(vector, cuts)
    yield push_message(gradient=first.tobytes(), wants_values=True)
    for piece in others:
        yield messages.PushRequest(gradient=piece.tobytes())


@pytest.mark.parametrize("cuts", [(), (17,), (0,), (1, 1, 16), range(1, 17)], ids=str)
def test_push_may_come_in_any_pieces(remote, stub, cuts):
    remote.initialize(LAYOUT, INITIAL)

    first, *others = stub.PushPieces(pieces_of(gradient_of(0, 1), *cuts), timeout=5)

    assert (first.version, first.values_version) == (1, 1)
    whole = first.values + b"".join(piece.values for piece in others)
    assert whole == values_after(push_of(1)).tobytes()


def test_stream_that_ends_before_its_gradient_is_whole_changes_nothing(remote, stub):
    remote.initialize(LAYOUT, INITIAL)
    before = state_of(remote)

    for length in range(17):
        with pytest.raises(
            grpc.RpcError, match=f"pieces of {length} parameters: must be 17 in all"
        ) as refusal:
            next(stub.PushPieces(pieces_of(gradient_of(0, 1)[:length], 4, 9), timeout=5))
        assert refusal.value.code() == grpc.StatusCode.INVALID_ARGUMENT

    assert state_of(remote) == before
    assert remote.push(push_of(1)).version == 1, "a stream that was cut used up the sequence"


def test_stream_with_more_than_a_gradient_is_refused_at_once(remote, stub):
    remote.initialize(LAYOUT, INITIAL)
    before = state_of(remote)
    was_stopped = threading.Event()

    def endless():
        yield from pieces_of(np.zeros(18, np.float32), 9)
        was_stopped.wait(timeout=10)

    with pytest.raises(grpc.RpcError, match="pieces of 18 parameters so far: must be 17 in all"):
        next(stub.PushPieces(endless(), timeout=10))
    was_stopped.set()

    assert state_of(remote) == before


@pytest.mark.parametrize(
    ("method", "kind"), [("Initialize", "InitializeRequest"), ("PushPieces", "PushRequest")]
)
def test_empty_stream_is_an_invalid_argument(stub, method, kind):
    with pytest.raises(grpc.RpcError, match=f"no {kind} in the stream: must be one") as refusal:
        list(getattr(stub, method)(iter(()), timeout=5))

    assert refusal.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def unfinished(has_ended):
    """Give a stream that stops in the middle of its gradient, until the event."""
    yield next(pieces_of(gradient_of(0, 1), 9))
    has_ended.wait(timeout=20)


def num_calls(server):
    return server.metrics.registry.get_sample_value("nasrl_shard_calls", {"shard": "0"})


def test_streams_that_stop_hold_a_bounded_number_of_buffers(remote, server, stub):
    remote.initialize(LAYOUT, INITIAL)
    before = state_of(remote)
    with ExitStack() as ended:
        has_ended = threading.Event()
        ended.callback(has_ended.set)
        streams = [stub.PushPieces(unfinished(has_ended), timeout=20) for _ in range(MAX_BUFFERS)]
        wait_until(lambda: num_calls(server) == MAX_BUFFERS, "every stream has its buffer")

        with pytest.raises(grpc.RpcError, match=f"is taking in {MAX_BUFFERS} vectors") as refusal:
            next(stub.PushPieces(pieces_of(gradient_of(0, 1)), timeout=5))
        assert refusal.value.code() == grpc.StatusCode.UNAVAILABLE
        assert state_of(remote) == before

        for stream in streams:
            stream.cancel()
        wait_until(lambda: num_calls(server) == 0, "every stream has given its buffer back")

    assert state_of(remote) == before
    assert next(stub.PushPieces(pieces_of(gradient_of(0, 1)), timeout=5)).version == 1


def test_stream_that_stops_dies_with_its_deadline(remote, server, stub):
    remote.initialize(LAYOUT, INITIAL)
    before = state_of(remote)
    has_ended = threading.Event()

    with pytest.raises(grpc.RpcError) as refusal:
        next(stub.PushPieces(unfinished(has_ended), timeout=0.1))
    wait_until(lambda: num_calls(server) == 0, "the shard has let go of the stream")
    has_ended.set()

    assert refusal.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert state_of(remote) == before


def test_caller_who_does_not_read_his_pieces_holds_nobody_up(remote, server, stub, monkeypatch):
    monkeypatch.setattr(wire, "PIECE_BYTES", 4)
    remote.initialize(LAYOUT, INITIAL)
    slow = stub.PullPieces(messages.PullRequest(), timeout=30)
    first = next(slow)

    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(partial(remote.push, push_of(1))).result(timeout=10).version == 1

    others = b"".join(piece.values for piece in slow)
    assert (first.version, first.values + others) == (0, INITIAL.tobytes())
