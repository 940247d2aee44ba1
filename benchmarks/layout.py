"""The paper's layout on one machine: S = 20 shards, K = 100 replicas, m = 8 children each.

    python benchmarks/layout.py            # about 5 minutes on 2 cores
    python benchmarks/layout.py --short    # S = 4, K = 16; under 2 minutes

The paper's search (`cifar10-paper-v1`), in processes: 20 shards with their journals, the ledger in
its database, both as in a search; and 100 replicas, several to a process, each with its own client
to all shards. Children do not train: they wait for a time that is drawn. In the middle half of the
replicas, in half of the processes, is killed, and nobody takes their place.

Printed: pushes per second, staleness, memory and processor time by kind of process, what became of
the others' pushes when half of the replicas died, and what all this comes to at K = 400.
"""

from __future__ import annotations

import argparse
import os
import platform
import signal
import tempfile
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import ray
import torch
from machine import machine

from child.result import TrialResult
from controller.baseline import Baseline
from controller.children import Child
from controller.records import PushRecord, SearchRecord
from controller.reinforce import Reinforce
from controller.replica import ControllerReplica
from controller.search_ledger import SearchLedger
from deploy.settings import SearchSettings
from deploy.settings_file import load_settings
from ps.client import ShardClient
from ps.plan import ShardPlan
from workers.ledger import spawn_ledger
from workers.process import ProcessSetup
from workers.remote import control, spawn
from workers.remote_ledger import RemoteLedger
from workers.shard import ShardProcess

WAIT_S = 1.0
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
TRIALS = 10**6  # more than there is time for
PAPER_S = 3600.0  # a child's, to say what K = 400 comes to


class WaitingChildren:
    """Child workers that wait instead of training; see `controller.children.Children`."""

    def __init__(self, num_workers: int, mean_s: float) -> None:
        self.num_workers = num_workers
        self._mean_s = mean_s
        self._ends_at: dict[int, float] = {}

    def train(self, child: Child) -> None:
        drawn = np.random.default_rng(child.seed).uniform(0.5, 1.5)
        self._ends_at[child.trial] = time.monotonic() + self._mean_s * drawn

    def forget(self, trials: Collection[int]) -> None:
        raise AssertionError("there are always workers")

    def ended(self) -> Sequence[tuple[int, TrialResult]]:
        now = time.monotonic()
        first = min(self._ends_at.values(), default=now + WAIT_S)
        time.sleep(max(0.0, min(first - now, WAIT_S)))
        now = time.monotonic()
        ended = [trial for trial, ends_at in self._ends_at.items() if ends_at <= now]
        for trial in ended:
            del self._ends_at[trial]
        return [(trial, _result_of(trial)) for trial in ended]


def _result_of(trial: int) -> TrialResult:
    reward = float(np.random.default_rng(trial).uniform())
    return TrialResult("completed", reward, (reward,), reward, 1000, 1.0)


class ReplicaHost:
    """Several replicas in one process, each in a thread of its own."""

    def __init__(
        self,
        setup: ProcessSetup,
        settings: SearchSettings,
        life: int,
        replicas: Sequence[int],
        ledger: Any,
        mean_s: float,
    ) -> None:
        setup.enter(f"replicas-{replicas[0]}")
        torch.set_num_threads(1)
        self._ledger = RemoteLedger(ledger)
        self._settings = settings
        self._layout = settings.untrained().layout
        self._replicas = [
            ControllerReplica(
                number,
                life,
                settings.seed,
                settings.task.space,
                self._learner(),
                self._ledger,
                WaitingChildren(settings.children.per_replica, mean_s),
                settings.children.per_replica,
                settings.rounds,
            )
            for number in replicas
        ]

    def _learner(self) -> Reinforce:
        settings = self._settings
        return Reinforce.untrained(
            settings.task.space,
            settings.policy,
            settings.seed,
            settings.num_shards,
            settings.deepest,
        )

    def run(self) -> None:
        """Run all replicas until they are drained."""
        threads = [threading.Thread(target=self._run, args=(each,)) for each in self._replicas]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _run(self, replica: ControllerReplica) -> None:
        with ShardClient(self._layout, self._addresses, self._settings.client) as shards:
            replica.run(shards)

    def _addresses(self) -> Sequence[str]:
        known = self._ledger.addresses()
        return [known.get(shard, "") for shard in range(self._settings.num_shards)]

    @control
    def ping(self) -> int:
        """Answer with the process id."""
        return os.getpid()

    @control
    def drain(self) -> None:
        """Let all replicas finish what is in flight."""
        for replica in self._replicas:
            replica.drain()


