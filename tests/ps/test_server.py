"""One shard's server: its port, its health, its limits and its end."""

import socket
from concurrent.futures import ThreadPoolExecutor, as_completed
from itertools import islice

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.faults import HoldReplies
from support.waiting import wait_until

from ps import wire
from ps.errors import InitializedOtherwise, ShardUnavailable
from ps.layout import Layout
from ps.rpc import parameter_shard_pb2 as messages
from ps.rpc import parameter_shard_pb2_grpc as rpc
from ps.server import ServerSettings
from ps.status import read_status

LAYOUT = Layout((("weight", (4,)),), num_shards=1)
VALUES = np.array([1, -2, 3, -4], np.float32)
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
PROCESS, SERVICE = "", wire.SERVICE


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

    with pytest.raises(OSError, match=f"shard 0: cannot listen on {server.address}: "):
        serve(LAYOUT, address=server.address)

    connect(LAYOUT, [server]).initialize(VALUES)
    assert server.describe().is_initialized


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
    with HoldReplies("Pull", num_calls=2) as hold:
        (server,) = serve(LAYOUT, settings=ServerSettings(num_threads=2), interceptors=[hold])
        connect(LAYOUT, [server]).initialize(VALUES)
        pulls = [threads.submit(connect(LAYOUT, [server]).pull) for _ in range(2)]
        wait_until(lambda: hold.num_held == 2, "both worker threads busy")

        assert check(health_of(server), service) == SERVING
        changes = watch(health_of(server), service)
        assert next(changes).status == SERVING
        changes.cancel()
        with pytest.raises(ShardUnavailable, match="DEADLINE_EXCEEDED"):
            connect(LAYOUT, [server], pull_timeout_s=0.2, max_attempts=1).pull()

    assert [pull.result().versions for pull in pulls] == [(0,), (0,)]


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
    (server,) = serve(LAYOUT, settings=ServerSettings(drain_timeout_s=3600))
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


def test_drain_ends_calls_that_outlast_its_timeout(serve, connect, threads):
    with HoldReplies("Push", num_calls=1) as hold:
        (server,) = serve(LAYOUT, settings=ServerSettings(drain_timeout_s=0.1), interceptors=[hold])
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


# Limits


@pytest.mark.parametrize(
    ("method", "request_of"),
    [
        ("Push", lambda data: messages.PushRequest(sequence=1, incarnation=1, gradient=data)),
        (
            "Initialize",
            lambda data: messages.InitializeRequest(layout_sha256=LAYOUT.sha256, values=data),
        ),
    ],
    ids=["Push", "Initialize"],
)
def test_oversize_message_is_refused_and_changes_nothing(serve, connect, method, request_of):
    (server,) = serve(LAYOUT)
    client = connect(LAYOUT, [server])
    client.initialize(VALUES)
    before = server.describe()

    with grpc.insecure_channel(server.address) as channel:
        call = getattr(rpc.ParameterShardStub(channel), method)
        with pytest.raises(grpc.RpcError, match="larger than max") as refusal:
            call(request_of(bytes(2**20 + 4096)), timeout=5)

    assert refusal.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert server.describe() == before
    assert client.pull().values.tobytes() == VALUES.tobytes()


def test_slice_larger_than_grpc_takes_by_default_travels_both_ways(serve, connect):
    layout = Layout((("weight", (2, 1000, 1000)),), num_shards=1)
    values = np.arange(layout.num_parameters, dtype=np.float32)  # 8 MB; the default is 4 MiB
    client = connect(layout, serve(layout))

    client.initialize(values)

    assert client.pull().values.tobytes() == values.tobytes()
    assert client.push(0, 1, 1, [0], values)[0].version == 1
