"""The RPCs of a shard: unpack the message, call the shard, pack the answer."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import grpc
import numpy as np

from ps import wire
from ps.credentials import Permissions, peer_name
from ps.errors import STATUS, InvalidRequest, NotPermitted, ShardError, ShardUnavailable
from ps.layout import FlatVector
from ps.metrics import ShardMetrics
from ps.plan import ShardPlan
from ps.push import Push, PushAnswer
from ps.rpc import parameter_shard_pb2 as messages
from ps.shard import Shard

MAX_TIMEOUT_S = 3600.0
MAX_BUFFERS = 8  # vectors being put together from pieces, each as long as the slice


class ParameterShardServicer:
    """Serves one shard from the moment it is there.

    Messages arrive and leave as bytes: `ps.wire` cuts vectors out of them without copies.

    Threads: as many as the server has.
    """

    def __init__(
        self,
        plan: ShardPlan,
        num_calls: int,
        permissions: Permissions,
        metrics: ShardMetrics,
        on_initialized: Callable[[], None],
    ) -> None:
        """Turn every call away until there is a shard.

        Args:
            num_calls: pulls and pushes that are taken at a time; more are turned away.
            on_initialized: is called whenever the shard has been given its values.
        """
        self.shard: Shard | None = None
        self._plan = plan
        self._num_calls = num_calls
        self._permissions = permissions
        self._metrics = metrics
        self._on_initialized = on_initialized
        self._lock = threading.Lock()
        # All guarded by the lock.
        self._num_active = 0
        self._buffers: list[FlatVector] = []
        self._num_buffers = 0
        metrics.watch_calls(lambda: self._num_active)

    def handler(self) -> grpc.GenericRpcHandler:
        """Give what a server needs to answer the calls of `nasrl.ps.v1.ParameterShard`."""
        handlers: dict[str, Any] = {}
        for name, method in wire.METHODS.items():
            make = _MAKERS[method.client_streaming, method.server_streaming]
            handlers[name] = make(getattr(self, name))
        return grpc.method_handlers_generic_handler(wire.SERVICE, handlers)

    def Describe(self, data: bytes, context: grpc.ServicerContext) -> bytes:
        with self._call(context, "Describe", is_counted=False) as shard:
            return wire.pack_description(shard.describe()).SerializeToString()

    def Initialize(self, stream: Iterable[bytes], context: grpc.ServicerContext) -> bytes:
        with self._call(context, "Initialize") as shard, self._buffer() as values:
            _check_deadline(context, "Initialize")
            first, pieces = _begin(stream, messages.InitializeRequest)
            wire.assemble(pieces, values, f"values for {self._plan.who}")
            version = shard.initialize(first.layout_sha256, first.values_sha256, values)
            self._on_initialized()
            return messages.InitializeResponse(
                version=version, epoch=shard.epoch
            ).SerializeToString()

    def Pull(self, data: bytes, context: grpc.ServicerContext) -> bytes:
        with self._call(context, "Pull") as shard:
            self._check_whole("Pull")
            answer: bytes = self._pull(shard, data, wire.join)
            return answer

    def PullPieces(self, data: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        with self._call(context, "PullPieces") as shard:
            answers = self._pull(shard, data, _join_pieces)
        yield from answers

    def Push(self, data: bytes, context: grpc.ServicerContext) -> bytes:
        with self._call(context, "Push", is_permitted_later=True) as shard:
            self._check_whole("Push")
            request, gradient = wire.split(data, messages.PushRequest)
            vector = wire.unpack(gradient)
            answer: bytes = self._push(context, "Push", shard, request, vector, wire.join)
            return answer

    def PushPieces(self, stream: Iterable[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        with (
            self._call(context, "PushPieces", is_permitted_later=True) as shard,
            self._buffer() as gradient,
        ):
            _check_deadline(context, "PushPieces")
            request, pieces = _begin(stream, messages.PushRequest)
            self._check_permitted(context, "PushPieces", request.replica)
            wire.assemble(pieces, gradient, f"gradient for {self._plan.who}")
            answers = self._push(context, "PushPieces", shard, request, gradient, _join_pieces)
        yield from answers

    def Checkpoint(self, data: bytes, context: grpc.ServicerContext) -> bytes:
        with self._call(context, "Checkpoint", is_counted=False) as shard:
            version = shard.checkpoint()
            return messages.CheckpointResponse(
                version=version, epoch=shard.epoch
            ).SerializeToString()

    def _pull(self, shard: Shard, data: bytes, join: Callable[[Any, FlatVector], Any]) -> Any:
        request, _ = wire.split(data, messages.PullRequest)
        known = None
        if request.HasField("known_version") and request.known_epoch == shard.epoch:
            known = request.known_version

        def read(version: int, values: FlatVector) -> Any:
            return join(messages.PullResponse(version=version, epoch=shard.epoch), values)

        answer = shard.pull(read, known)
        if answer is not None:
            return answer
        same = messages.PullResponse(version=known, epoch=shard.epoch, is_not_modified=True)
        return join(same, _NOTHING)

    def _push(
        self,
        context: grpc.ServicerContext,
        method: str,
        shard: Shard,
        request: messages.PushRequest,
        gradient: FlatVector,
        join: Callable[[Any, FlatVector], Any],
    ) -> Any:
        self._check_permitted(context, method, request.replica)
        push = Push(
            request.replica,
            request.sequence,
            request.incarnation,
            request.base_version,
            gradient,
            request.sample_version if request.HasField("sample_version") else None,
        )
        wants_values, epoch = request.wants_values, shard.epoch

        def read(answer: PushAnswer, version: int, values: FlatVector) -> Any:
            response = messages.PushResponse(
                version=answer.version,
                updates=answer.updates,
                staleness=answer.staleness,
                sample_staleness=answer.sample_staleness,
                is_repeated=answer.is_repeated,
                epoch=epoch,
                values_version=version if wants_values else 0,
            )
            return join(response, values if wants_values else _NOTHING)

        return shard.push(push, read)

    @contextmanager
    def _call(
        self,
        context: grpc.ServicerContext,
        method: str,
        *,
        is_counted: bool = True,
        is_permitted_later: bool = False,
    ) -> Iterator[Shard]:
        """Give the shard for one call; end the call with a status if it is refused."""
        try:
            if not is_permitted_later:
                self._check_permitted(context, method)
            shard = self.shard
            if shard is None:
                raise ShardUnavailable(f"{self._plan.who} is recovering its state; send it again")
            if is_counted:
                self._enter()
            try:
                yield shard
            finally:
                if is_counted:
                    with self._lock:
                        self._num_active -= 1
        except ShardError as error:
            _abort(context, error)

    def _enter(self) -> None:
        with self._lock:
            if self._num_active < self._num_calls:
                self._num_active += 1
                return
        self._metrics.turned_away()
        raise ShardUnavailable(
            f"{self._plan.who} is busy with {self._num_calls} calls, as many as it takes; "
            "send it again"
        )

    @contextmanager
    def _buffer(self) -> Iterator[FlatVector]:
        """Give a vector as long as the slice, whose memory is used again."""
        with self._lock:
            if self._buffers:
                buffer = self._buffers.pop()
            elif self._num_buffers < MAX_BUFFERS:
                buffer = np.empty(self._plan.num_parameters, np.float32)
                self._num_buffers += 1
            else:
                raise ShardUnavailable(
                    f"{self._plan.who} is taking in {MAX_BUFFERS} vectors, as many as it takes; "
                    "send it again"
                )
        try:
            yield buffer
        finally:
            with self._lock:
                self._buffers.append(buffer)

    def _check_permitted(
        self, context: grpc.ServicerContext, method: str, replica: int | None = None
    ) -> None:
        if self._permissions.run is None:
            return
        refusal = self._permissions.refusal(peer_name(context), method, replica)
        if refusal is not None:
            raise NotPermitted(refusal)

    def _check_whole(self, method: str) -> None:
        if not wire.is_whole(self._plan.num_parameters):
            raise InvalidRequest(
                f"{method}: {self._plan.who} owns {self._plan.num_parameters} parameters: must be "
                f"at most {wire.WHOLE_BYTES // 4} to travel whole; call {method}Pieces"
            )


_NOTHING = np.empty(0, np.float32)

_MAKERS = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}


def _join_pieces(message: Any, vector: FlatVector) -> list[bytes]:
    first, *others = wire.pieces_of(vector)
    return [wire.join(message, first), *(wire.join(type(message)(), other) for other in others)]


def _begin(stream: Iterable[bytes], kind: type[Any]) -> tuple[Any, Iterator[memoryview]]:
    """Give the first message of a stream, and the pieces of the vector in all of them."""
    received = iter(stream)
    try:
        message, first = wire.split(next(received), kind)
    except StopIteration:
        raise InvalidRequest(f"no {kind.__name__} in the stream: must be one or more") from None

    def pieces() -> Iterator[memoryview]:
        yield first
        for data in received:
            yield wire.split(data, kind)[1]

    return message, pieces()


def _check_deadline(context: grpc.ServicerContext, method: str) -> None:
    """Return if a call that holds a buffer lets go of it some day."""
    if context.time_remaining() > MAX_TIMEOUT_S:
        raise InvalidRequest(
            f"{method} without a deadline: must have one, at most {MAX_TIMEOUT_S:g} s away; until "
            "then the call may hold memory of the shard"
        )


def _abort(context: grpc.ServicerContext, error: ShardError) -> NoReturn:
    context.abort(STATUS[type(error)], str(error))
    raise AssertionError("abort does not return")
