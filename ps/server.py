"""One shard's server: binds an address, answers RPCs and health checks, drains."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import grpc
from pydantic import BaseModel, ConfigDict, Field

from ps import wire
from ps.description import ShardDescription
from ps.health import ShardHealth
from ps.layout import Layout
from ps.rpc import parameter_shard_pb2_grpc as rpc
from ps.servicer import ParameterShardServicer
from ps.store import OptimizerSettings, Store


class ServerSettings(BaseModel):
    """Where a shard listens and how much it takes at a time."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    num_threads: int = Field(
        16, ge=1, le=1000, description="Pull and Push that run at the same time."
    )
    drain_timeout_s: float = Field(
        10.0, gt=0, le=3600, description="For calls in flight at the end."
    )


# On the clients' side the same options stand in `ps.client`.
_OPTIONS = [
    # On by default, it lets a shard that should be dead and its replacement share a port.
    ("grpc.so_reuseport", 0),
    # Replicas are silent for minutes while children train; their pings are welcome.
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 10_000),
]


class ShardServer:
    """One shard, answering on a loopback address from construction until `close`.

    Its health (`ps.health`) is SERVING from the moment it holds values until it drains.
    """

    def __init__(
        self,
        layout: Layout,
        shard: int,
        optimizer: OptimizerSettings,
        settings: ServerSettings,
        address: str = "127.0.0.1:0",
        interceptors: Sequence[grpc.ServerInterceptor] = (),
    ) -> None:
        """Bind and serve.

        Args:
            address: host:port to listen on; port 0 takes a free one.
            interceptors: wrapped around every call, outermost first.

        Raises:
            OSError: the address cannot be bound.
        """
        self._settings = settings
        self._store = Store(layout, shard, optimizer)
        self._health = ShardHealth(shard)
        self._threads = ThreadPoolExecutor(settings.num_threads, f"shard-{shard}")
        owned = layout.slices[shard]
        self._server = grpc.server(
            self._threads,
            interceptors=list(interceptors),
            options=[*_OPTIONS, *wire.message_limits(owned.stop - owned.start)],
        )
        rpc.add_ParameterShardServicer_to_server(
            ParameterShardServicer(self._store, self._health.serve), self._server
        )
        self._health.add_to(self._server)
        try:
            port = self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise OSError(f"shard {shard}: cannot listen on {address}: {error}") from error
        self.address = f"{address.rpartition(':')[0]}:{port}"
        self._server.start()

    def describe(self) -> ShardDescription:
        """Give what the shard's Describe RPC answers."""
        return self._store.describe()

    def close(self) -> None:
        """Drain: report NOT_SERVING, take nothing new, finish what runs, then stop."""
        self._health.drain()
        self._server.stop(self._settings.drain_timeout_s).wait()
        self._threads.shutdown()
        self._health.close()

    def __enter__(self) -> ShardServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
