"""Shards on free ports and connections to them, closed when the test has ended."""

import socket
from contextlib import ExitStack

import pytest
import torch

from ps.client import ClientSettings, ShardClient
from ps.folder import shard_folder
from ps.optimizer import AdamSettings
from ps.plan import ShardPlan, UpdateSettings
from ps.server import ServerSettings, ShardServer

pytest.register_assert_rewrite("tests.ps.conformance")


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    # On tensors as small as these several threads only wait for each other.
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _late_looks_at_epoch(monkeypatch):
    # A life that looks by itself whether it is over would do so at any moment of a test.
    monkeypatch.setattr("ps.shard.EPOCH_CHECK_S", 3600.0)


@pytest.fixture
def serve():
    """Give a function that starts all shards of a layout, or those whose numbers are named.

    They keep their state in memory, unless there is a folder: then in that, with a journal. With a
    certificate authority they talk TLS alone. Settings are ServerSettings' fields.
    """
    with ExitStack() as servers:

        def start(
            layout,
            *,
            shards=None,
            optimizer=None,
            updates=None,
            folder=None,
            authority=None,
            address="127.0.0.1:0",
            interceptors=(),
            is_taking_over=False,
            disk=None,
            metrics_port=None,
            **settings,
        ):
            durability = {"durability": "none" if folder is None else "journal"}
            return [
                servers.enter_context(
                    ShardServer(
                        ShardPlan(
                            layout, shard, optimizer or AdamSettings(), updates or UpdateSettings()
                        ),
                        ServerSettings(**durability | settings),
                        None if folder is None else shard_folder(folder, shard),
                        address,
                        None if authority is None else authority.issue(f"shard-{shard}"),
                        interceptors,
                        is_taking_over,
                        disk,
                        metrics_port=metrics_port,
                    )
                )
                for shard in (range(layout.num_shards) if shards is None else shards)
            ]

        yield start


@pytest.fixture
def connect(serve):
    """Give a function that makes a client of the shards at these addresses, or of these servers.

    Settings are ClientSettings' fields.
    """
    with ExitStack() as clients:

        def open_client(
            layout, shards, *, identity=None, acknowledged=(), observe=None, **settings
        ):
            addresses = shards
            if not callable(shards):
                addresses = [getattr(shard, "address", shard) for shard in shards]
            patience = ClientSettings(**{"backoff_s": 0.01} | settings)
            return clients.enter_context(
                ShardClient(layout, addresses, patience, identity, acknowledged, observe)
            )

        yield open_client


@pytest.fixture
def refusing_address():
    """An address that stays free: connections to it are refused."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{bound.getsockname()[1]}"


@pytest.fixture
def frozen_address():
    """An address where a connection is made and nothing is ever answered, as by a frozen shard."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"127.0.0.1:{listening.getsockname()[1]}"
