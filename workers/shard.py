"""A parameter-server shard as a Ray actor."""

from __future__ import annotations

from pathlib import Path

import torch

from ps.credentials import Identity
from ps.plan import ShardPlan
from ps.server import ServerSettings, ShardServer
from workers.process import ProcessSetup


class ShardProcess:
    """Holds one shard server for as long as its process lives."""

    def __init__(
        self,
        setup: ProcessSetup,
        plan: ShardPlan,
        settings: ServerSettings,
        folder: Path,
        identity: Identity | None,
    ) -> None:
        """Begin a life of the shard whose state is in the folder."""
        setup.enter(f"shard-{plan.shard}")
        torch.set_num_threads(1)
        self._server = ShardServer(plan, settings, folder, f"{settings.host}:0", identity)

    def address(self) -> str:
        """Give the host:port that the shard answers at."""
        return self._server.address

    def serve(self) -> None:
        """Return when the shard has been closed: whoever waits for this hears of its death.

        Raises:
            ps.errors.StateError: its state failed it.
        """
        self._server.wait()

    def close(self) -> None:
        """Drain the shard and stop it."""
        self._server.close()
