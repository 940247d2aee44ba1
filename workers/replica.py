"""A controller replica as a Ray actor."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from child.space import Space
from child.task import Task
from controller.policy import PolicySettings
from controller.random_search import RandomSearch
from controller.reinforce import Reinforce
from controller.replica import ControllerReplica
from controller.rounds import RoundSettings
from controller.strategy import Strategy
from ps.client import ClientSettings, ShardClient
from ps.credentials import Identity
from ps.layout import Layout
from workers.child import spawn_child_worker
from workers.children_settings import ChildrenSettings
from workers.placement import Placement
from workers.pool import ChildPool, PoolStatus
from workers.process import ProcessSetup
from workers.remote import control
from workers.remote_ledger import RemoteLedger
from workers.slots import Slot


@dataclass(frozen=True)
class ReplicaPlan:
    """What all replicas of a search have in common."""

    life: int  # of the search
    seed: int
    strategy: Literal["reinforce", "random"]
    task: Task
    policy: PolicySettings
    deepest: int  # the depth of the search's deepest network
    layout: Layout
    client: ClientSettings
    certificates: Path | None  # the folder of the replicas' own; None without TLS
    children: ChildrenSettings
    rounds: RoundSettings
    placement: Placement
    addresses: tuple[str, ...]  # of shards that somebody else starts; empty: the ledger knows them


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
                setup, f"child-{replica}-{next(worker_numbers)}", plan.task, data[0], slot
            ),
            slots,
            plan.children.max_deaths,
        )
        self._replica = ControllerReplica(
            replica,
            plan.life,
            plan.seed,
            plan.task.space,
            _strategy(plan, plan.task.space),
            self._ledger,
            self._children,
            plan.children.per_replica,
            plan.rounds,
        )

    def run(self) -> None:
        """Run until no place in the budget is free or until drained."""
        torch.set_num_threads(1)
        plan = self._plan
        addresses = plan.addresses or self._published
        with ShardClient(plan.layout, addresses, plan.client, self._identity) as shards:
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
    def status(self) -> PoolStatus:
        """Say what child workers there are."""
        return self._children.status

    def _published(self) -> Sequence[str]:
        """Give where the shards are now, as far as they have said it."""
        known = self._ledger.addresses()
        return [known.get(shard, "") for shard in range(self._plan.layout.num_shards)]


def _strategy(plan: ReplicaPlan, space: Space) -> Strategy:
    if plan.strategy == "random":
        return RandomSearch(space, plan.layout.num_parameters)
    return Reinforce.untrained(space, plan.policy, plan.seed, plan.layout.num_shards, plan.deepest)
