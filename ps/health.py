"""The health of one shard, as grpc.health.v1 tells it, and its schema, by reflection."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from ps import wire

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING

_MAX_WATCHERS = 8


class ShardHealth:
    """Health of the process ("") and of the service nasrl.ps.v1.ParameterShard.

    The process is SERVING while it answers; the service only from `serve` on. Both are NOT_SERVING
    after `drain`. Health has threads of its own, so that a busy shard is not taken for a dead
    one. Watch holds one of 8; Check is answered however many watch.

    Threads: may be called from many.
    """

    def __init__(self, shard: int) -> None:
        self._check_threads = ThreadPoolExecutor(2, f"shard-{shard}-health")
        self._watch_threads = ThreadPoolExecutor(_MAX_WATCHERS, f"shard-{shard}-watch")
        self._lock = threading.Lock()
        # Both are guarded by the lock.
        self._watchers: set[Any] = set()
        self._is_draining = False
        self._has_begun = False
        self._servicer = health.HealthServicer()
        self._servicer.Check = _on_threads(self._check_threads, self._servicer.Check)
        self._servicer.Watch = _on_threads(
            self._watch_threads, partial(self._watch, self._servicer.Watch)
        )
        self._servicer.set("", SERVING)
        self._servicer.set(wire.SERVICE, NOT_SERVING)

    def add_to(self, server: grpc.Server) -> None:
        """Have the server answer grpc.health.v1 and grpc.reflection.v1alpha."""
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)
        names = (wire.SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
        schema: Any = reflection.ReflectionServicer(names)
        schema.ServerReflectionInfo = _on_threads(self._watch_threads, schema.ServerReflectionInfo)
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(schema, server)

    @property
    def is_serving(self) -> bool:
        """Whether Pull and Push can succeed."""
        return self._has_begun and not self._is_draining

    def serve(self) -> None:
        """Say from now on that Pull and Push can succeed."""
        self._has_begun = True
        self._servicer.set(wire.SERVICE, SERVING)

    def drain(self) -> None:
        """Say NOT_SERVING from now on, and end every Watch with that as its last word."""
        self._servicer.enter_graceful_shutdown()
        with self._lock:
            self._is_draining = True
            watchers = list(self._watchers)
        for watcher in watchers:
            watcher.close()

    def close(self) -> None:
        """Stop the threads, once the server has stopped."""
        self._check_threads.shutdown()
        self._watch_threads.shutdown()

    def _watch(self, watch: Any, request: Any, context: grpc.ServicerContext) -> Any:
        watcher = watch(request, context)
        with self._lock:
            self._watchers.add(watcher)
            is_late = self._is_draining
        if is_late or not context.add_callback(lambda: self._forget(watcher)):
            watcher.close()
            self._forget(watcher)
        return watcher

    def _forget(self, watcher: Any) -> None:
        with self._lock:
            self._watchers.discard(watcher)


def _on_threads(threads: ThreadPoolExecutor, method: Any) -> Any:
    """Give the method marked so that gRPC runs it on these threads, not on the server's.

    HealthServicer can mark its Watch, not its Check, and does so for all servers of the process.
    Its way to watch without holding a thread (experimental_non_blocking) is not taken: it waits for
    gRPC's thread with its lock held, while that thread, at the end of a stream, waits for the lock.
    """
    marked: Any = partial(method)
    marked.experimental_thread_pool = threads
    return marked