@dataclass(frozen=True)
class Use:
    """What one process has taken: bytes of memory, seconds of processor time.

    Of pages that several processes share each has its part (PSS).
    """

    memory: int
    cpu_s: float

    @classmethod
    def of(cls, pid: int) -> Use | None:
        """Read it from the system; None of one that has died."""
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):
            return None
        [kib] = [int(line.split()[1]) for line in lines if line.startswith("Pss:")]
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks = int(after_name[11]) + int(after_name[12])
        return cls(kib * 1024, ticks / TICKS_PER_S)


@dataclass(frozen=True)
class Running:
    """A search that runs: its processes by their ids, and its ledger."""

    ledger: SearchLedger
    hosts: dict[int, list[int]]  # the replicas of each process
    pids: dict[str, list[int]]  # by kind

    def uses(self) -> dict[str, list[Use]]:
        """Give what each process that lives has taken."""
        return {
            kind: [use for pid in pids if (use := Use.of(pid)) is not None]
            for kind, pids in self.pids.items()
        }


@contextmanager
def running(settings: SearchSettings, num_hosts: int, mean_s: float) -> Iterator[Running]:
    """Run the search until the block ends."""
    untrained = settings.untrained()
    with tempfile.TemporaryDirectory() as home:
        ray.init(num_cpus=os.cpu_count(), log_to_driver=False, include_dashboard=False)
        try:
            setup = ProcessSetup(Path(home))
            url = f"sqlite:///{home}/ledger.sqlite"
            baseline = Baseline(settings.baseline_decay, settings.baseline_start)
            record = SearchRecord(
                TRIALS,
                baseline,
                settings.depths,
                settings.task.metric,
                settings={},
                code_versions={},
            )
            with SearchLedger.create(url, record) as ledger:
                life = ledger.begin_life(platform.node(), os.getpid())
                actor = spawn_ledger(setup, url)
                (Path(home) / "id").write_text("layout")
                shards = [
                    spawn(
                        ShardProcess,
                        setup,
                        life,
                        ShardPlan(untrained.layout, shard, settings.optimizer, settings.updates),
                        settings.shards,
                        Path(home) / "shards" / f"shard-{shard}",
                        None,
                        actor,
                        "layout",
                    )
                    for shard in range(settings.num_shards)
                ]
                pids = {"shard": ray.get([shard.ping.remote() for shard in shards])}
                known = ledger.addresses()
                addresses = [known[shard] for shard in range(settings.num_shards)]
                with ShardClient(untrained.layout, addresses, settings.client) as client:
                    client.initialize(untrained.values)
                numbers = np.array_split(np.arange(settings.num_replicas), num_hosts)
                groups = [[int(number) for number in group] for group in numbers]
                hosts = [
                    spawn(ReplicaHost, setup, settings, life, group, actor, mean_s)
                    for group in groups
                ]
                pids["replicas"] = ray.get([host.ping.remote() for host in hosts])
                pids["ledger"] = [ray.get(actor.ping.remote())]
                for host in hosts:
                    host.run.remote()
                yield Running(ledger, dict(zip(pids["replicas"], groups, strict=True)), pids)
        finally:
            ray.shutdown()


@dataclass(frozen=True)
class Window:
    """What happened in a stretch of time, by the ledger's clock and the system's."""

    seconds: float
    pushes: list[PushRecord]
    rounds: list[tuple[int, float]]  # for each: the replica, and since when it had pushed before
    cpu_s: dict[str, float]  # by kind of process, of those that lived at its end
    memory: dict[str, list[int]]

    def pushes_of(self, replicas: Collection[int]) -> float:
        """Give the pushes per second of some replicas, by the time from one to the next of each.

        To count them would tell more of which rounds happened to end in the window.
        """
        return len(replicas) / mean(
            seconds for replica, seconds in self.rounds if replica in replicas
        )


def observe(search: Running, seconds: float) -> Window:
    """Let a search run for a while, and give what happened."""
    before, begin = search.uses(), time.time()
    time.sleep(seconds)
    after, end = search.uses(), time.time()
    pushes, rounds, last = [], [], dict[int, float]()
    for push in search.ledger.pushes():
        if push.closed_at is None or push.closed_at > end:
            continue
        if push.closed_at > begin:
            pushes.append(push)
            if push.replica in last:
                rounds.append((push.replica, push.closed_at - last[push.replica]))
        last[push.replica] = push.closed_at
    return Window(
        end - begin,
        pushes,
        rounds,
        {
            kind: sum(use.cpu_s for use in after[kind]) - sum(use.cpu_s for use in before[kind])
            for kind in after
        },
        {kind: [use.memory for use in after[kind]] for kind in after},
    )


