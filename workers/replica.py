"""A controller replica as a Ray actor."""

from __future__ import annotations

import itertools
import logging
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import torch

from child.objective import Objective
from child.space import Space
from child.task import Task
from controller.evolution import Evolution, EvolutionSettings
from controller.learning import LearningSettings
from controller.policy import PolicySettings
from controller.population import Population
from controller.ppo import Ppo
from controller.random_search import RandomSearch
from controller.reinforce import Reinforce
from controller.replica import ControllerReplica
from controller.rounds import RoundSettings
from controller.strategy import Strategy, StrategyName
from ps.client import ClientSettings, ShardClient
from ps.credentials import Identity
from ps.layout import Layout
from ps.metrics_page import MetricsPage
from ps.server import ServerSettings
from workers.child import spawn_child_worker
from workers.children_settings import ChildrenSettings
from workers.metrics_settings import MetricsSettings
from workers.placement import Placement
from workers.pool import ChildPool, PoolStatus
from workers.process import ProcessSetup
from workers.remote import control
from workers.remote_ledger import RemoteLedger
from workers.slots import Slot

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ReplicaPlan:
    """What all replicas of a search have in common."""

    life: int  # of the search
    seed: int
    strategy: StrategyName
    task: Task
    objective: Objective
    policy: PolicySettings
    learning: LearningSettings
    evolution: EvolutionSettings
    deepest: int  # the depth of the search's deepest network
    layout: Layout
    client: ClientSettings
    certificates: Path | None  # the folder of the replicas' own; None without TLS
    children: ChildrenSettings
    rounds: RoundSettings
    placement: Placement
    shards: ServerSettings  # with addresses; where it has none, the ledger knows them
    metrics: MetricsSettings


@dataclass(frozen=True)
class ReplicaStatus:
    """How a replica is doing: its child workers, and where its metrics are.

    metrics_address is None where it has none.
    """

    pool: PoolStatus
    metrics_address: str | None = None


class ReplicaProcess:
    """Holds one controller replica and owns its child workers: they die with it."""

    def __init__(
        self,
        setup: ProcessSetup,
        replica: int,
        plan: ReplicaPlan,
        ledger: Any,
        data: list[Any],
        slots: Counter[Slot],
    ) -> None:
        """Begin a life of the replica, and to start its child workers.

        Args:
            ledger: handle of the LedgerProcess actor.
            data: one reference to the search's data, in a list so that Ray passes it on as it is.
            slots: of its child workers, for now.
        """
        name = f"replica-{replica}"
        setup.enter(name)
        self._plan = plan
        self._identity = Identity.load(plan.certificates, name) if plan.certificates else None
        self._ledger = RemoteLedger(ledger)
        worker_numbers = itertools.count()
        self._children = ChildPool(
            lambda slot: spawn_child_worker(
                setup,
                f"child-{replica}-{next(worker_numbers)}",
                plan.task,
                data[0],
                slot,
                plan.objective,
            ),
            slots,
            plan.children.max_deaths,
            plan.task.time_limit_s,
        )
        self._replica = ControllerReplica(
            replica,
            plan.life,
            plan.seed,
            plan.task.space,
            _strategy(plan, plan.task.space, self._ledger),
            self._ledger,
            self._children,
            plan.children.per_replica,
            plan.rounds,
        )
        self._metrics = self._open_metrics(replica)

    def run(self) -> None:
        """Run until no place in the budget is free or until drained."""
        torch.set_num_threads(1)
        plan = self._plan
        addresses = plan.shards.addresses or self._published
        observe = self._replica.metrics.called
        with ShardClient(
            plan.layout, addresses, plan.client, self._identity, observe=observe
        ) as shards:
            self._replica.run(shards)

    @control
    def ping(self) -> int:
        """Answer with the process id: the process lives."""
        return os.getpid()

    @control
    def drain(self) -> None:
        """Let `run` return after its round."""
        self._replica.drain()

    @control
    def resize(self, slots: Counter[Slot]) -> None:
        """Have a child worker in each of these slots from now on, and no others."""
        self._children.resize(slots)

    @control
    def status(self) -> ReplicaStatus:
        """Say what child workers there are, and where the metrics are."""
        page = self._metrics
        return ReplicaStatus(self._children.status, None if page is None else page.address)

    def _open_metrics(self, replica: int) -> MetricsPage | None:
        """Answer Prometheus, if that is wanted and can be: it is no reason not to search."""
        port = self._plan.metrics.replica_port(replica)
        if port is None:
            return None
        metrics = self._replica.metrics
        metrics.watch_workers(
            lambda: _workers(self._children.status), lambda: self._children.num_deaths
        )
        host = self._plan.shards.host_on(ray.util.get_node_ip_address())
        try:
            page = MetricsPage(metrics.registry, host, port, self._identity)
        except (OSError, OverflowError) as error:
            logger.warning("port %d at %s: metrics cannot be there: %s", port, host, error)
            return None
        logger.info("metrics at %s/metrics", page.address)
        return page

    def _published(self) -> Sequence[str]:
        """Give where the shards are now, as far as they have said it."""
        known = self._ledger.addresses()
        return [known.get(shard, "") for shard in range(self._plan.layout.num_shards)]


def _workers(status: PoolStatus) -> dict[str, int]:
    return {
        "placed": status.wanted.total(),
        "ready": status.ready.total(),
        "starting": status.starting.total(),
        "leaving": status.num_leaving,
        "training": len(status.training),
    }


def _strategy(plan: ReplicaPlan, space: Space, population: Population) -> Strategy:
    if plan.strategy == "random":
        return RandomSearch(space, plan.layout.num_parameters)
    if plan.strategy == "evolution":
        return Evolution(space, plan.layout.num_parameters, plan.evolution, population)
    kind = Ppo if plan.strategy == "ppo" else Reinforce
    return kind.untrained(
        space, plan.policy, plan.seed, plan.layout.num_shards, plan.deepest, plan.learning
    )
