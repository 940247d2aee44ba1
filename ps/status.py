"""How a shard at an address is doing, asked from outside without knowing the search."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from ps import wire
from ps.credentials import Identity, role_of
from ps.description import ShardDescription
from ps.rpc import parameter_shard_pb2 as messages
from ps.rpc import parameter_shard_pb2_grpc as rpc

# What stands somewhere in gRPC's 200 characters about a connection that failed, and what it means.
_MEANINGS = {
    "Connection refused": "nothing listens there",
    "WRONG_VERSION_NUMBER": "it listens without TLS, and was asked with the search's certificates",
    "Hostname Verification Check failed": "it shows the certificate of another shard",
    "CERTIFICATE_VERIFY_FAILED": "it shows the certificate of another search",
    "Socket closed": "it ends the connection; if it has TLS, it must be asked with certificates of "
    "its search",
}


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
    shard: int | None = None,
) -> ShardStatus:
    """Ask the shard at host:port for its health and description; never raises for its silence.

    identity: whose certificate to show, to the shard of this number, or to whichever of the run
    listens there; None asks without TLS.
    """
    if identity is not None and shard is None:
        try:
            shard = _shard_at(address, identity, timeout_s)
        except (OSError, ValueError) as error:
            return ShardStatus(address, "UNREACHABLE", None, f"UNAVAILABLE: {_meaning(str(error))}")
    options: list[tuple[str, Any]] = [("grpc.enable_http_proxy", 0)]
    if identity is None:
        opened = grpc.insecure_channel(address, options)
    else:
        assert shard is not None, "it was found out above"
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


def _shard_at(address: str, identity: Identity, timeout_s: float) -> int:
    name = identity.name_at(address, timeout_s)
    role, shard = role_of(name.partition(".")[0])
    if role != "shard" or shard is None:
        raise ValueError(f"it shows the certificate of {name}, which is no shard")
    return shard


def _reason(error: grpc.RpcError) -> str:
    return f"{error.code().name}: {_meaning(error.details() or '')}"


def _meaning(said: str) -> str:
    return next((meaning for sign, meaning in _MEANINGS.items() if sign in said), said)
