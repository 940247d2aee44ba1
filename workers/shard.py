"""A parameter-server shard as a Ray actor."""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray
import torch

from ps.credentials import Identity
from ps.errors import StateError
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

        Raises:
            ps.errors.StateError: this node does not see the run directory.
        """
        setup.enter(f"shard-{plan.shard}")
        torch.set_num_threads(1)
        _check_run(folder.parent.parent, search_id)
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


def _check_run(path: Path, search_id: str) -> None:
    """Make sure that this is what all nodes share: in another folder a shard would begin anew."""
    try:
        found = (path / "id").read_text(encoding="utf-8").strip()
    except OSError as error:
        found = str(error)
    if found != search_id:
        raise StateError(
            f"run directory {path}: {socket.gethostname()} does not see it ({found}): must be on "
            "storage that all nodes share"
        )


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
