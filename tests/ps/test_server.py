"""One shard's server: its port, its health, its limits and its end."""

import socket
import threading
from concurrent.futures import ThreadPoolExecutor, as_completed
from itertools import islice

import grpc
import numpy as np
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from pydantic import ValidationError
from support.disks import FailingDisk
from support.faults import HoldReplies
from support.waiting import wait_until

from ps import points, wire
from ps.errors import (
    DiskFailure,
    InitializedOtherwise,
    NotInitialized,
    ShardUnavailable,
    StateMismatch,
)
from ps.layout import Layout
from ps.optimizer import AdamSettings
from ps.rpc import parameter_shard_pb2 as messages
from ps.rpc import parameter_shard_pb2_grpc as rpc
from ps.server import ServerSettings
from ps.status import read_status

LAYOUT = Layout((("weight", (4,)),), num_shards=1)
VALUES = np.array([1, -2, 3, -4], np.float32)
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
PROCESS, SERVICE = "", wire.SERVICE
NUM_THREADS = 5  # of a server that takes one call at a time


@pytest.fixture
def health_of():
    """Give a function that gives the public health stub of a server."""
    channels = []

    def stub(server):
        channels.append(grpc.insecure_channel(server.address))
        return health_pb2_grpc.HealthStub(channels[-1])

    yield stub
    for channel in channels:
        channel.close()


@pytest.fixture
def threads():
    with ThreadPoolExecutor(8) as threads:
        yield threads


def check(health, service):
    return health.Check(health_pb2.HealthCheckRequest(service=service), timeout=5).status


def watch(health, service):
    return health.Watch(health_pb2.HealthCheckRequest(service=service), timeout=30)


# The port


def test_server_listens_on_the_address_that_it_names(serve, connect):
    one, other = serve(LAYOUT) + serve(LAYOUT)

    assert one.address.startswith("127.0.0.1:")
    assert one.address != other.address
    assert connect(LAYOUT, [one]).describe() == (one.describe(),)


def test_second_server_on_the_same_port_is_refused(serve, connect):
    (server,) = serve(LAYOUT)

    with pytest.raises(OSError, match=f"address {server.address}: must be free; another process"):
        serve(LAYOUT, address=server.address)

    connect(LAYOUT, [server]).initialize(VALUES)
    assert server.describe().is_initialized


def test_second_metrics_page_on_the_same_port_is_refused(serve):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        complaint = f"metrics_port={port} at 127.0.0.1: must be free; another process"
        with pytest.raises(OSError, match=complaint):
            serve(LAYOUT, metrics_port=port)


def test_port_is_free_again_when_its_server_is_closed(serve):
    (server,) = serve(LAYOUT)
    server.close()
    host, _, port = server.address.partition(":")

    with socket.socket() as connection:
        assert connection.connect_ex((host, int(port))) != 0
    (again,) = serve(LAYOUT, address=server.address)
    assert again.address == server.address


# Health


def test_health_of_the_process_is_serving_from_the_start(serve, health_of):
    (server,) = serve(LAYOUT)

    assert check(health_of(server), PROCESS) == SERVING


def test_health_of_the_service_is_serving_once_the_shard_has_values(serve, connect, health_of):
    (server,) = serve(LAYOUT)
    health = health_of(server)
    assert check(health, SERVICE) == NOT_SERVING

    connect(LAYOUT, [server]).initialize(VALUES)

    assert check(health, SERVICE) == SERVING
    assert check(health, PROCESS) == SERVING


def test_health_of_the_service_stays_not_serving_when_initialize_is_refused(
    serve, connect, health_of
):
    (server,) = serve(LAYOUT)
    other_layout = Layout((("bias", (4,)),), num_shards=1)

    with pytest.raises(InitializedOtherwise, match="laid out as"):
        connect(other_layout, [server]).initialize(VALUES)

    assert check(health_of(server), SERVICE) == NOT_SERVING


