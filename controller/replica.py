"""A controller replica: samples, has children trained, learns from their rewards."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Protocol, TypeVar

from child.result import TrialResult
from child.space import Space
from controller import seeds
from controller.children import Child, Children
from controller.errors import NotOwner
from controller.metrics import ReplicaMetrics
from controller.records import Enlistment
from controller.rollout import Rollout
from controller.rounds import RoundSettings
from controller.sampled import Rewarded, Sampled, gradient_of, oldest
from controller.strategy import Strategy
from controller.trial import LEASE_S, Owner, Reservation, Stamp, Start
from ps import wire
from ps.client import ShardClient
from ps.errors import ShardUnavailable, StalePush
from ps.layout import FlatVector

logger = logging.getLogger(__name__)

T = TypeVar("T")


class LedgerOfReplica(Protocol):
    """The part of `controller.ledger.Ledger` that a replica uses; the laws are there."""

    def enlist(self, replica: int, life: int) -> Enlistment: ...

    def renew(self, owner: Owner) -> None: ...

    def reserve(
        self, owner: Owner, num_trials: int, held: Collection[int] = ()
    ) -> list[Reservation]: ...

    def release(self, owner: Owner, trials: Collection[int]) -> None: ...

    def start(
        self, owner: Owner, starts: Sequence[Start], *, reuse: bool = False
    ) -> dict[int, Stamp]: ...

    def record(self, owner: Owner, results: Mapping[int, TrialResult]) -> dict[int, Stamp]: ...

    def open_push(
        self,
        owner: Owner,
        trials: Sequence[int],
        base_versions: Sequence[int],
        sample_versions: Sequence[int],
        gradient: bytes,
    ) -> int: ...

    def replace_push(
        self,
        owner: Owner,
        sequence: int,
        base_versions: Sequence[int],
        sample_versions: Sequence[int],
        gradient: bytes,
    ) -> None: ...

    def close_push(
        self,
        owner: Owner,
        sequence: int,
        versions: Sequence[int],
        staleness: Sequence[int],
        sample_staleness: Sequence[int],
    ) -> None: ...


class ControllerReplica:
    """One of K loops that search side by side and never wait for each other.

    metrics: what is counted of its life.

    Threads: `drain` may be called by any, at any time; all else by one.
    """

    def __init__(
        self,
        replica: int,
        life: int,
        search_seed: int,
        space: Space,
        strategy: Strategy,
        ledger: LedgerOfReplica,
        children: Children,
        num_trials: int,
        rounds: RoundSettings,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin a life of the replica in a life of the search.

        Args:
            num_trials: whose rewards make one gradient; m in Zoph & Le 2017, s3.2.
        """
        self._search_seed = search_seed
        self._space = space
        self._strategy = strategy
        self._ledger = ledger
        self._children = children
        self._num_trials = num_trials
        self._rounds = rounds
        self._clock = clock
        self._renewed_at = clock()
        self._is_draining = threading.Event()
        self._taken_over: Enlistment | None = ledger.enlist(replica, life)
        self._owner = self._taken_over.owner
        self.metrics = ReplicaMetrics(replica)
        self.metrics.began(self._owner.incarnation)
        self._in_flight: dict[int, Sampled] = {}
        self._rewarded = [Rewarded.before(trial) for trial in self._taken_over.unpushed]

    def run(self, shards: ShardClient) -> None:
        """Search until no place in the budget is free, or until drained.

        A shard that cannot be reached is waited for.

        Raises:
            ps.errors.ShardError, controller.errors.LedgerError: the search cannot go on like this;
                what was recorded stays.
        """
        ended: Sequence[tuple[int, TrialResult]] = ()
        while self.advance(shards, ended):
            ended = self._children.ended()
        logger.info("drained" if self._is_draining.is_set() else "no place is free")

    def drain(self) -> None:
        """Let `run` finish the trials in flight, then return; takes nothing new."""
        self._is_draining.set()

    def advance(self, shards: ShardClient, ended: Iterable[tuple[int, TrialResult]]) -> bool:
        """Take in the results of children that have ended, push what is due, begin what can be.

        Returns:
            Whether there is more to do.
        """
        self._finish_open_push(shards)
        self._record(dict(ended))
        if self._in_flight and not self._children.num_workers:
            # Nobody can say when there will be workers again: others may have them.
            logger.info("no workers are left: trials %s are given back", sorted(self._in_flight))
            self._children.forget(self._in_flight.keys())
            self._ledger.release(self._owner, list(self._in_flight))
            self._in_flight.clear()
        while True:
            if self._is_push_due:
                self._push(shards)
            is_more = self._begin(shards)
            # All that was begun may be recorded by now, where rewards are reused.
            if not self._is_push_due:
                break
        if self._in_flight and self._clock() - self._renewed_at > LEASE_S / 4:
            self._renewed_at = self._clock()
            self._ledger.renew(self._owner)
        return is_more or bool(self._in_flight)

    @property
    def _is_push_due(self) -> bool:
        if self._rounds.dispatch == "continuous" and len(self._rewarded) >= self._num_trials:
            return True
        return bool(self._rewarded) and not self._in_flight

    def _begin(self, shards: ShardClient) -> bool:
        """Begin as many trials as can be now; tell whether there may be more later."""
        if self._is_draining.is_set():
            return False
        if self._rounds.dispatch == "continuous":
            wanted = self._children.num_workers - len(self._in_flight)
        else:
            is_over = not self._in_flight and not self._rewarded
            wanted = self._num_trials if is_over and self._children.num_workers else 0
        if wanted <= 0:
            return True
        places = self._ledger.reserve(self._owner, wanted, list(self._in_flight))
        if new := [place for place in places if place.start is None]:
            self._sample(shards, new)
        for place in places:
            # One in flight was another's for a while, and is its own again.
            if place.start is not None and place.trial not in self._in_flight:
                logger.info("trial %d is trained again: its replica is gone", place.trial)
                self._train(Sampled.before(place.depth, place.start), place.start.seed)
        return bool(places)

    def _sample(self, shards: ShardClient, places: Sequence[Reservation]) -> None:
        pulled = self._insist(shards.pull)
        self._strategy.load(pulled.values)
        rollouts = self._strategy.sample(
            [place.depth for place in places],
            [seeds.rollout_generator(self._search_seed, place.trial) for place in places],
        )
        sampled = [
            Sampled(place.trial, place.depth, rollout, pulled.versions, pulled)
            for place, rollout in zip(places, rollouts, strict=True)
        ]
        starts = [self._start_of(one) for one in sampled]
        try:
            known = self._ledger.start(self._owner, starts, reuse=self._rounds.reuse)
        except NotOwner as error:
            # As for a result. Those that are its own still will be reserved again.
            logger.warning("what was sampled is not needed any more: %s", error)
            return
        for one, start in zip(sampled, starts, strict=True):
            if one.trial in known:
                logger.info("trial %d: the reward of its architecture is known", one.trial)
                self.metrics.reused()
                self._rewarded.append(Rewarded(one, known[one.trial]))
            else:
                self._train(one, start.seed)

    def _start_of(self, sampled: Sampled) -> Start:
        architecture = self._space.decode(sampled.rollout.choices, sampled.depth)
        return Start(
            trial=sampled.trial,
            decisions=tuple(self._decisions(sampled.rollout, sampled.depth)),
            log_probs=sampled.rollout.log_probs,
            architecture=architecture.to_json(),
            architecture_text=str(architecture),
            seed=seeds.child_seed(self._search_seed, sampled.trial),
            versions=sampled.versions,
        )

    def _train(self, sampled: Sampled, seed: int) -> None:
        self._in_flight[sampled.trial] = sampled
        architecture = self._space.decode(sampled.rollout.choices, sampled.depth)
        self._children.train(Child(sampled.trial, architecture, seed))

    def _record(self, ended: Mapping[int, TrialResult]) -> None:
        # Others were given back.
        results = {trial: ended[trial] for trial in ended if trial in self._in_flight}
        stamps = self._ledger.record(self._owner, results) if results else {}
        for trial, result in results.items():
            sampled = self._in_flight.pop(trial)
            if (stamp := stamps.get(trial)) is None:
                # This replica gave no sign for so long that its trial was given to another.
                logger.warning("the result of trial %d is not needed any more", trial)
                continue
            logger.info("trial %d: %s, reward %.4f", trial, result.state, result.reward)
            self.metrics.recorded(result)
            self._rewarded.append(Rewarded(sampled, stamp))

    def _push(self, shards: ShardClient) -> None:
        """Push the rewards of all recorded trials, by the name that the ledger gives."""
        is_corrected = self._rounds.correction == "clip"
        versions, gradient = self._gradient(shards, self._rewarded, is_corrected=is_corrected)
        of_trials = [one.sampled.versions for one in self._rewarded]
        # The number of shards may have changed since, between two lives of the search.
        comparable = [each for each in of_trials if len(each) == len(versions)]
        sample_versions = oldest([versions, *comparable])
        sequence = self._ledger.open_push(
            self._owner,
            [one.sampled.trial for one in self._rewarded],
            versions,
            sample_versions,
            wire.pack(gradient),
        )
        self._deliver(shards, sequence, self._rewarded, versions, sample_versions, gradient)
        self._rewarded = []

    def _gradient(
        self, shards: ShardClient, rewarded: Sequence[Rewarded], *, is_corrected: bool
    ) -> tuple[tuple[int, ...], FlatVector]:
        """Give the versions that a gradient was computed at, and the gradient."""
        pull = partial(self._insist, shards.pull)
        with self.metrics.computing():
            computed = gradient_of(rewarded, self._strategy, pull, is_corrected=is_corrected)
        self.metrics.lost(len(computed.lost))
        return computed.versions, computed.values

    def _finish_open_push(self, shards: ShardClient) -> None:
        """Deliver, byte for byte, what the life before had made durable."""
        taken_over, self._taken_over = self._taken_over, None
        if taken_over is None or taken_over.open_push is None:
            return
        push = taken_over.open_push
        assert push.gradient is not None, "the gradient of an open push is kept"
        logger.info("finishing push r%d#%d", push.replica, push.sequence)
        self._deliver(
            shards,
            push.sequence,
            [Rewarded.before(trial) for trial in taken_over.carried],
            push.base_versions,
            push.sample_versions,
            wire.unpack(push.gradient),
        )

    def _deliver(
        self,
        shards: ShardClient,
        sequence: int,
        rewarded: Sequence[Rewarded],
        versions: Sequence[int],
        sample_versions: Sequence[int],
        gradient: FlatVector,
    ) -> None:
        """Have all shards acknowledge an open push, and close it."""
        replica, incarnation = self._owner
        while True:
            try:
                push = partial(shards.push, replica, incarnation, sequence)
                answers = self._insist(partial(push, versions, gradient, sample_versions))
                break
            except StalePush as refusal:
                # Whenever this happens, another replica's push was accepted: the search goes on.
                logger.info("computing the gradient again: %s", refusal)
                self.metrics.refused()
                versions, gradient = self._gradient(shards, rewarded, is_corrected=True)
                # A shard that has gone back is behind what its rollouts were sampled with.
                sample_versions = oldest([versions, sample_versions])
                packed = wire.pack(gradient)
                self._ledger.replace_push(self._owner, sequence, versions, sample_versions, packed)
        self._ledger.close_push(
            self._owner,
            sequence,
            [answer.version for answer in answers],
            [answer.staleness for answer in answers],
            [answer.sample_staleness for answer in answers],
        )
        self.metrics.pushed([one.stamp.reward for one in rewarded], answers)

    def _insist(self, call: Callable[[], T]) -> T:
        """Call until the shards can be reached: whoever replaces them needs time."""
        while True:
            try:
                return call()
            except ShardUnavailable as error:
                logger.warning("waiting for the shards: %s", error)
                self.metrics.unanswered()
                self._ledger.renew(self._owner)

    def _decisions(self, rollout: Rollout, depth: int) -> Iterable[tuple[str, int]]:
        for step, choice in enumerate(rollout.choices):
            decision = self._space.next_decision(rollout.choices[:step], depth)
            assert decision is not None, "the policy chose past the end of the list"
            yield decision.kind, choice
