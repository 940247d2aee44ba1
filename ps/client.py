"""Pull and push across all shards at once: deadlines, resends, status codes → errors."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import grpc
import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from ps import wire
from ps.description import ShardDescription
from ps.errors import ERRORS, InvalidRequest, ShardError, ShardUnavailable, UnexpectedStatus
from ps.layout import FlatVector, Layout
from ps.push import PushAnswer
from ps.rpc import parameter_shard_pb2 as messages
from ps.rpc import parameter_shard_pb2_grpc as rpc

logger = logging.getLogger(__name__)

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
    ("grpc.enable_retries", 0),  # resends are this module's business alone
]


class ClientSettings(BaseModel):
    """How long a replica waits for the shards, and how often it asks again."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    pull_timeout_s: float = Field(
        10.0, gt=0, le=3600, description="One attempt at Pull or Describe."
    )
    push_timeout_s: float = Field(
        15.0, gt=0, le=3600, description="One attempt at Push or Initialize."
    )
    max_attempts: int = Field(4, ge=1, le=30, description="Attempts at a call before it fails.")
    backoff_s: float = Field(
        0.2, gt=0, le=10, description="Wait before the second attempt; it doubles."
    )


@dataclass(frozen=True)
class Pulled:
    """All parameters, (P,) float32, and the version of each shard's slice of them.

    The slices may be of different versions: that is the asynchrony of the method.
    """

    values: FlatVector
    versions: tuple[int, ...]