def test_health_watcher_hears_of_every_change(serve, connect, health_of):
    (server,) = serve(LAYOUT)
    changes = watch(health_of(server), SERVICE)
    assert next(changes).status == NOT_SERVING

    connect(LAYOUT, [server]).initialize(VALUES)

    assert next(changes).status == SERVING
    changes.cancel()


@pytest.mark.parametrize("service", [PROCESS, SERVICE], ids=["process", "service"])
def test_health_answers_while_every_worker_thread_is_busy(
    serve, connect, health_of, threads, service
):
    with HoldReplies("Describe", num_calls=NUM_THREADS) as hold:
        (server,) = serve(LAYOUT, interceptors=[hold], num_calls=1)
        connect(LAYOUT, [server]).initialize(VALUES)
        calls = [threads.submit(connect(LAYOUT, [server]).describe) for _ in range(NUM_THREADS)]
        wait_until(lambda: hold.num_held == NUM_THREADS, "all worker threads busy")

        assert check(health_of(server), service) == SERVING
        changes = watch(health_of(server), service)
        assert next(changes).status == SERVING
        changes.cancel()
        with pytest.raises(ShardUnavailable, match="DEADLINE_EXCEEDED"):
            connect(LAYOUT, [server], pull_timeout_s=0.2, max_attempts=1).pull()

    assert all(call.result()[0].is_initialized for call in calls)


def test_health_answers_however_many_watch_it(serve, health_of):
    (server,) = serve(LAYOUT)
    health = health_of(server)
    watchers = [watch(health, PROCESS) for _ in range(12)]
    with ThreadPoolExecutor(len(watchers)) as threads:
        waiting = [threads.submit(next, watcher) for watcher in watchers]
        answered = islice(as_completed(waiting, timeout=20), 8)  # in any order; the rest wait
        assert [answer.result().status for answer in answered] == [SERVING] * 8

        assert check(health, PROCESS) == SERVING
        for watcher in watchers:
            watcher.cancel()


def test_health_watchers_that_leave_while_the_shard_drains_do_not_hold_it(
    serve, health_of, threads
):
    for server in [serve(LAYOUT)[0] for _ in range(10)]:
        watchers = [watch(health_of(server), PROCESS) for _ in range(6)]
        assert [next(watcher).status for watcher in watchers] == [SERVING] * 6

        for watcher in watchers:
            watcher.cancel()

        threads.submit(server.close).result(timeout=30)


def test_health_watchers_that_stay_hear_of_the_drain_and_do_not_hold_it(serve, health_of, threads):
    (server,) = serve(LAYOUT, drain_timeout_s=3600)
    watchers = [watch(health_of(server), PROCESS) for _ in range(3)]
    assert [next(watcher).status for watcher in watchers] == [SERVING] * 3

    threads.submit(server.close).result(timeout=30)

    assert [[answer.status for answer in watcher] for watcher in watchers] == [[NOT_SERVING]] * 3


def test_health_of_a_shard_outlives_another_shard_of_the_process(serve, health_of):
    one, other = serve(LAYOUT) + serve(LAYOUT)
    other.close()
    health = health_of(one)

    changes = watch(health, PROCESS)

    assert next(changes).status == SERVING
    assert check(health, PROCESS) == SERVING
    changes.cancel()


# The end


def test_drain_finishes_what_runs_takes_nothing_new_and_says_so(serve, connect, health_of, threads):
    with HoldReplies("Push", num_calls=1) as hold:
        (server,) = serve(LAYOUT, interceptors=[hold])
        client = connect(LAYOUT, [server])
        client.initialize(VALUES)
        push = threads.submit(client.push, 0, 1, 1, [0], VALUES)
        wait_until(lambda: hold.num_held == 1, "the push runs")
        watchers = [watch(health_of(server), service) for service in (PROCESS, SERVICE)]
        assert [next(watcher).status for watcher in watchers] == [SERVING, SERVING]

        end = threads.submit(server.close)

        assert [next(watcher).status for watcher in watchers] == [NOT_SERVING, NOT_SERVING]
        wait_until(
            lambda: read_status(server.address).health == "UNREACHABLE", "new calls are refused"
        )
        with pytest.raises(ShardUnavailable, match="shard 0 of 1"):
            connect(LAYOUT, [server], pull_timeout_s=0.2, max_attempts=1).pull()
        assert not end.done()
        for watcher in watchers:
            watcher.cancel()

    assert push.result(timeout=5)[0].version == 1
    end.result(timeout=5)