def report(whole: Window) -> None:
    """Print what a window says of the layout, and what it would come to at K = 400."""
    num_pushes = len(whole.pushes)
    per_push = {kind: cpu_s / num_pushes for kind, cpu_s in whole.cpu_s.items()}
    print(
        f"{num_pushes / whole.seconds:.2f} pushes/s of all replicas, each to all shards; staleness:"
    )
    for name in ("staleness", "sample_staleness"):
        found = [max(getattr(push, name)) for push in whole.pushes]
        low, high = np.percentile(found, [5, 95])
        print(f"- {name}: mean {mean(found):.1f}, 5 % to 95 %: {low:.0f} to {high:.0f}")
    print("\n| | processes | MiB each | ms of a core per push |\n|---|---|---|---|")
    for kind, memory in whole.memory.items():
        each = mean(memory) / 2**20
        print(f"| {kind} | {len(memory)} | {each:.0f} | {1000 * per_push[kind]:.1f} |")
    rate = 400 / PAPER_S
    replicas_mib = mean(whole.memory["replicas"]) / 2**20
    print(
        f"\nAt K = 400 with children of {PAPER_S / 3600:g} h: {rate:.2f} pushes/s. Of one core the "
        f"ledger takes {100 * rate * per_push['ledger']:.2f} %, all shards "
        f"{100 * rate * per_push['shard']:.2f} %, all replicas "
        f"{100 * rate * per_push['replicas']:.2f} %. A replica in a process of its own takes "
        f"{replicas_mib:.0f} MiB at most: {400 * replicas_mib / 1024:.0f} GiB for all, on "
        "whatever nodes they are."
    )
    # What the core could carry before the ledger, through which all go, is the bottleneck.
    print(
        f"The ledger's process is busy all the time at {1 / per_push['ledger']:.0f} pushes/s: "
        f"with K = 400, at children of {400 * per_push['ledger']:.1f} s."
    )


def main() -> None:
    """Run the layout, kill half of it, and print what was seen."""
    parser = argparse.ArgumentParser(description="The paper's layout on one machine")
    parser.add_argument("--short", action="store_true", help="S = 4, K = 16, for a minute")
    parser.add_argument("--mean", type=float, default=20.0, help="seconds of a child's wait")
    arguments = parser.parse_args()
    num_shards, num_replicas, num_hosts = (4, 16, 4) if arguments.short else (20, 100, 4)
    mean_s = 4.0 if arguments.short else arguments.mean
    # All begin at once: it takes rounds until they do not push all at once.
    warm_up_s, window_s = (10.0, 20.0) if arguments.short else (3 * mean_s, 4 * mean_s)
    settings = load_settings(
        "cifar10-paper-v1", [f"num_shards={num_shards}", f"num_replicas={num_replicas}"]
    )
    torch.set_num_threads(1)
    os.environ["PYTHONPATH"] = str(Path(__file__).parent)  # where processes find this file
    print(
        f"S = {num_shards}, K = {num_replicas} in {num_hosts} processes, m = "
        f"{settings.children.per_replica}, children of {mean_s:g} s ± half; "
        f"{machine('torch', 'grpcio', 'ray')}\n"
    )
    with running(settings, num_hosts, mean_s) as search:
        time.sleep(warm_up_s)
        whole = observe(search, window_s)
        report(whole)
        dying = dict(list(search.hosts.items())[: num_hosts // 2])
        living = [group for pid, group in search.hosts.items() if pid not in dying]
        others = {number for group in living for number in group}
        for pid in dying:
            os.kill(pid, signal.SIGKILL)
        half = observe(search, window_s)
    before, after = whole.pushes_of(others), half.pushes_of(others)
    change = 100 * (after / before - 1)
    memory = [mean(window.memory["shard"]) / 2**20 for window in (whole, half)]
    print(
        f"\nHalf of the replicas died. The others' pushes/s: {before:.3f} before, {after:.3f} "
        f"after ({change:+.1f} %). A shard had {memory[0]:.1f} MiB before, {memory[1]:.1f} after."
    )


if __name__ == "__main__":
    main()