class ShardClient:
    """A connection to all shards of a search.

    Every call goes to all shards at once, each under a deadline. What met no answer is sent again,
    after a growing, jittered wait, and under the same name. Channels are opened at the first call,
    so that a client may exist before a fork until then; pickled, it travels without them.

    Threads: one at a time. Repeats: all calls are safe to repeat.
    """

    def __init__(self, layout: Layout, addresses: Sequence[str], settings: ClientSettings) -> None:
        """Remember where shard i listens: at addresses[i], host:port.

        Raises:
            ValueError: not one address for each shard.
        """
        if len(addresses) != layout.num_shards:
            raise ValueError(f"addresses={addresses}: must be {layout.num_shards}, one a shard")
        self._layout = layout
        self._addresses = tuple(addresses)
        self._settings = settings
        self._channels: list[grpc.Channel] = []
        self._stubs: list[rpc.ParameterShardStub] = []

    def describe(self) -> tuple[ShardDescription, ...]:
        """Ask every shard what it is and where it stands."""
        requests = [messages.DescribeRequest()] * self._layout.num_shards
        responses = self._call("Describe", requests, self._settings.pull_timeout_s)
        return tuple(wire.unpack_description(r) for r in responses)

    def initialize(self, values: FlatVector) -> None:
        """Give every shard its slice of the first values, (P,) float32.

        Raises:
            InitializedOtherwise: a shard holds the values of another search or layout.
        """
        requests = [
            messages.InitializeRequest(layout_sha256=self._layout.sha256, values=data)
            for data in self._cut("values", values)
        ]
        self._call("Initialize", requests, self._settings.push_timeout_s)

    def pull(self) -> Pulled:
        """Read all parameters.

        Raises:
            NotInitialized: a shard holds no values.
        """
        requests = [messages.PullRequest()] * self._layout.num_shards
        responses = self._call("Pull", requests, self._settings.pull_timeout_s)
        return Pulled(
            values=np.concatenate([wire.unpack(r.values) for r in responses]),
            versions=tuple(r.version for r in responses),
        )

    def push(
        self,
        replica: int,
        incarnation: int,
        sequence: int,
        base_versions: Sequence[int],
        gradient: FlatVector,
    ) -> tuple[PushAnswer, ...]:
        """Send every shard its slice of a gradient, (P,) float32, of the loss to minimize.

        base_versions are those of the pull that the gradient was computed at.

        Returns:
            The answer of every shard, when all have acknowledged.

        Raises:
            ShardUnavailable: a shard did not answer; others may have applied their part, so the
                push must be sent again under the same name, or the search has to end.
            InvalidRequest, NotInitialized, OutOfSequence, PastIncarnation: see `ps.errors`.
        """
        requests = [
            messages.PushRequest(
                replica=replica,
                sequence=sequence,
                incarnation=incarnation,
                base_version=version,
                gradient=data,
            )
            for version, data in zip(base_versions, self._cut("gradient", gradient), strict=True)
        ]
        return tuple(
            PushAnswer(r.version, r.updates, r.staleness, r.is_repeated)
            for r in self._call("Push", requests, self._settings.push_timeout_s)
        )

    def close(self) -> None:
        """Close the channels; calls under way fail."""
        for channel in self._channels:
            channel.close()

    def __enter__(self) -> ShardClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, object]:
        """Travel without channels; they are opened anew on arrival."""
        return self.__dict__ | {"_channels": [], "_stubs": []}

    def _cut(self, name: str, vector: FlatVector) -> list[bytes]:
        if vector.shape != (self._layout.num_parameters,):
            raise InvalidRequest(
                f"{name}.shape={vector.shape}: must be ({self._layout.num_parameters},)"
            )
        return [wire.pack(vector[owned]) for owned in self._layout.slices]

    def _call(self, method: str, requests: Sequence[Any], timeout_s: float) -> list[Any]:
        """Make one call to every shard; give the responses in the order of the shards."""
        self._open()
        responses: dict[int, Any] = {}
        for attempt in range(1, self._settings.max_attempts + 1):
            calls = {
                shard: getattr(stub, method).future(
                    requests[shard], timeout=timeout_s, wait_for_ready=True
                )
                for shard, stub in enumerate(self._stubs)
                if shard not in responses
            }
            failed: dict[int, grpc.RpcError] = {}
            for shard, call in calls.items():
                try:
                    responses[shard] = call.result()
                except grpc.RpcError as error:
                    if _kind(error) is not ShardUnavailable:
                        self._raise(error, shard, method, timeout_s, attempt)
                    failed[shard] = error
            if not failed:
                break
            if attempt == self._settings.max_attempts:
                shard, last_error = next(iter(failed.items()))
                self._raise(last_error, shard, method, timeout_s, attempt)
            # Jitter keeps replicas that failed together from coming back together.
            time.sleep(self._settings.backoff_s * 2 ** (attempt - 1) * random.uniform(0.5, 1.5))  # noqa: S311 (not a secret)
        if attempt > 1:
            logger.warning("%s was answered by all shards at attempt %d", method, attempt)
        return [responses[shard] for shard in range(self._layout.num_shards)]

    def _raise(
        self, error: grpc.RpcError, shard: int, method: str, timeout_s: float, attempts: int
    ) -> NoReturn:
        kind = _kind(error)
        where = f"shard {shard} of {self._layout.num_shards} at {self._addresses[shard]}"
        if kind is ShardUnavailable:
            raise ShardUnavailable(
                f"{where}: no answer to {method} within {timeout_s} s, {attempts} attempts "
                f"({error.code().name}: {error.details()}); is it up? `nasrl shards`"
            ) from error
        if kind is UnexpectedStatus:
            raise UnexpectedStatus(
                f"{where}: {method} ended with {error.code().name}: {error.details()}"
            ) from error
        raise kind(f"{where}: {error.details()}") from error

    def _open(self) -> None:
        if self._stubs:
            return
        for address, owned in zip(self._addresses, self._layout.slices, strict=True):
            limits = wire.message_limits(owned.stop - owned.start)
            channel = grpc.insecure_channel(address, [*_OPTIONS, *limits])
            self._channels.append(channel)
            self._stubs.append(rpc.ParameterShardStub(channel))


def _kind(error: grpc.RpcError) -> type[ShardError]:
    return ERRORS.get(error.code(), UnexpectedStatus)
