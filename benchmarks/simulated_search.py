"""A search whose children take simulated time: replicas, ledger and store are the real ones."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import tempfile
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from child.metric import ACCURACY
from child.result import TrialResult
from child.space import Space
from controller.baseline import Baseline
from controller.children import Child
from controller.ledger import Ledger
from controller.records import PushRecord, SearchRecord
from controller.replica import ControllerReplica
from controller.rounds import RoundSettings
from controller.schedule import ScheduleSettings
from controller.strategy import Strategy
from controller.trial import LEASE_S, Trial
from ps.client import Pulled
from ps.layout import FlatVector, Layout
from ps.optimizer import AdamSettings
from ps.plan import ShardPlan
from ps.push import Push, PushAnswer
from ps.store import Store

# Gives what becomes of a child, and the seconds that it takes: > 0, in the result too.
Train = Callable[[Child], TrialResult]

# A replica looks at its lease at least that often, as one does that waits for results.
_LOOK_EVERY_S = LEASE_S / 8


@dataclass(frozen=True)
class Setup:
    """A search: num_replicas (K) of per_replica (m) child workers each."""

    rounds: RoundSettings
    num_replicas: int
    per_replica: int
    num_trials: int
    schedule: ScheduleSettings
    seed: int = 0
    latency_s: float = 0.0  # from the end of a child to the begin of the next, at the least
    learning_rate: float = AdamSettings().learning_rate
    baseline_decay: float = 0.95


@dataclass(frozen=True)
class Outcome:
    """What the ledger holds at the end; its times are simulated seconds, from 0 on."""

    setup: Setup
    trials: list[Trial]
    pushes: list[PushRecord]

    @property
    def last_begun_at(self) -> float:
        """When the last place in the budget was taken: until then a free worker is a waste."""
        return max(trial.started_at for trial in self.trials)

    @property
    def ended_at(self) -> float:
        """When the last child ended."""
        return max(trial.recorded_at for trial in self.trials)

    def utilization(self, until: float) -> float:
        """Give the fraction of the child workers' time, from the beginning, that they trained."""
        busy_s = sum(
            min(trial.started_at + trial.seconds, until) - min(trial.started_at, until)
            for trial in self.trials
        )
        return busy_s / (self.setup.num_replicas * self.setup.per_replica * until)


def simulate(
    setup: Setup, space: Space, strategy: Strategy, layout: Layout, values: FlatVector, train: Train
) -> Outcome:
    """Run a search from its first trial to its last push.

    Whatever replicas, ledger and shards do takes no time: children do. All replicas share the
    strategy, which takes over the parameters before each use anyway.
    """
    now = 0.0
    record = SearchRecord(
        setup.num_trials,
        Baseline(setup.baseline_decay),
        setup.schedule,
        ACCURACY,
        settings={},
        code_versions={},
    )

    def clock() -> float:
        return now

    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.closing(
            Ledger.create(f"sqlite:///{folder}/ledger.sqlite", record, clock)
        ) as ledger,
    ):
        life = ledger.begin_life("simulated", 1)
        shards: Any = InstantShards(layout, values, setup.learning_rate)
        agenda = Agenda()
        replicas = [
            ControllerReplica(
                number,
                life,
                setup.seed,
                space,
                strategy,
                ledger,
                SimulatedChildren(number, setup, train, agenda, clock),
                setup.per_replica,
                setup.rounds,
                clock,
            )
            for number in range(setup.num_replicas)
        ]
        for number in range(setup.num_replicas):
            agenda.add(now, number, [])
        while agenda.has_more:
            now, number, ended = agenda.next()
            is_more = replicas[number].advance(shards, ended)
            if is_more and not ended:
                agenda.add(now + _LOOK_EVERY_S, number, [])
        return Outcome(setup, ledger.trials(), ledger.pushes())


class Agenda:
    """What happens, in the order of time; at the same time in the order in which it was added."""

    def __init__(self) -> None:
        self._events: list[tuple[float, int, int, list[tuple[int, TrialResult]]]] = []
        self._numbers = itertools.count()

    @property
    def has_more(self) -> bool:
        return bool(self._events)

    def add(self, at: float, replica: int, ended: list[tuple[int, TrialResult]]) -> None:
        """Have a replica advance at a time, with those of its children that have ended."""
        heapq.heappush(self._events, (at, next(self._numbers), replica, ended))

    def next(self) -> tuple[float, int, list[tuple[int, TrialResult]]]:
        """Take the next one out."""
        at, _, replica, ended = heapq.heappop(self._events)
        return at, replica, ended


class SimulatedChildren:
    """Child workers of which none fails; see `controller.children.Children`."""

    def __init__(
        self,
        replica: int,
        setup: Setup,
        train: Train,
        agenda: Agenda,
        clock: Callable[[], float],
    ) -> None:
        self.num_workers = setup.per_replica
        self._latency_s = setup.latency_s
        self._replica = replica
        self._train = train
        self._agenda = agenda
        self._clock = clock

    def train(self, child: Child) -> None:
        result = self._train(child)
        ends_at = self._clock() + result.seconds + self._latency_s
        self._agenda.add(ends_at, self._replica, [(child.trial, result)])

    def forget(self, trials: Collection[int]) -> None:
        raise AssertionError("there are always workers")

    def ended(self) -> Sequence[tuple[int, TrialResult]]:
        raise AssertionError("whoever runs the simulation gives the results")


class InstantShards:
    """A shard's store where a client would be; several would all be at the same version."""

    def __init__(self, layout: Layout, values: FlatVector, learning_rate: float) -> None:
        assert layout.num_shards == 1, "there is one store"
        self._store = Store(ShardPlan(layout, 0, AdamSettings(learning_rate=learning_rate)))
        self._store.initialize(b"first", values)
        self._pulled = Pulled(values, (0,))

    def pull(self) -> Pulled:
        if self._pulled.versions != (self._store.version,):
            self._pulled = Pulled(self._store.values.copy(), (self._store.version,))
        return self._pulled

    def push(
        self,
        replica: int,
        incarnation: int,
        sequence: int,
        base_versions: Sequence[int],
        gradient: FlatVector,
        sample_versions: Sequence[int],
    ) -> tuple[PushAnswer, ...]:
        [base], [sampled] = base_versions, sample_versions
        push = Push(replica, sequence, incarnation, base, gradient, sampled)
        self._store.check_gradient(push)
        answer, _ = self._store.push(push)
        return (answer,)