def test_drain_is_logged_once_with_the_version_at_its_end(serve, connect, caplog):
    (server,) = serve(LAYOUT)
    client = connect(LAYOUT, [server])
    client.initialize(VALUES)
    client.push(0, 1, 1, [0], VALUES)
    with caplog.at_level("INFO", "ps.server"):
        server.close()
        server.close()
    assert [record.getMessage() for record in caplog.records] == [
        "shard 0 of 1: drained, version 1"
    ]


def test_drain_ends_calls_that_outlast_its_timeout(serve, connect, threads):
    with HoldReplies("Push", num_calls=1) as hold:
        (server,) = serve(LAYOUT, interceptors=[hold], drain_timeout_s=0.1)
        client = connect(LAYOUT, [server], max_attempts=1)
        client.initialize(VALUES)
        push = threads.submit(client.push, 0, 1, 1, [0], VALUES)
        wait_until(lambda: hold.num_held == 1, "the push runs")
        end = threads.submit(server.close)

        with pytest.raises(ShardUnavailable, match="no answer to Push"):
            push.result(timeout=5)

    end.result(timeout=5)


def test_closed_server_is_unreachable_and_may_be_closed_again(serve, health_of):
    (server,) = serve(LAYOUT)
    server.close()

    server.close()

    with pytest.raises(grpc.RpcError) as silence:
        check(health_of(server), PROCESS)
    assert silence.value.code() == grpc.StatusCode.UNAVAILABLE


# Recovery, and the end of a shard whose state fails it


@pytest.fixture
def at_point(monkeypatch):
    """Give a function that has something done, once, when a shard comes to a point."""

    def at_point(point, work):
        waiting = [work]

        def reached(name):
            if name == point and waiting:
                waiting.pop()()

        monkeypatch.setattr(points, "reached", reached)

    return at_point


def test_shard_that_recovers_says_so_and_takes_no_calls(serve, connect, tmp_path, at_point):
    (before,) = serve(LAYOUT, folder=tmp_path)
    connect(LAYOUT, [before]).initialize(VALUES)
    before.close()
    address, seen = before.address, []

    def look():
        seen.append(read_status(address))
        with pytest.raises(ShardUnavailable, match=r"UNAVAILABLE: .* is recovering its state"):
            connect(LAYOUT, [address], max_attempts=1).pull()

    at_point("state replayed", look)
    (server,) = serve(LAYOUT, folder=tmp_path, address=address)

    (during,) = seen
    assert (during.health, during.description) == ("NOT_SERVING", None)
    assert "UNAVAILABLE: shard 0 of 1 is recovering its state" in during.reason
    assert read_status(server.address).health == "SERVING"
    assert connect(LAYOUT, [server]).pull().values.tobytes() == VALUES.tobytes()


def test_server_whose_state_cannot_be_used_leaves_its_port(serve, tmp_path):
    (server,) = serve(LAYOUT, folder=tmp_path)
    server.close()
    other = AdamSettings(learning_rate=0.5)

    with pytest.raises(StateMismatch, match="optimizer"):
        serve(LAYOUT, folder=tmp_path, address=server.address, optimizer=other)

    serve(LAYOUT, folder=tmp_path, address=server.address)


def test_shard_whose_disk_fails_ends_and_says_why(serve, connect, tmp_path, health_of):
    disk = FailingDisk(2**60, "sync")
    (server,) = serve(LAYOUT, folder=tmp_path, disk=disk)
    client = connect(LAYOUT, [server], max_attempts=1)
    client.initialize(VALUES)
    assert not server.wait(timeout_s=0)
    disk.n = disk.num_operations + 1

    with pytest.raises(ShardUnavailable, match=r"UNAVAILABLE: shard 0 of 1 has ended: .*injected"):
        client.push(0, 1, 1, [0], VALUES)

    assert disk.fired
    with pytest.raises(DiskFailure, match="injected"):
        server.wait(timeout_s=10)
    assert [check(health_of(server), service) for service in (PROCESS, SERVICE)] == [
        NOT_SERVING,
        NOT_SERVING,
    ]
    with pytest.raises(ShardUnavailable, match="has ended"):
        client.pull()


