"""The connection to one shard: its channel, and one attempt at each call."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

import grpc
import numpy as np

from ps import wire
from ps.credentials import Identity
from ps.description import ShardDescription
from ps.errors import UnexpectedStatus
from ps.layout import FlatVector, Layout
from ps.push import Push, PushAnswer
from ps.rpc import parameter_shard_pb2 as messages

# On the shards' side the same options stand in `ps.server`.
_OPTIONS = [
    ("grpc.keepalive_time_ms", 8_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.ping_timeout_ms", 5_000),  # without it a frozen shard is noticed after a minute
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.client_idle_timeout_ms", 2**31 - 1),  # children train longer than the default
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),  # resends are `ps.client`'s business alone
]


class Answer:
    """What a shard answered to a pull or a push.

    epoch: of the life that answered. version: of the values. push: of a push. values: (P,) float32
    of the slice, read-only; None if they were not asked for, or are those that the caller has.
    """

    __slots__ = ("epoch", "push", "values", "version")

    def __init__(
        self, epoch: int, version: int, values: FlatVector | None, push: PushAnswer | None = None
    ) -> None:
        self.epoch = epoch
        self.version = version
        self.values = values
        self.push = push


class ShardConnection:
    """One shard at one address. Every call is one attempt, under a deadline.

    All calls raise grpc.RpcError when the shard refuses or does not answer.

    Threads: one at a time.
    """

    def __init__(
        self,
        layout: Layout,
        shard: int,
        address: str,
        identity: Identity | None,
        is_waiting: bool = True,
    ) -> None:
        """Open a channel; it connects at the first call.

        Args:
            identity: whose certificate to show; None talks without TLS.
            is_waiting: calls wait, until their deadline, for a shard that cannot be reached. Where
                it may have moved, they fail at once instead, so that it is looked up.
        """
        self.address = address
        self._layout = layout
        self._is_waiting = is_waiting
        owned = layout.slices[shard]
        self._num_parameters = owned.stop - owned.start
        options: list[tuple[str, Any]] = [*_OPTIONS, *wire.channel_options(layout.slices)]
        if identity is None:
            self._channel = grpc.insecure_channel(address, options)
        else:
            # The certificate names the shard, which keeps its name when its address changes.
            options = [*options, ("grpc.ssl_target_name_override", identity.server_name(shard))]
            self._channel = grpc.secure_channel(address, identity.channel_credentials(), options)
        # Of the process, whose name is empty, as its request is. (gRPC's own way to wait for a
        # channel leaves a thread behind, which fails when the channel is closed.)
        self._check_health: Any = self._channel.unary_unary("/grpc.health.v1.Health/Check")
        makers: Any = {
            (False, False): self._channel.unary_unary,
            (False, True): self._channel.unary_stream,
            (True, False): self._channel.stream_unary,
            (True, True): self._channel.stream_stream,
        }
        self._methods: dict[str, Any] = {
            name: makers[method.client_streaming, method.server_streaming](
                f"/{wire.SERVICE}/{name}"
            )
            for name, method in wire.METHODS.items()
        }

    def wait_until_reached(self, timeout_s: float) -> bool:
        """Tell whether anything at the address answered a health check within the time."""
        try:
            self._check_health(b"", timeout=timeout_s, wait_for_ready=True)
        except grpc.RpcError as error:
            return error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED
        return True

    def describe(self, timeout_s: float) -> ShardDescription:
        data = self._ask("Describe", messages.DescribeRequest().SerializeToString(), timeout_s)
        return wire.unpack_description(messages.DescribeResponse.FromString(data))

    def initialize(self, values: FlatVector, timeout_s: float) -> int:
        """Give the shard the first values of its slice, and get the epoch."""
        first = messages.InitializeRequest(
            layout_sha256=self._layout.sha256,
            values_sha256=hashlib.sha256(wire.pack(values)).digest(),
        )
        data = self._ask("Initialize", _stream(first, values), timeout_s)
        return int(messages.InitializeResponse.FromString(data).epoch)

    def checkpoint(self, timeout_s: float) -> int:
        """Have a checkpoint written, and get its version."""
        request = messages.CheckpointRequest().SerializeToString()
        data = self._ask("Checkpoint", request, timeout_s)
        return int(messages.CheckpointResponse.FromString(data).version)

    def pull(self, known: tuple[int, int] | None, timeout_s: float) -> Answer:
        """Read the slice, unless it still stands where the caller does: known (epoch, version)."""
        request = messages.PullRequest()
        if known is not None:
            request.known_epoch, request.known_version = known
        data = request.SerializeToString()
        kind = messages.PullResponse
        if wire.is_whole(self._num_parameters):
            response, values = self._read_whole(self._ask("Pull", data, timeout_s), kind)
        else:
            stream = self._ask("PullPieces", data, timeout_s)
            response, values = self._read_pieces(stream, kind)
        if response.is_not_modified:
            return Answer(response.epoch, response.version, None)
        return Answer(response.epoch, response.version, self._checked(values))

    def push(self, push: Push, wants_values: bool, timeout_s: float) -> Answer:
        """Send the slice's part of a gradient."""
        request = messages.PushRequest(
            replica=push.replica,
            sequence=push.sequence,
            incarnation=push.incarnation,
            base_version=push.base_version,
            wants_values=wants_values,
            sample_version=push.sample_version,
        )
        kind = messages.PushResponse
        if wire.is_whole(self._num_parameters):
            data = self._ask("Push", wire.join(request, push.gradient), timeout_s)
            response, values = self._read_whole(data, kind)
        else:
            stream = self._ask("PushPieces", _stream(request, push.gradient), timeout_s)
            response, values = self._read_pieces(stream, kind)
        answer = PushAnswer(
            response.version,
            response.updates,
            response.staleness,
            response.sample_staleness,
            response.is_repeated,
        )
        if not wants_values:
            return Answer(response.epoch, response.version, None, answer)
        checked = self._checked(values)
        return Answer(response.epoch, response.values_version, checked, answer)

    def close(self) -> None:
        """Close the channel; calls under way fail."""
        self._channel.close()

    def _ask(self, method: str, request: Any, timeout_s: float) -> Any:
        return self._methods[method](request, timeout=timeout_s, wait_for_ready=self._is_waiting)

    def _read_whole(self, data: bytes, kind: type[Any]) -> tuple[Any, FlatVector]:
        response, values = wire.split(data, kind)
        return response, wire.unpack(values)

    def _read_pieces(self, stream: Iterable[bytes], kind: type[Any]) -> tuple[Any, FlatVector]:
        received = iter(stream)
        try:
            response, first = wire.split(next(received), kind)
        except StopIteration:
            raise UnexpectedStatus(f"{self.address} ended its answer before it began") from None
        if not first:
            for _ in received:
                pass  # the status comes at the end
            return response, wire.unpack(first)
        values = np.empty(self._num_parameters, np.float32)
        wire.assemble(_chain(first, received, kind), values, f"values of {self.address}")
        values.flags.writeable = False
        return response, values

    def _checked(self, values: FlatVector) -> FlatVector:
        if len(values) != self._num_parameters:
            raise UnexpectedStatus(
                f"{self.address} gave {len(values)} values: must be {self._num_parameters}; is it "
                "a shard of another search?"
            )
        return values


def _stream(first: Any, vector: FlatVector) -> Iterator[bytes]:
    message = first
    for piece in wire.pieces_of(vector):
        yield wire.join(message, piece)
        message = type(first)()


def _chain(first: memoryview, received: Iterator[bytes], kind: type[Any]) -> Iterator[memoryview]:
    yield first
    for data in received:
        yield wire.split(data, kind)[1]
