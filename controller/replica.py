"""A controller replica: samples, has children trained, learns from their rewards."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from child.result import TrialResult
from child.space import Architecture, Space
from controller import seeds
from controller.rollout import Rollout
from controller.strategy import Strategy
from controller.trial import Owner, Reservation, Stamp, Start
from ps import wire
from ps.client import ShardClient
from ps.errors import StalePush

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Child:
    """What a child worker needs to know to train one child."""

    trial: int
    architecture: Architecture
    seed: int


class Children(Protocol):
    """The child workers of one replica."""

    @property
    def num_workers(self) -> int:
        """How many children train at the same time."""
        ...

    def train(self, children: Sequence[Child]) -> Iterable[tuple[int, TrialResult]]:
        """Train all children; give (trial, result) of each as it ends, in any order."""
        ...


class LedgerOfReplica(Protocol):
    """The part of `controller.ledger.Ledger` that a replica uses; the laws are there."""

    def enlist(self, replica: int) -> Owner: ...

    def reserve(self, owner: Owner, num_trials: int) -> list[Reservation]: ...

    def start(self, owner: Owner, starts: Sequence[Start]) -> None: ...

    def record(self, owner: Owner, trial: int, result: TrialResult) -> Stamp: ...

    def open_push(
        self, owner: Owner, trials: Sequence[int], base_versions: Sequence[int], gradient: bytes
    ) -> int: ...

    def replace_push(
        self, owner: Owner, sequence: int, base_versions: Sequence[int], gradient: bytes
    ) -> None: ...

    def close_push(
        self, owner: Owner, sequence: int, versions: Sequence[int], staleness: Sequence[int]
    ) -> None: ...


class ControllerReplica:
    """One of K loops that search side by side and never wait for each other.

    Threads: `run` by one; `drain` by any, at any time.
    """

    def __init__(
        self,
        replica: int,
        search_seed: int,
        space: Space,
        strategy: Strategy,
        ledger: LedgerOfReplica,
        children: Children,
    ) -> None:
        self._owner = ledger.enlist(replica)
        self._search_seed = search_seed
        self._space = space
        self._strategy = strategy
        self._ledger = ledger
        self._children = children
        self._is_draining = threading.Event()

    def run(self, shards: ShardClient) -> None:
        """Run rounds until the budget of the search is spent, or until drained.

        Raises:
            ps.errors.ShardError, controller.errors.LedgerError: the round cannot be finished;
                what was recorded stays.
            ValueError: the gradient is not finite; it was not pushed.
        """
        while not self._is_draining.is_set():
            reservations = self._ledger.reserve(self._owner, self._children.num_workers)
            if not reservations:
                logger.info("the budget is spent")
                return
            self._round(shards, reservations)
        logger.info("drained")

    def drain(self) -> None:
        """Let `run` finish its round, then return; takes nothing new."""
        self._is_draining.set()

    def _round(self, shards: ShardClient, reservations: Sequence[Reservation]) -> None:
        depths = [reservation.depth for reservation in reservations]
        trials = [reservation.trial for reservation in reservations]
        pulled = shards.pull()
        self._strategy.load(pulled.values)
        rollouts = self._strategy.sample(
            depths, [seeds.rollout_generator(self._search_seed, trial) for trial in trials]
        )
        children = [
            Child(
                trial,
                self._space.decode(rollout.choices, depth),
                seeds.child_seed(self._search_seed, trial),
            )
            for trial, depth, rollout in zip(trials, depths, rollouts, strict=True)
        ]
        self._ledger.start(
            self._owner,
            [
                Start(
                    trial=child.trial,
                    decisions=tuple(self._decisions(rollout, depth)),
                    log_probs=rollout.log_probs,
                    architecture=child.architecture.to_json(),
                    architecture_text=str(child.architecture),
                    seed=child.seed,
                    versions=pulled.versions,
                )
                for child, rollout, depth in zip(children, rollouts, depths, strict=True)
            ],
        )
        stamps: dict[int, Stamp] = {}
        for trial, result in self._children.train(children):
            stamps[trial] = self._ledger.record(self._owner, trial, result)
            logger.info("trial %d: %s, reward %.4f", trial, result.state, result.reward)
        advantages = [stamps[trial].advantage for trial in trials]
        gradient = self._strategy.gradient(depths, rollouts, advantages)
        sequence = self._ledger.open_push(self._owner, trials, pulled.versions, wire.pack(gradient))
        while True:
            try:
                answers = shards.push(
                    self._owner.replica,
                    self._owner.incarnation,
                    sequence,
                    pulled.versions,
                    gradient,
                )
                break
            except StalePush as refusal:
                # Whenever this happens, another replica's push was accepted: the search goes on.
                logger.info("computing the gradient again: %s", refusal)
                pulled = shards.pull()
                self._strategy.load(pulled.values)
                gradient = self._strategy.gradient(depths, rollouts, advantages, is_reweighted=True)
                self._ledger.replace_push(
                    self._owner, sequence, pulled.versions, wire.pack(gradient)
                )
        self._ledger.close_push(
            self._owner,
            sequence,
            [answer.version for answer in answers],
            [answer.staleness for answer in answers],
        )

    def _decisions(self, rollout: Rollout, depth: int) -> Iterable[tuple[str, int]]:
        for step, choice in enumerate(rollout.choices):
            decision = self._space.next_decision(rollout.choices[:step], depth)
            assert decision is not None, "the policy chose past the end of the list"
            yield decision.kind, choice
