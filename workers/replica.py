"""A controller replica as a Ray actor."""

from __future__ import annotations

import itertools
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
from controller.strategy import Strategy
from ps.client import ClientSettings, ShardClient
from ps.credentials import Identity
from ps.layout import Layout
from workers.child import ChildrenSettings, spawn_child_worker
from workers.ledger import RemoteLedger
from workers.pool import ChildPool
from workers.process import ProcessSetup


@dataclass(frozen=True)
class ReplicaPlan:
    """What all replicas of a search have in common."""

    seed: int
    strategy: Literal["reinforce", "random"]
    task: Task
    policy: PolicySettings
    deepest: int  # the depth of the search's deepest network
    layout: Layout
    client: ClientSettings
    certificates: Path | None  # the folder of the replicas' own; None without TLS
    children: ChildrenSettings


class ReplicaProcess:
    """Holds one controller replica and owns its child workers: they die with it."""

    def __init__(
        self, setup: ProcessSetup, replica: int, plan: ReplicaPlan, ledger: Any, data: list[Any]
    ) -> None:
        """Make the replica and its child workers.

        Args:
            ledger: handle of the LedgerProcess actor.
            data: one reference to the search's data, in a list so that Ray passes it on as it is.
        """
        setup.enter(f"replica-{replica}")
        torch.set_num_threads(1)
        self._plan = plan
        name = f"replica-{replica}"
        self._identity = Identity.load(plan.certificates, name) if plan.certificates else None
        space = plan.task.space
        worker_numbers = itertools.count()
        self._replica = ControllerReplica(
            replica,
            plan.seed,
            space,
            _strategy(plan, space),
            RemoteLedger(ledger),
            ChildPool(
                lambda: spawn_child_worker(
                    setup,
                    f"child-{replica}-{next(worker_numbers)}",
                    plan.task,
                    data[0],
                    plan.children,
                ),
                plan.children.per_replica,
                plan.children.max_deaths,
                shares_gpu=plan.children.shares_gpu,
            ),
        )

    def run(self, addresses: tuple[str, ...]) -> None:
        """Run with the shards at these addresses until the budget is spent or drained."""
        plan = self._plan
        with ShardClient(plan.layout, addresses, plan.client, self._identity) as shards:
            self._replica.run(shards)

    def drain(self) -> None:
        """Let `run` return after its round."""
        self._replica.drain()


def _strategy(plan: ReplicaPlan, space: Space) -> Strategy:
    if plan.strategy == "random":
        return RandomSearch(space, plan.layout.num_parameters)
    return Reinforce.untrained(space, plan.policy, plan.seed, plan.layout.num_shards, plan.deepest)
