"""How a shard at an address is doing, asked from outside without knowing the search."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from ps import wire
from ps.credentials import Identity
from ps.description import ShardDescription
from ps.rpc import parameter_shard_pb2 as messages
from ps.rpc import parameter_shard_pb2_grpc as rpc


@dataclass(frozen=True)
class ShardStatus:
    """What grpc.health.v1 and Describe answered at an address.

    health is SERVING, NOT_SERVING or UNKNOWN as the shard says, or UNREACHABLE when nothing, or
    something that is not a shard, answered. Where the description is None, reason says why.
    """

    address: str
    health: str
    description: ShardDescription | None
    reason: str = ""


def read_status(
    address: str,
    timeout_s: float = 2.0,
    identity: Identity | None = None,
    shard: int = 0,
) -> ShardStatus:
    """Ask the shard at host:port for its health and description; never raises for its silence.

    identity: whose certificate to show, to the shard of this number; None asks without TLS.
    """
    options: list[tuple[str, Any]] = [("grpc.enable_http_proxy", 0)]
    if identity is None:
        opened = grpc.insecure_channel(address, options)
    else:
        options.append(("grpc.ssl_target_name_override", identity.server_name(shard)))
        opened = grpc.secure_channel(address, identity.channel_credentials(), options)
    with opened as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(service=wire.SERVICE), timeout=timeout_s
            )
        except grpc.RpcError as error:
            return ShardStatus(address, "UNREACHABLE", None, _reason(error))
        health = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
        try:
            described = rpc.ParameterShardStub(channel).Describe(
                messages.DescribeRequest(), timeout=timeout_s
            )
        except grpc.RpcError as error:
            # Health has threads of its own: a busy shard answers it, and this one late.
            return ShardStatus(address, health, None, _reason(error))
    return ShardStatus(address, health, wire.unpack_description(described))


def _reason(error: grpc.RpcError) -> str:
    return f"{error.code().name}: {error.details()}"
