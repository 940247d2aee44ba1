"""A parameter-server shard as a Ray actor."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray
import torch

from ps.credentials import Identity
from ps.plan import ShardPlan
from ps.server import ServerSettings, ShardServer
from workers.process import ProcessSetup
from workers.remote import control
from workers.remote_ledger import RemoteLedger

_PORT_PATIENCE_S = 10.0
_PORT_WAIT_S = 0.2


class ShardProcess:
    """Holds one shard server for as long as its process lives."""

    def __init__(
        self,
        setup: ProcessSetup,
        life: int,
        plan: ShardPlan,
        settings: ServerSettings,
        folder: Path,
        identity: Identity | None,
        ledger: Any,
        search_id: str,
    ) -> None:
        """Begin a life of the shard whose state is in the folder, and make known where it is.

        A process of an earlier life that is only frozen may hold the folder still: it is fenced.

        Args:
            life: of the search. ledger: handle of the LedgerProcess actor.
            search_id: see `ps.shard.Shard`.
        """
        setup.enter(f"shard-{plan.shard}")
        torch.set_num_threads(1)
        address = settings.address(plan.shard, ray.util.get_node_ip_address())
        self._server = _bound(
            lambda: ShardServer(
                plan,
                settings,
                folder,
                address,
                identity,
                is_taking_over=True,
                search_id=search_id,
                metrics_port=settings.metrics_port(plan.shard),
            )
        )
        RemoteLedger(ledger).publish(life, plan.shard, self._server.address)

    @control
    def ping(self) -> int:
        """Answer with the process id: the process lives."""
        return os.getpid()

    @control
    def close(self) -> None:
        """Drain the shard and stop it."""
        self._server.close()

    def serve(self) -> None:
        """Return when the shard has been closed: whoever waits for this hears of its death.

        Raises:
            ps.errors.StateError: its state failed it.
        """
        self._server.wait()


def _bound(serve: Callable[[], ShardServer]) -> ShardServer:
    """Serve, once the port is free: one that is fixed is held until a killed life is gone."""
    give_up_at = time.monotonic() + _PORT_PATIENCE_S
    while True:
        try:
            return serve()
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() > give_up_at:
                raise
        time.sleep(_PORT_WAIT_S)
