"""One shard's server: binds an address, recovers, answers RPCs and health checks, drains."""

from __future__ import annotations

import errno
import logging
import socket
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, Self

import grpc
from pydantic import Field, field_validator, model_validator

from ps import wire
from ps.address import MAX_PORT, port_of
from ps.credentials import Identity, Permissions, is_loopback
from ps.description import ShardDescription
from ps.disk import Disk
from ps.errors import StateError
from ps.health import ShardHealth
from ps.metrics import ShardMetrics
from ps.metrics_page import MetricsPage
from ps.plan import ShardPlan
from ps.servicer import ParameterShardServicer
from ps.shard import Shard
from ps.storage import StorageSettings

logger = logging.getLogger(__name__)


_AUTO, _NODE, _LOOPBACK = "auto", "node", "127.0.0.1"


class ServerSettings(StorageSettings):
    """Where a shard listens, how much it takes at a time, and what its state survives."""

    addresses: tuple[str, ...] = Field(
        (),
        strict=False,
        description="Of shards that somebody else starts, one host:port for each; [] starts them "
        "with the search.",
    )
    host: str = Field(
        "auto",
        min_length=1,
        description="Address or name of the interface to listen on. node: each shard on the "
        "address of its node. auto: that where a search spans machines, else 127.0.0.1.",
    )
    port_base: int | None = Field(
        None, ge=1, le=MAX_PORT, description="Shard i listens on port_base + i; null: a free port."
    )
    tls: Literal["auto", "always"] = Field(
        "auto", description="auto: mutual TLS wherever host is not loopback. always: there, too."
    )
    insecure: bool = Field(
        False,
        description="Whether it listens without TLS where others can reach it, with a warning.",
    )
    num_calls: int = Field(
        64,
        ge=1,
        le=1000,
        description="Pulls and pushes at the same time; more are turned away, and come again.",
    )
    drain_timeout_s: float = Field(
        10.0,
        gt=0,
        le=3600,
        description="How long a shard that is told to stop waits for the calls it is answering.",
    )
    metrics_port_base: int | None = Field(
        None,
        ge=0,
        le=MAX_PORT,
        description="For Prometheus, on the same host: shard i has /metrics on metrics_port_base "
        "+ i; 0: on a free port; null: nowhere.",
    )

    @field_validator("addresses")
    @classmethod
    def _each_is_of_one_shard(cls, addresses: tuple[str, ...]) -> tuple[str, ...]:
        for index, address in enumerate(addresses):
            port_of(address)
            if address in addresses[:index]:
                raise ValueError(f"{address!r} is given twice; each shard has its own")
        return addresses

    @model_validator(mode="after")
    def _insecure_is_meant(self) -> Self:
        if self.insecure and self.tls == "always":
            raise ValueError("insecure=True and tls='always': must not both be asked for")
        return self

    @property
    def needs_tls(self) -> bool:
        """Whether shards and their callers need certificates."""
        return self.tls == "always" or (self.is_public and not self.insecure)

    @property
    def is_open_to_all(self) -> bool:
        """Whether others can reach the shards without a certificate."""
        return self.insecure and self.is_public

    def settled(self, *, is_spread: bool) -> Self:
        """Give the settings with host decided.

        Args:
            is_spread: whether the search spans machines.
        """
        if self.host != _AUTO:
            return self
        return self.model_copy(update={"host": _NODE if is_spread else _LOOPBACK})

    def address(self, shard: int, node: str = _LOOPBACK) -> str:
        """Give host:port for a shard to listen on; port 0 is any that is free.

        Args:
            node: the address of its node.
        """
        host = self.host_on(node)
        port = 0 if self.port_base is None else self.port_base + shard
        return f"{host}:{port}"

    def host_on(self, node: str = _LOOPBACK) -> str:
        """Give what to listen on, as it stands before a port.

        Args:
            node: the address of the node.
        """
        host = {_AUTO: _LOOPBACK, _NODE: node}.get(self.host, self.host)
        return f"[{host}]" if ":" in host and not host.startswith("[") else host

    def metrics_port(self, shard: int) -> int | None:
        """Give the port for a shard's metrics; 0 is any that is free, None is none."""
        base = self.metrics_port_base
        return base + shard if base else base

    @property
    def is_public(self) -> bool:
        """Whether other machines can reach the shards."""
        if not self.addresses and self.host == _NODE:
            return True
        return not all(map(is_loopback, self.addresses or [self.address(0)]))


# Threads beside those for num_calls: they describe, and turn others away.
_SPARE_THREADS = 4

