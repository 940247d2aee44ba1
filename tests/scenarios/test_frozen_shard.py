"""A shard that is frozen is replaced, and harms nobody when it goes on; two are never one shard."""

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import numpy as np
import pytest
from support.shard_processes import ShardProcesses, wait_until_serving
from support.waiting import wait_until

from ps.client import ClientSettings, ShardClient
from ps.errors import ShardUnavailable
from ps.layout import Layout

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

NOTICED_S = 15.0  # after which a call in flight must have noticed that its shard is frozen
TOGETHER_S = 0.1  # after which two processes begin, so that both are ready to
NUM_REPLICAS = 8
LAYOUT = Layout((("weight", (NUM_REPLICAS,)),), num_shards=1)
BEGIN = np.zeros(NUM_REPLICAS, np.float32)
ONE_ATTEMPT = ClientSettings(max_attempts=1, push_timeout_s=5.0)


def gradient_of(replica):
    """Give the gradient that adds 1 to the replica's own value, by SGD of rate 1."""
    gradient = BEGIN.copy()
    gradient[replica] = -1
    return gradient


@pytest.fixture
def shards(tmp_path):
    with ShardProcesses(tmp_path / "shards", LAYOUT.shapes, 1) as shards:
        yield shards


@pytest.fixture
def connect(shards):
    with ExitStack() as clients:

        def open_client(addresses=shards.addresses, settings=ONE_ATTEMPT):
            return clients.enter_context(ShardClient(LAYOUT, addresses, settings))

        yield open_client


@pytest.fixture
def first(shards, connect):
    """The first life of the shard, which holds values."""
    (process,) = shards.start_all()
    connect().initialize(BEGIN)
    return process


def push(client, replica, sequence=1):
    """Push once; give the version, or None if the shard did not answer."""
    try:
        (answer,) = client.push(replica, 1, sequence, [0], gradient_of(replica))
    except ShardUnavailable:
        return None
    return answer.version


def timed(work, *arguments):
    began = time.monotonic()
    return work(*arguments), time.monotonic() - began


def test_call_in_flight_notices_a_frozen_shard_and_finds_its_replacement(shards, connect, first):
    # Neither deadline is what ends the waiting.
    patient = connect(settings=ClientSettings(push_timeout_s=100.0))
    single = connect([first.address], ClientSettings(max_attempts=1, push_timeout_s=100.0))
    assert (push(patient, 0), push(single, 1)) == (1, 2)

    with ThreadPoolExecutor(2) as threads:
        first.freeze()
        pushes = [
            threads.submit(timed, push, client, replica, 2)
            for replica, client in enumerate((patient, single))
        ]
        second = shards.start(0, is_taking_over=True)
        wait_until_serving(second)
        (replaced, replaced_s), (given_up, given_up_s) = [each.result(100) for each in pushes]

    assert replaced == 3
    assert given_up is None
    assert replaced_s < NOTICED_S + 1  # another attempt, after a wait of less than that
    assert given_up_s < NOTICED_S
    assert first.exit_code is None, "it is still frozen"


def test_shard_that_goes_on_after_it_was_replaced_accepts_nothing_and_ends(shards, connect, first):
    assert push(connect(), 0) == 1
    first.freeze()
    second = shards.start(0, is_taking_over=True)
    wait_until_serving(second)
    new = connect([second.address])
    assert push(new, 0, 2) == 2

    impatient = [connect([first.address]) for _ in range(1, NUM_REPLICAS)]
    began = threading.Barrier(NUM_REPLICAS)

    def push_to_old(client, replica):
        began.wait(timeout=10)
        return push(client, replica)

    with ThreadPoolExecutor(NUM_REPLICAS) as threads:
        answers = threads.map(push_to_old, impatient, range(1, NUM_REPLICAS))
        began.wait(timeout=10)  # some wait in its sockets now, others come when it has gone on
        first.thaw()
        assert list(answers) == [None] * (NUM_REPLICAS - 1)

    assert first.wait(timeout_s=5) != 0
    assert "another has taken over" in first.log
    assert push(new, 0, 3) == 3
    expected = [3] + [0] * (NUM_REPLICAS - 1)
    assert new.pull().values.tolist() == expected
    second.kill()
    third = shards.start(0)
    wait_until_serving(third)
    pulled = connect([third.address]).pull()
    assert (pulled.versions, pulled.values.tolist()) == ((3,), expected)


def test_idle_shard_that_goes_on_after_it_was_replaced_ends_by_itself(shards, connect, first):
    first.freeze()
    second = shards.start(0, is_taking_over=True)
    wait_until_serving(second)

    first.thaw()

    assert first.wait(timeout_s=10) != 0
    assert "another has taken over" in first.log
    assert push(connect([second.address]), 0) == 1


def settle(process):
    """Return when a process is there, or has ended."""
    wait_until(lambda: process.address or process.exit_code is not None, "it settles", 30)


@pytest.mark.parametrize("is_taking_over", [False, True], ids=["", "taking over"])
def test_of_two_shards_started_at_once_on_one_folder_one_accepts_at_the_most(
    shards, connect, first, is_taking_over
):
    first.kill()
    expected, sequences = BEGIN.copy(), [0, 0]
    num_rounds, num_alone = 12, 0
    for _ in range(num_rounds):
        at = time.monotonic() + TOGETHER_S
        both = [shards.start(0, is_taking_over=is_taking_over, begin_at=at) for _ in range(2)]
        for process in both:
            settle(process)
        there = [process for process in both if process.exit_code is None]
        assert is_taking_over or len(there) == 1, [process.log for process in both]
        num_alone += len(there) == 1
        clients = [connect([process.address]) for process in there]
        with ThreadPoolExecutor(2) as threads:
            answers = list(
                threads.map(push, clients, range(2), [sequence + 1 for sequence in sequences])
            )
        accepted = [replica for replica, answer in enumerate(answers) if answer is not None]
        assert len(accepted) <= 1, f"{answers}: two have accepted a push"
        for replica in accepted:
            expected[replica] += 1
            sequences[replica] += 1
        ended = [process for process in both if process.exit_code is not None]
        assert all(process.exit_code != 0 for process in ended)
        for process in both:
            process.kill()
    assert sum(sequences) > 0, "a push was accepted in some round"
    last = shards.start(0)
    wait_until_serving(last)
    pulled = connect([last.address]).pull()
    assert (pulled.versions[0], pulled.values.tolist()) == (sum(sequences), expected.tolist())


def test_of_two_shards_started_at_once_on_one_port_one_serves(tmp_path):
    layout = Layout((("weight", (2,)),), num_shards=2)
    with ShardProcesses(tmp_path / "shards", layout.shapes, 2) as shards:
        for _ in range(12):
            with socket.create_server(("127.0.0.1", 0)) as bound:
                address = f"127.0.0.1:{bound.getsockname()[1]}"
            at = time.monotonic() + TOGETHER_S
            both = [shards.start(shard, address=address, begin_at=at) for shard in range(2)]
            for process in both:
                settle(process)
            ended = [process for process in both if process.exit_code is not None]
            assert len(ended) == 1, [process.log for process in both]
            assert ended[0].exit_code != 0
            assert f"address {address}: " in ended[0].log
            for process in both:
                process.kill()