def test_closed_server_has_been_waited_for(serve, threads):
    (server,) = serve(LAYOUT)
    waiting = threads.submit(server.wait)

    server.close()

    assert waiting.result(timeout=10)


# Overload


def test_call_beyond_those_that_a_shard_takes_is_turned_away(
    serve, connect, threads, at_point, health_of
):
    (server,) = serve(LAYOUT, num_calls=1)
    client = connect(LAYOUT, [server])
    client.initialize(VALUES)
    goes_on, is_in = threading.Event(), threading.Event()

    def stay():
        is_in.set()
        assert goes_on.wait(timeout=30)

    at_point("push durable", stay)
    push = threads.submit(client.push, 0, 1, 1, [0], VALUES)
    assert is_in.wait(timeout=10)
    impatient = connect(LAYOUT, [server], max_attempts=1)
    try:
        with pytest.raises(
            ShardUnavailable,
            match=r"UNAVAILABLE: shard 0 of 1 is busy with 1 calls, as many as it takes",
        ):
            impatient.pull()
        assert impatient.describe()[0].version == 1
        assert check(health_of(server), SERVICE) == SERVING
    finally:
        goes_on.set()

    assert push.result(timeout=10)[0].version == 1
    assert impatient.pull().versions == (1,)
    turned_away = "nasrl_shard_turned_away_total"
    assert server.metrics.registry.get_sample_value(turned_away, {"shard": "0"}) == 1
    assert server.describe().num_refused == 0


def test_refused_and_failing_calls_leave_their_place_to_others(serve, connect):
    (server,) = serve(LAYOUT, num_calls=1)
    client = connect(LAYOUT, [server], max_attempts=1)
    for _ in range(3):
        with pytest.raises(NotInitialized, match="holds no values"):
            client.pull()
        with pytest.raises(NotInitialized, match="holds no values"):
            client.push(0, 1, 1, [0], VALUES)

    client.initialize(VALUES)

    assert client.pull().versions == (0,)


# Who may listen where


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0"])
def test_address_that_others_can_reach_needs_tls(serve, address):
    with pytest.raises(ValueError, match=r"others can reach it, so it must have TLS"):
        serve(LAYOUT, address=address)


def test_address_that_others_can_reach_without_tls_is_warned_of(serve, caplog):
    (server,) = serve(LAYOUT, address="0.0.0.0:0", host="0.0.0.0", insecure=True)

    (warning,) = [record.getMessage() for record in caplog.records]
    assert warning.startswith("shard 0 of 1 listens on 0.0.0.0:0 without TLS")
    assert server.address.startswith("0.0.0.0:")


@pytest.mark.parametrize(
    ("given", "needs_tls", "is_open"),
    [
        ({}, False, False),
        ({"tls": "always"}, True, False),
        ({"host": "0.0.0.0"}, True, False),
        ({"host": "0.0.0.0", "insecure": True}, False, True),
        ({"insecure": True}, False, False),
        ({"addresses": ["shard-0:70", "127.0.0.1:71"]}, True, False),
        ({"addresses": ["127.0.0.1:70", "localhost:71"]}, False, False),
    ],
    ids=str,
)
def test_tls_is_needed_where_others_can_reach_a_shard(given, needs_tls, is_open):
    settings = ServerSettings(**given)

    assert (settings.needs_tls, settings.is_open_to_all) == (needs_tls, is_open)


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"addresses": ["shard-0"]}, "'shard-0' must be host:port"),
        ({"insecure": True, "tls": "always"}, "must not both be asked for"),
        ({"num_calls": 0}, "num_calls"),
        ({"num_threads": 4}, "num_threads"),
        ({"durability": "some"}, "durability"),
    ],
    ids=str,
)
def test_settings_that_make_no_sense_are_refused(given, complaint):
    with pytest.raises(ValidationError, match=complaint):
        ServerSettings(**given)


