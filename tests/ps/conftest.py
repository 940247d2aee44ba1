"""Shards on free ports and connections to them, closed when the test has ended."""

import socket
from contextlib import ExitStack

import pytest

from ps.client import ClientSettings, ShardClient
from ps.server import ServerSettings, ShardServer
from ps.store import OptimizerSettings

pytest.register_assert_rewrite("tests.ps.conformance")


@pytest.fixture
def serve():
    """Give a function that starts all shards of a layout, or those whose numbers are named."""
    with ExitStack() as servers:

        def start(
            layout,
            *,
            shards=None,
            optimizer=None,
            settings=None,
            address="127.0.0.1:0",
            interceptors=(),
        ):
            return [
                servers.enter_context(
                    ShardServer(
                        layout,
                        shard,
                        optimizer or OptimizerSettings(),
                        settings or ServerSettings(),
                        address,
                        interceptors,
                    )
                )
                for shard in (range(layout.num_shards) if shards is None else shards)
            ]

        yield start


@pytest.fixture
def connect(serve):
    """Give a function that makes a client of the shards at these addresses, or of these servers."""
    with ExitStack() as clients:

        def open_client(layout, shards, **settings):
            addresses = [getattr(shard, "address", shard) for shard in shards]
            patience = {"backoff_s": 0.01} | settings
            return clients.enter_context(ShardClient(layout, addresses, ClientSettings(**patience)))

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
