"""A parameter-server shard as a Ray actor."""

from __future__ import annotations

import threading

from ps.layout import Layout
from ps.server import ServerSettings, ShardServer
from ps.store import OptimizerSettings
from workers.process import ProcessSetup


class ShardProcess:
    """Holds one shard server for as long as its process lives."""

    def __init__(
        self,
        setup: ProcessSetup,
        layout: Layout,
        shard: int,
        optimizer: OptimizerSettings,
        settings: ServerSettings,
    ) -> None:
        setup.enter(f"shard-{shard}")
        self._server = ShardServer(layout, shard, optimizer, settings)
        self._is_closed = threading.Event()

    def address(self) -> str:
        """Give the host:port that the shard answers at."""
        return self._server.address

    def serve(self) -> None:
        """Return when the shard has been closed: whoever waits for this hears of its death."""
        self._is_closed.wait()

    def close(self) -> None:
        """Drain the shard and stop it."""
        self._server.close()
        self._is_closed.set()
