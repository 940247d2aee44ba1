"""Shards are killed at random while eight replicas push as fast as they can; pushes are counted."""

import multiprocessing
import random
import statistics
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np
import pytest
from support.shard_processes import ShardProcesses, push_until
from support.waiting import wait_until

from ps.client import ClientSettings, ShardClient
from ps.layout import Layout
from ps.status import read_status

pytestmark = pytest.mark.slow

LONG_S, SHORT_S = 300.0, 20.0
PAUSE_S = (0.5, 2.0)  # between two kills
NUM_SHARDS = 3
NUM_REPLICAS = 8
# Each replica has a value of its own on every shard, and adds 1 to it by SGD of rate 1.
LAYOUT = Layout((("weight", (NUM_SHARDS, NUM_REPLICAS)),), NUM_SHARDS)
BEGIN = np.zeros(LAYOUT.num_parameters, np.float32)


def gradient_of(replica):
    gradient = np.zeros((NUM_SHARDS, NUM_REPLICAS), np.float32)
    gradient[:, replica] = -1
    return gradient.ravel()


class Killer:
    """Kills shards, and starts them again at once at another port, as long as a test lasts."""

    def __init__(self, shards):
        self.num_kills = 0
        self.outages_s = []  # from a kill to the moment at which that shard answers again
        self.versions = [0]  # of the victim, at each kill
        self._shards = shards
        self._running = shards.start_all()
        self._killed_at = {}  # of shards that have not answered since, by number

    def go(self, duration_s):
        end = time.monotonic() + duration_s
        pace = threading.Event()  # nobody sets it
        while time.monotonic() < end:
            resume = time.monotonic() + random.uniform(*PAUSE_S)
            while time.monotonic() < resume:
                self._look_around()
                pace.wait(0.02)
            self._kill_one()
        wait_until(self._are_all_back, "all shards serve again", 60)

    def end(self):
        return [process.end() for process in self._running]

    def _look_around(self):
        for shard, killed_at in list(self._killed_at.items()):
            process = self._running[shard]
            assert process.exit_code is None, process.log
            if process.is_serving():
                self.outages_s.append(time.monotonic() - killed_at)
                del self._killed_at[shard]

    def _are_all_back(self):
        self._look_around()
        return not self._killed_at

    def _kill_one(self):
        serving = [shard for shard in range(NUM_SHARDS) if shard not in self._killed_at]
        if not serving:
            return
        victim = random.choice(serving)
        status = read_status(self._running[victim].address, timeout_s=20)
        assert status.health == "SERVING", (status, self._running[victim].log)
        self.versions.append(status.description.version)
        self._killed_at[victim] = time.monotonic()
        self._running[victim].kill()
        self._running[victim] = self._shards.start(victim)
        self.num_kills += 1


@pytest.mark.parametrize(
    "duration_s",
    [
        pytest.param(SHORT_S, marks=pytest.mark.timeout(240), id="short"),
        pytest.param(LONG_S, marks=pytest.mark.timeout(900), id="long"),
    ],
)
def test_no_push_is_lost_or_applied_twice_however_often_shards_are_killed(
    tmp_path, capsys, duration_s
):
    end = tmp_path / "end"
    spawning = multiprocessing.get_context("spawn")  # gRPC does not survive a fork
    with ShardProcesses(
        tmp_path / "shards", LAYOUT.shapes, NUM_SHARDS, settings={"checkpoint_pushes": 200}
    ) as shards:
        killer = Killer(shards)
        with ShardClient(LAYOUT, shards.addresses, ClientSettings()) as launcher:
            launcher.initialize(BEGIN)
        replicate = partial(push_until, end, LAYOUT, shards.addresses, ClientSettings())
        with ProcessPoolExecutor(NUM_REPLICAS, mp_context=spawning) as processes:
            try:
                replicas = range(NUM_REPLICAS)
                started = processes.map(replicate, replicas, map(gradient_of, replicas))
                killer.go(duration_s)
            finally:
                end.touch()
            done = list(started)
        with ShardClient(LAYOUT, shards.addresses, ClientSettings()) as client:
            pulled, descriptions = client.pull(), client.describe()
        assert killer.end() == [0] * NUM_SHARDS

    acknowledged = np.array([each.num_acknowledged for each in done])
    applied = pulled.values.reshape(NUM_SHARDS, NUM_REPLICAS)
    times_s = sorted(time_s for each in done for time_s in each.times_s)
    between = np.diff(killer.versions)
    with capsys.disabled():
        print(
            f"\nchaos of {duration_s:.0f} s: {killer.num_kills} kills, {acknowledged.sum()} pushes "
            f"(between two kills {statistics.mean(between):.0f}), "
            f"lost {np.maximum(acknowledged - applied, 0).sum():.0f}, "
            f"twice {np.maximum(applied - acknowledged, 0).sum():.0f}; "
            f"resends absorbed {sum(each.num_repeated for each in done)}, "
            f"calls given up {sum(each.num_given_up for each in done)}; "
            f"outage median {statistics.median(killer.outages_s):.2f} s, "
            f"longest {max(killer.outages_s):.2f} s; "
            f"push median {statistics.median(times_s):.3f} s, longest {times_s[-1]:.1f} s, "
            f"{sum(time_s > 5 for time_s in times_s)} above 5 s"
        )
    assert applied.tolist() == [acknowledged.tolist()] * NUM_SHARDS
    assert [each.sequence for each in done] == acknowledged.tolist()
    assert pulled.versions == (acknowledged.sum(),) * NUM_SHARDS
    assert [each.version for each in descriptions] == list(pulled.versions)
    assert min(each.epoch for each in descriptions) > 1, "every shard was killed"
    assert killer.num_kills >= duration_s / (2 * PAUSE_S[1])
    assert statistics.mean(between) > 0, "nothing was pushed between the kills"
    assert sum(each.num_repeated for each in done) > 0, "no push was answered and the answer lost"