# On the clients' side the same options stand in `ps.connection`.
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
    """One shard, answering from construction until `close`, or until its state fails it.

    Its health (`ps.health`) is SERVING from the moment it holds values until it drains; while it
    recovers it is NOT_SERVING, and calls are turned away.

    Threads: may be called from many.
    """

    def __init__(
        self,
        plan: ShardPlan,
        settings: ServerSettings,
        folder: Path | None = None,
        address: str = "127.0.0.1:0",
        identity: Identity | None = None,
        interceptors: Sequence[grpc.ServerInterceptor] = (),
        is_taking_over: bool = False,
        disk: Disk | None = None,
        search_id: str | None = None,
        metrics_port: int | None = None,
    ) -> None:
        """Bind, recover what is in the folder, and serve.

        Args:
            folder: of the shard's state; none is needed with `durability: none`.
            address: host:port to listen on; port 0 takes a free one.
            identity: the shard's certificate; None listens without TLS.
            interceptors: wrapped around every call, outermost first.
            is_taking_over: see `ps.epoch.Epoch.claim`.
            search_id: see `ps.remote_checkpoints.RemoteCheckpoints`.
            metrics_port: for Prometheus, on the same host; 0 takes a free one, None opens none.

        Raises:
            ValueError: others can reach the address, and there is neither TLS nor `insecure`.
            OSError: the address cannot be bound.
            StateError: the state in the folder cannot be used.
            ps.credentials.CredentialsError: a certificate cannot be read.
        """
        if identity is None and not is_loopback(address):
            if not settings.insecure:
                raise ValueError(
                    f"address={address}: others can reach it, so it must have TLS; give the "
                    "shard's certificates, or set insecure: true if nobody else is on that network"
                )
            logger.warning(
                "%s listens on %s without TLS: whoever reaches it can read and change the policy",
                plan.who,
                address,
            )
        self._who = plan.who
        self._settings = settings
        self._failure: StateError | None = None
        self._has_ended = threading.Event()
        self._lock = threading.Lock()
        self._is_closed = False  # guarded by the lock
        self.metrics = ShardMetrics(plan.shard)
        self._metrics_page: MetricsPage | None = None
        self._health = ShardHealth(plan.shard)
        self.metrics.watch_health(lambda: self._health.is_serving)
        self._threads = ThreadPoolExecutor(
            settings.num_calls + _SPARE_THREADS, f"shard-{plan.shard}"
        )
        self._servicer = ParameterShardServicer(
            plan,
            settings.num_calls,
            Permissions(None if identity is None else identity.run),
            self.metrics,
            self._health.serve,
        )
        self._server = grpc.server(
            self._threads,
            interceptors=list(interceptors),
            options=[*_OPTIONS, *wire.channel_options(plan.layout.slices)],
        )
        self._server.add_generic_rpc_handlers((self._servicer.handler(),))
        self._health.add_to(self._server)
        try:
            self.address = self._bind(plan, address, metrics_port, identity)
            self._server.start()
            self._shard = Shard(
                plan,
                settings,
                folder,
                metrics=self.metrics,
                on_end=self._end,
                is_taking_over=is_taking_over,
                disk=disk,
                search_id=search_id,
            )
        except BaseException:
            self._stop(0)
            raise
        self._servicer.shard = self._shard
        if self._shard.is_initialized:
            self._health.serve()

    def describe(self) -> ShardDescription:
        """Give what the shard's Describe RPC answers."""
        return self._shard.describe()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Return True when the shard was closed, False when the time was over before.

        Raises:
            StateError: the shard has ended by itself, and why; it answers nothing any more.
        """
        has_ended = self._has_ended.wait(timeout_s)
        if self._failure is not None:
            raise self._failure
        return has_ended

    def close(self) -> None:
        """Drain: report NOT_SERVING, take nothing new, finish what runs, then stop."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
        self._stop(self._settings.drain_timeout_s)
        self._shard.close()
        self._has_ended.set()
        if self._failure is None:
            logger.info("%s: drained, version %d", self._who, self._shard.version)

    def __enter__(self) -> ShardServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _bind(
        self, plan: ShardPlan, address: str, metrics_port: int | None, identity: Identity | None
    ) -> str:
        host, _, wanted = address.rpartition(":")
        bare_host = host.removeprefix("[").removesuffix("]")
        if wanted.isdigit():
            _check_bindable(address, bare_host, int(wanted))
        try:
            if identity is None:
                port = self._server.add_insecure_port(address)
            else:
                port = self._server.add_secure_port(address, identity.server_credentials())
        except RuntimeError as error:
            raise OSError(f"address {address}: cannot be listened on: {error}") from error
        if metrics_port is not None:
            try:
                page = MetricsPage(self.metrics.registry, host, metrics_port, identity)
            except OSError as error:
                raise _unbindable(f"metrics_port={metrics_port} at {host}", error) from error
            self._metrics_page, self.metrics.port = page, page.port
            logger.info("%s: metrics at %s/metrics", plan.who, page.address)
        return f"{host}:{port}"

    def _end(self, failure: StateError) -> None:
        self._failure = failure
        self._health.drain()
        self._has_ended.set()

    def _stop(self, drain_timeout_s: float) -> None:
        self._health.drain()
        self._server.stop(drain_timeout_s).wait()
        self._threads.shutdown()
        self._health.close()
        if self._metrics_page is not None:
            self._metrics_page.close()


def _check_bindable(address: str, host: str, port: int) -> None:
    """Return if a server can listen there. gRPC itself does not tell why it cannot."""
    failure: OSError | None = None
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise _unbindable(f"address {address}", error) from error
    for family, _, _, _, where in found:  # a name may have several; one is enough for gRPC
        try:
            with socket.socket(family) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(where)
        except OSError as error:
            failure = error
        else:
            return
    if failure is not None:
        raise _unbindable(f"address {address}", failure) from failure


def _unbindable(what: str, error: OSError) -> OSError:
    if error.errno == errno.EADDRINUSE:
        why = "must be free; another process listens there; end it or give another"
    else:
        why = f"must be one that a server can listen on: {error.strerror or error}"
    return OSError(error.errno, f"{what}: {why}")