# Schema


def test_schema_is_told_to_whoever_asks(serve):
    (server,) = serve(LAYOUT)
    with grpc.insecure_channel(server.address) as channel:
        schema = ProtoReflectionDescriptorDatabase(channel)

        assert SERVICE in schema.get_services()
        methods = DescriptorPool(schema).FindServiceByName(SERVICE).methods_by_name

    assert set(methods) == set(wire.METHODS)


# Limits


def pushes(data):
    return messages.PushRequest(sequence=1, incarnation=1, gradient=data)


def first_values(data):
    return messages.InitializeRequest(layout_sha256=LAYOUT.sha256, values=data)


@pytest.mark.parametrize(
    ("method", "request_of", "get"),
    [
        ("Push", pushes, lambda answer: answer),
        ("PushPieces", lambda data: iter([pushes(data)]), list),
        ("Initialize", lambda data: iter([first_values(data)]), lambda answer: answer),
    ],
    ids=["Push", "PushPieces", "Initialize"],
)
def test_oversize_message_is_refused_and_changes_nothing(serve, connect, method, request_of, get):
    (server,) = serve(LAYOUT)
    client = connect(LAYOUT, [server])
    client.initialize(VALUES)
    before = server.describe()

    with grpc.insecure_channel(server.address) as channel:
        call = getattr(rpc.ParameterShardStub(channel), method)
        with pytest.raises(grpc.RpcError, match="larger than max") as refusal:
            get(call(request_of(bytes(wire.WHOLE_BYTES + 2**20)), timeout=20))

    assert refusal.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert server.describe() == before
    assert client.pull().values.tobytes() == VALUES.tobytes()


@pytest.mark.parametrize("num_parameters", [2**20, 2**22, 2**22 + 1], ids=str)
def test_slice_of_any_length_travels_both_ways(serve, connect, num_parameters):
    layout = Layout((("weight", (num_parameters,)),), num_shards=1)
    values = np.arange(layout.num_parameters, dtype=np.float32)  # 4 MiB; then 16, and 4 bytes more
    client = connect(layout, serve(layout))

    client.initialize(values)

    assert client.pull().values.tobytes() == values.tobytes()
    (answer,), pulled = client.push_and_pull(0, 1, 1, [0], values)
    assert answer.version == 1
    assert np.array_equal(pulled.values, client.pull().values)
    assert pulled.versions == (1,)


@pytest.mark.parametrize(
    ("host", "is_spread", "address", "needs_tls"),
    [
        ("auto", False, "127.0.0.1:0", False),
        ("auto", True, "10.0.0.7:0", True),
        ("node", False, "10.0.0.7:0", True),
        ("127.0.0.1", True, "127.0.0.1:0", False),
        ("10.0.0.9", False, "10.0.0.9:0", True),
    ],
)
def test_host_is_settled_by_whether_the_search_spans_machines(host, is_spread, address, needs_tls):
    settings = ServerSettings(host=host).settled(is_spread=is_spread)
    assert settings.address(0, node="10.0.0.7") == address
    assert settings.needs_tls is needs_tls


def test_node_of_ipv6_is_written_as_grpc_wants_it():
    assert ServerSettings(host="node").address(0, node="fd00::7") == "[fd00::7]:0"


def test_every_shard_has_a_port_of_its_own_where_they_are_fixed():
    settings = ServerSettings(port_base=7070)
    assert [settings.address(shard) for shard in range(2)] == ["127.0.0.1:7070", "127.0.0.1:7071"]


@pytest.mark.parametrize(("base", "ports"), [(9100, [9100, 9101]), (0, [0, 0]), (None, [None] * 2)])
def test_every_shard_has_metrics_on_a_port_of_its_own(base, ports):
    settings = ServerSettings(metrics_port_base=base)
    assert [settings.metrics_port(shard) for shard in range(2)] == ports
