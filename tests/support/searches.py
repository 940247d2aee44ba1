"""A search with everything real but the children: ledger in a file, shards on loopback."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from support.children import FakeChildren, completed

from child.result import TrialResult
from child.space import Space
from controller import seeds
from controller.ledger_reader import LedgerReader
from controller.policy import Policy, PolicySettings
from controller.reinforce import Reinforce
from controller.replica import ControllerReplica, LedgerOfReplica
from controller.rollout import Rollout
from controller.rounds import RoundSettings
from controller.strategy import Strategy
from ps.client import ClientSettings, ShardClient
from ps.layout import FlatVector, Layout
from ps.optimizer import AdamSettings
from ps.plan import ShardPlan, UpdateSettings
from ps.server import ServerSettings, ShardServer

SEARCH_SEED = 5
NUM_SHARDS = 2
POLICY = PolicySettings(hidden_size=8, embedding_size=4)

# A call to a shard that is gone fails after this; a busy machine answers for the others in time.
IMPATIENT = ClientSettings(pull_timeout_s=1.5, push_timeout_s=1.5, max_attempts=1)


def make_reinforce(space: Space, seed: int = SEARCH_SEED) -> Reinforce:
    """Give a learner with its first weights."""
    return Reinforce(Policy(space, POLICY, 4, seeds.weights_generator(seed)), NUM_SHARDS)


class Overflowing(Reinforce):
    """REINFORCE whose first gradients are not finite: the parameters are infinite meanwhile.

    num_left: the rollouts that are still to be lost in this way.
    """

    num_left = 0

    @classmethod
    def at_first(cls, space: Space, num_lost: int) -> Overflowing:
        """Give a learner with its first weights, which so many rollouts will be lost with."""
        policy = Policy(space, POLICY, 4, seeds.weights_generator(SEARCH_SEED))
        learner = cls(policy, NUM_SHARDS)
        learner.num_left = num_lost
        return learner

    def gradient(
        self,
        depths: Sequence[int],
        rollouts: Sequence[Rollout],
        advantages: Sequence[float],
        is_reweighted: bool = False,
    ) -> FlatVector:
        """Give a gradient, as REINFORCE does, or raise as it does."""
        if self.num_left > 0:
            self.num_left -= len(rollouts)
            self.load(np.full_like(self.values, np.inf))
        return super().gradient(depths, rollouts, advantages, is_reweighted)


def mean_choice(architecture: Any) -> TrialResult:
    """Reward an architecture with the mean of its choices, of which 0 is worst and 3 best."""
    choices = [choice for layer in architecture.layers for _, choice in layer]
    return completed(sum(choices) / len(choices) / 3)


class Shards:
    """The shards of one search, and clients to them; in a folder they keep what they accept."""

    def __init__(
        self,
        layout: Layout,
        values: FlatVector,
        learning_rate: float,
        updates: UpdateSettings,
        folder: Path | None = None,
        interceptors: Sequence[grpc.ServerInterceptor] = (),
    ) -> None:
        self.layout = layout
        self._open = contextlib.ExitStack()
        self._optimizer = AdamSettings(learning_rate=learning_rate)
        self._updates = updates
        self._folder = folder
        self._interceptors = interceptors
        self.servers = [self._serve(shard) for shard in range(layout.num_shards)]
        self.client().initialize(values)

    def _serve(self, shard: int, address: str = "127.0.0.1:0") -> ShardServer:
        return self._open.enter_context(
            ShardServer(
                ShardPlan(self.layout, shard, self._optimizer, self._updates),
                ServerSettings(
                    durability="none" if self._folder is None else "journal", drain_timeout_s=0.1
                ),
                self._folder and self._folder / str(shard),
                address,
                interceptors=self._interceptors,
            )
        )

    def revive(self, shard: int) -> None:
        """Begin a new life of a shard that was closed, at the same address."""
        self.servers[shard] = self._serve(shard, self.servers[shard].address)

    def client(self, settings: ClientSettings | None = None) -> ShardClient:
        """Give a client to all shards; it is closed with them."""
        addresses = [server.address for server in self.servers]
        return self._open.enter_context(
            ShardClient(self.layout, addresses, settings or ClientSettings())
        )

    @property
    def versions(self) -> list[int]:
        """The version of each shard."""
        return [server.describe().version for server in self.servers]

    def close(self) -> None:
        """Close clients and servers."""
        self._open.close()


def make_replica(
    ledger: LedgerOfReplica,
    space: Space,
    strategy: Strategy,
    children: FakeChildren,
    *,
    replica: int = 0,
    life: int = 1,
    seed: int = SEARCH_SEED,
    num_trials: int | None = None,
    clock: Callable[[], float] = time.monotonic,
    **rounds: Any,
) -> ControllerReplica:
    """Begin a life of a replica; in a round it has as many trials as workers, or num_trials."""
    num_trials = num_trials or children.num_workers
    settings = RoundSettings(**rounds)
    return ControllerReplica(
        replica, life, seed, space, strategy, ledger, children, num_trials, settings, clock
    )


def run_search(
    ledger: LedgerOfReplica,
    shards: Shards,
    space: Space,
    strategy: Strategy,
    children: FakeChildren,
    **options: Any,
) -> None:
    """Run one replica until the budget is spent."""
    make_replica(ledger, space, strategy, children, **options).run(shards.client())


def assert_complete(ledger: LedgerReader, shards: Shards, num_trials: int) -> None:
    """Compare ledger and shards after a search with each other and with the budget."""
    trials, pushes = ledger.trials(), ledger.pushes()
    assert [trial.trial for trial in trials] == list(range(1, num_trials + 1))
    assert {trial.state for trial in trials} <= {"completed", "infeasible"}
    assert Counter(trial for push in pushes for trial in push.trials) == {
        trial.trial: 1 for trial in trials
    }
    for trial in trials:
        [push] = [push for push in pushes if trial.trial in push.trials]
        assert (push.replica, push.sequence) == (trial.push_replica, trial.push_sequence)
    assert [push for push in pushes if push.closed_at is None] == []
    assert [push for push in pushes if push.gradient is not None] == []
    assert shards.versions == [len(pushes)] * NUM_SHARDS
    for replica in {push.replica for push in pushes}:
        sequences = [push.sequence for push in pushes if push.replica == replica]
        assert sequences == list(range(1, len(sequences) + 1))
