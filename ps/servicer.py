"""The RPCs of a shard: unpack the message, call the store, pack the answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import NoReturn

import grpc

from ps import wire
from ps.errors import STATUS, ShardError
from ps.push import Push
from ps.rpc import parameter_shard_pb2 as messages
from ps.rpc import parameter_shard_pb2_grpc as rpc
from ps.store import Store


class ParameterShardServicer(rpc.ParameterShardServicer):
    """Serves one store. Threads: as many as the server has; the store locks."""

    def __init__(self, store: Store, on_initialized: Callable[[], None]) -> None:
        """Serve the store; on_initialized is called whenever it has been given its values."""
        self._store = store
        self._on_initialized = on_initialized

    def Describe(
        self, request: messages.DescribeRequest, context: grpc.ServicerContext
    ) -> messages.DescribeResponse:
        return messages.DescribeResponse(**asdict(self._store.describe()))

    def Initialize(
        self, request: messages.InitializeRequest, context: grpc.ServicerContext
    ) -> messages.InitializeResponse:
        try:
            version = self._store.initialize(request.layout_sha256, wire.unpack(request.values))
        except ShardError as error:
            _abort(context, error)
        self._on_initialized()
        return messages.InitializeResponse(version=version)

    def Pull(
        self, request: messages.PullRequest, context: grpc.ServicerContext
    ) -> messages.PullResponse:
        try:
            version, values = self._store.pull()
        except ShardError as error:
            _abort(context, error)
        return messages.PullResponse(version=version, values=wire.pack(values))

    def Push(
        self, request: messages.PushRequest, context: grpc.ServicerContext
    ) -> messages.PushResponse:
        try:
            answer = self._store.push(
                Push(
                    replica=request.replica,
                    sequence=request.sequence,
                    incarnation=request.incarnation,
                    base_version=request.base_version,
                    gradient=wire.unpack(request.gradient),
                )
            )
        except ShardError as error:
            _abort(context, error)
        return messages.PushResponse(**asdict(answer))


def _abort(context: grpc.ServicerContext, error: ShardError) -> NoReturn:
    context.abort(STATUS[type(error)], str(error))
    raise AssertionError("abort does not return")
