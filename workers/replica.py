"""A controller replica as a Ray actor."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from child.convolutional.network_settings import NetworkSettings
from child.convolutional.space import ConvolutionalSpace
from child.convolutional.space_settings import ConvolutionalSettings
from child.training import TrainingSettings
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
    space: ConvolutionalSettings
    policy: PolicySettings
    layout: Layout
    client: ClientSettings
    certificates: Path | None  # the folder of the replicas' own; None without TLS
    training: TrainingSettings
    network: NetworkSettings
    children: ChildrenSettings


class ReplicaProcess:
    """Holds one controller replica and owns its child workers: they die with it."""

    def __init__(
        self, setup: ProcessSetup, replica: int, plan: ReplicaPlan, ledger: Any, data: list[Any]
    ) -> None:
        """Make the replica and its child workers.

        Args:
            ledger: handle of the LedgerProcess actor.
            data: one reference to the TrainingData, in a list so that Ray passes it on as it is.
        """
        setup.enter(f"replica-{replica}")
        torch.set_num_threads(1)
        self._plan = plan
        name = f"replica-{replica}"
        self._identity = Identity.load(plan.certificates, name) if plan.certificates else None
        space = ConvolutionalSpace(plan.space)
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
                    plan.training,
                    plan.network,
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


def _strategy(plan: ReplicaPlan, space: ConvolutionalSpace) -> Strategy:
    if plan.strategy == "random":
        return RandomSearch(space, plan.layout.num_parameters)
    return Reinforce.untrained(space, plan.policy, plan.seed, plan.layout.num_shards)
