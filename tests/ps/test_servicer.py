"""A shard behind the network: the laws, and bytes that no client of ours would send."""

import grpc
import numpy as np
import pytest

from ps.layout import Layout
from ps.rpc import parameter_shard_pb2 as messages
from ps.rpc import parameter_shard_pb2_grpc as rpc

from .conformance import INITIAL, LAYOUT, OPTIMIZER, StoreLaws, state_of


class RemoteStore:
    """A shard that is called as a store is.

    A client refuses what does not fit its layout, so vectors are sent by one that they do fit.
    """

    def __init__(self, server, connect):
        self._server = server
        self._connect = connect
        self._clients = {}

    def initialize(self, layout, values):
        self._client(layout).initialize(values)

    def pull(self):
        pulled = self._client(LAYOUT).pull()
        return pulled.versions[0], pulled.values

    def push(self, push):
        client = self._client(Layout((("any", push.gradient.shape),), 1))
        (answer,) = client.push(
            push.replica, push.incarnation, push.sequence, (push.base_version,), push.gradient
        )
        return answer

    def describe(self):
        (description,) = self._client(LAYOUT).describe()
        return description

    def _client(self, layout):
        if layout not in self._clients:
            self._clients[layout] = self._connect(layout, [self._server])
        return self._clients[layout]


@pytest.fixture
def server(serve):
    (server,) = serve(LAYOUT, optimizer=OPTIMIZER)
    return server


@pytest.fixture
def remote(server, connect):
    return RemoteStore(server, connect)


class TestShardBehindTheNetwork(StoreLaws):
    @pytest.fixture
    def store(self, remote):
        return remote

    def test_description_is_the_same_on_both_sides(self, pushed, server):
        assert pushed.describe() == server.describe()


BROKEN_BYTES = [
    pytest.param(b"", r"shape \(0,\)", id="none"),
    pytest.param(b"\0" * 67, "67 bytes: must be a multiple of 4", id="last byte missing"),
    pytest.param(INITIAL.astype(np.float64).tobytes(), r"shape \(34,\)", id="float64"),
]


@pytest.mark.parametrize(("data", "complaint"), BROKEN_BYTES)
def test_push_of_broken_bytes_is_an_invalid_argument_and_changes_nothing(
    remote, server, data, complaint
):
    remote.initialize(LAYOUT, INITIAL)
    before = state_of(remote)

    request = messages.PushRequest(replica=0, sequence=1, incarnation=1, gradient=data)
    with (
        grpc.insecure_channel(server.address) as channel,
        pytest.raises(grpc.RpcError, match=complaint) as refusal,
    ):
        rpc.ParameterShardStub(channel).Push(request, timeout=5)

    assert refusal.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert state_of(remote) == before


@pytest.mark.parametrize(("data", "complaint"), BROKEN_BYTES)
def test_initialize_with_broken_bytes_is_an_invalid_argument(server, data, complaint):
    request = messages.InitializeRequest(layout_sha256=LAYOUT.sha256, values=data)
    with (
        grpc.insecure_channel(server.address) as channel,
        pytest.raises(grpc.RpcError, match=complaint) as refusal,
    ):
        rpc.ParameterShardStub(channel).Initialize(request, timeout=5)

    assert refusal.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert not server.describe().is_initialized
