"""What a person who looks at an address is told."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from urllib.request import urlopen

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health, health_pb2_grpc

from ps.authority import CertificateAuthority
from ps.layout import Layout
from ps.status import ShardStatus, read_status

LAYOUT = Layout((("weight", (4,)),), num_shards=1)


class RecordDeadlines(grpc.ServerInterceptor):
    """Record how much time each call gave its server, in seconds."""

    def __init__(self):
        self.seconds = {}

    def intercept_service(self, continuation, handler_call_details):
        handler = continuation(handler_call_details)
        method = handler_call_details.method.rpartition("/")[2]

        def call(request, context):
            self.seconds[method] = context.time_remaining()
            return handler.unary_unary(request, context)

        return grpc.unary_unary_rpc_method_handler(
            call, handler.request_deserializer, handler.response_serializer
        )


class RefuseDescribe(grpc.ServerInterceptor):
    """Answer Describe with RESOURCE_EXHAUSTED, and let all else pass."""

    def __init__(self):
        self.fired = False

    def intercept_service(self, continuation, handler_call_details):
        if not handler_call_details.method.endswith("/Describe"):
            return continuation(handler_call_details)
        self.fired = True
        return grpc.unary_unary_rpc_method_handler(
            lambda _, context: context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "busy (injected)")
        )


@pytest.fixture
def server(serve):
    (server,) = serve(LAYOUT)
    return server


@pytest.fixture
def other_server():
    """A gRPC server that is no shard, listening and not yet started, and its address."""
    with ThreadPoolExecutor(1) as threads:
        other = grpc.server(threads)
        port = other.add_insecure_port("127.0.0.1:0")
        yield other, f"127.0.0.1:{port}"
        other.stop(None).wait()


def test_status_of_a_shard_with_values_is_serving(server, connect):
    connect(LAYOUT, [server]).initialize(np.zeros(4, np.float32))

    status = read_status(server.address)

    assert status == ShardStatus(server.address, "SERVING", server.describe())
    assert status.description.is_initialized


def test_status_of_a_shard_without_values_is_not_serving(server):
    status = read_status(server.address)

    assert status == ShardStatus(server.address, "NOT_SERVING", server.describe())
    assert not status.description.is_initialized


def test_status_of_a_shard_with_tls_is_told_to_its_run_alone(serve, tmp_path):
    authority = CertificateAuthority.open_or_create(tmp_path / "tls", "run")
    (server,) = serve(LAYOUT, authority=authority)
    observer = authority.issue("observer")

    assert read_status(server.address, identity=observer, shard=0) == ShardStatus(
        server.address, "NOT_SERVING", server.describe()
    )
    other = CertificateAuthority.open_or_create(tmp_path / "other", "run").issue("observer")
    for status, reason in (
        (read_status(server.address), "if it has TLS, it must be asked with certificates"),
        (read_status(server.address, identity=observer, shard=1), "the certificate of another sha"),
        (read_status(server.address, identity=other), "the certificate of another search"),
    ):
        assert (status.health, status.description) == ("UNREACHABLE", None)
        assert reason in status.reason


def test_status_of_whichever_shard_listens_is_told_to_its_run(serve, tmp_path, refusing_address):
    authority = CertificateAuthority.open_or_create(tmp_path / "tls", "run")
    layout = Layout((("weight", (4,)),), num_shards=2)
    (plain,) = serve(layout, shards=[0])
    (server,) = serve(layout, shards=[1], authority=authority)
    observer = authority.issue("observer")

    assert read_status(server.address, identity=observer).description == server.describe()

    other = CertificateAuthority.open_or_create(tmp_path / "other", "run").issue("observer")
    for address, identity, reason in (
        (refusing_address, observer, "nothing listens there"),
        (plain.address, observer, "it listens without TLS"),
        (server.address, other, "it shows the certificate of another search"),
    ):
        status = read_status(address, identity=identity)
        assert (status.health, status.description) == ("UNREACHABLE", None)
        assert reason in status.reason


def test_status_tells_which_life_of_a_shard_answers_and_what_it_keeps(serve, tmp_path):
    serve(LAYOUT, folder=tmp_path)[0].close()
    (server,) = serve(LAYOUT, folder=tmp_path)

    described = read_status(server.address).description

    assert (described.epoch, described.durability) == (2, "journal")


def test_status_tells_where_the_metrics_are(serve):
    with_metrics, without = serve(LAYOUT, metrics_port=0) + serve(LAYOUT)

    port = read_status(with_metrics.address).description.metrics_port

    assert read_status(without.address).description.metrics_port == 0
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as page:
        assert b"nasrl_shard_version" in page.read()


def test_status_of_a_shard_that_has_ended_is_unreachable(server):
    server.close()

    status = read_status(server.address)

    assert (status.health, status.description) == ("UNREACHABLE", None)
    assert status.reason.startswith("UNAVAILABLE: ")


def test_status_where_nobody_listens_is_unreachable(refusing_address):
    status = read_status(refusing_address)

    assert (status.address, status.health) == (refusing_address, "UNREACHABLE")
    assert status.description is None
    assert status.reason == "UNAVAILABLE: nothing listens there"


def test_status_where_nobody_answers_is_unreachable_after_the_timeout(frozen_address):
    status = read_status(frozen_address, timeout_s=0.2)

    assert (status.health, status.description) == ("UNREACHABLE", None)
    assert status.reason.startswith("DEADLINE_EXCEEDED: ")


def test_status_of_a_shard_too_busy_to_describe_itself_keeps_its_health(serve):
    refusal = RefuseDescribe()
    (server,) = serve(LAYOUT, interceptors=[refusal])

    status = read_status(server.address)

    assert refusal.fired
    assert (status.health, status.description) == ("NOT_SERVING", None)
    assert status.reason == "RESOURCE_EXHAUSTED: busy (injected)"


@pytest.mark.parametrize("timeout_s", [100, 200])
def test_status_is_asked_for_with_the_timeout_given(serve, timeout_s):
    deadlines = RecordDeadlines()
    (server,) = serve(LAYOUT, interceptors=[deadlines])

    read_status(server.address, timeout_s)

    around = pytest.approx(timeout_s, abs=40)  # on the wire a timeout has two or three digits
    assert deadlines.seconds == {"Check": around, "Describe": around}


def test_status_of_a_server_without_health_is_unreachable(other_server):
    other, address = other_server
    other.start()

    status = read_status(address)

    assert (status.health, status.description) == ("UNREACHABLE", None)
    assert status.reason.startswith("UNIMPLEMENTED: ")


def test_status_of_a_healthy_server_that_is_no_shard_is_unreachable(other_server):
    other, address = other_server
    health_pb2_grpc.add_HealthServicer_to_server(health.HealthServicer(), other)
    other.start()

    status = read_status(address)

    assert (status.health, status.description) == ("UNREACHABLE", None)
    assert status.reason.startswith("NOT_FOUND: ")


ASK = """
import sys
from pathlib import Path
from ps.credentials import Identity
from ps.status import read_status
observer = Identity.load(Path(sys.argv[2]), "observer")
print(read_status(sys.argv[1], identity=observer, shard=0).reason)
"""


@pytest.mark.parametrize(
    ("chosen", "written"), [({}, ""), ({"GRPC_VERBOSITY": "INFO"}, "Handshake failed")]
)
def test_grpc_writes_about_connections_only_if_it_is_asked_to(server, tmp_path, chosen, written):
    folder = tmp_path / "tls"
    CertificateAuthority.open_or_create(folder, "run").issue("observer")
    unset = {name: value for name, value in os.environ.items() if name != "GRPC_VERBOSITY"}

    asked = subprocess.run(
        [sys.executable, "-c", ASK, server.address, folder],
        capture_output=True,
        check=True,
        env=unset | chosen,
        text=True,
        timeout=60,
    )

    assert "it listens without TLS" in asked.stdout
    assert written in asked.stderr
    assert bool(asked.stderr) == bool(written)
