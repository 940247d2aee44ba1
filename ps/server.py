"""One shard's server: binds an address, answers RPCs and health checks, drains."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from pydantic import BaseModel, ConfigDict, Field

from ps import wire
from ps.layout import Layout
from ps.rpc import parameter_shard_pb2_grpc as rpc
from ps.servicer import ParameterShardServicer
from ps.store import OptimizerSettings, ShardDescription, Store

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class ServerSettings(BaseModel):
    """Where a shard listens and how much it takes at a time."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    num_threads: int = Field(
        16, ge=1, strict=True, description="Pull and Push that run at the same time."
    )
    drain_timeout_s: float = Field(10.0, gt=0, description="For calls in flight at the end.")


_MAX_WATCHERS = 8

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

    Health (grpc.health.v1): the process ("") is SERVING while it answers; the service
    nasrl.ps.v1.ParameterShard only while it holds values, so that Pull and Push can succeed. Both
    are NOT_SERVING from the start of a drain. Health has threads of its own: a busy shard is
    not taken for a dead one. Watch holds one of 8; Check is answered however many watch.
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
        self._health_threads = ThreadPoolExecutor(2, f"shard-{shard}-health")
        self._watch_threads = ThreadPoolExecutor(_MAX_WATCHERS, f"shard-{shard}-watch")
        self._health = health.HealthServicer()
        self._health.Check = _on_threads(self._health_threads, self._health.Check)
        self._health.Watch = _on_threads(self._watch_threads, self._health.Watch)
        self._health.set("", SERVING)
        self._health.set(wire.SERVICE, NOT_SERVING)
        self._threads = ThreadPoolExecutor(settings.num_threads, f"shard-{shard}")
        owned = layout.slices[shard]
        self._server = grpc.server(
            self._threads,
            interceptors=list(interceptors),
            options=[*_OPTIONS, *wire.message_limits(owned.stop - owned.start)],
        )
        rpc.add_ParameterShardServicer_to_server(
            ParameterShardServicer(self._store, lambda: self._health.set(wire.SERVICE, SERVING)),
            self._server,
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
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
        self._health.enter_graceful_shutdown()
        self._server.stop(self._settings.drain_timeout_s).wait()
        self._threads.shutdown()
        self._health_threads.shutdown()
        self._watch_threads.shutdown()

    def __enter__(self) -> ShardServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _on_threads(threads: ThreadPoolExecutor, method: Any) -> Any:
    """Give the method marked so that gRPC runs it on these threads, not on the server's.

    HealthServicer can mark its Watch, not its Check, and does so for all servers of the process.
    Its way to watch without holding a thread (experimental_non_blocking) is not taken: it waits for
    gRPC's thread with its lock held, while that thread, at the end of a stream, waits for the lock.
    """
    marked: Any = partial(method)
    marked.experimental_thread_pool = threads
    return marked
