"""The course of a search: from shards that serve to replicas that have nothing more to do."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from controller.errors import LedgerUnavailable
from controller.records import Activity, ChildAtWork, Progress, SearchState
from controller.search_ledger import SearchLedger
from deploy.autoscaler import RoomRequest
from deploy.certificates import issue_certificates
from deploy.go_on import is_in_job
from deploy.heartbeat import Heartbeat
from deploy.resume import resumed_settings
from deploy.run import Run, RunError
from deploy.search_metrics import SearchMetrics
from deploy.settings import SearchSettings
from deploy.settings_file import SettingsError
from deploy.status import Status
from ps.client import ShardClient
from ps.credentials import CredentialsError, Identity
from ps.errors import ShardUnavailable
from workers.replica_set import ReplicaSet
from workers.supervisor import Supervisor

logger = logging.getLogger(__name__)

POLL_S = 0.5
# How long the search goes on while its ledger cannot be read, or its shards cannot be reached.
PATIENCE_S = 600.0
# How often replicas that found nothing to do look again: another may have given its trials back.
WAKE_EVERY_S = 5.0
# How often what only people want to know is read: it takes longer the more trials there are.
LOOK_EVERY_S = 5.0


class Watcher(Protocol):
    """Whoever looks at a search while it runs."""

    def say(self, text: str) -> None:
        """Take note of an event."""
        ...

    def show(self, status: Status) -> None:
        """Take note of how the search is doing; called about twice a second."""
        ...


class Course:
    """Watches over one life of a search: what is said, when it is to end, where its shards are.

    What is asked of it meanwhile stands in the ledger: to stop, or to scale.

    Threads: one at a time.
    """

    def __init__(
        self,
        settings: SearchSettings,
        run: Run,
        ledger: SearchLedger,
        heartbeat: Heartbeat,
        supervisor: Supervisor,
        watcher: Watcher,
        is_stopping: Callable[[], bool],
        metrics: SearchMetrics,
        metrics_addresses: Mapping[str, str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take note of whom to ask and to tell.

        Args:
            metrics_addresses: where the metrics of the search itself are, by its name, if they are
                anywhere; those of replicas are made known as they come.
        """
        self.settings = settings  # which may change while the search runs
        self._run = run
        self._ledger = ledger
        self._heartbeat = heartbeat
        self._supervisor = supervisor
        self._watcher = watcher
        self._is_stopping = is_stopping
        self._metrics = metrics
        self._metrics_addresses = metrics_addresses
        self._clock = clock
        self._addresses: Sequence[str] = ()
        self._published: object = None
        self._num_recorded = 0
        self._read_at = clock()
        self._activity = Activity()
        self._look_at = clock()

    def await_shards(self, identity: Identity | None) -> None:
        """Wait until all shards listen, and give them the first values, if they have none.

        Raises:
            ps.errors.ShardError: they hold what is not of this search, or lost what was.
            workers.supervisor.ProcessFailed: one cannot be started.
            KeyboardInterrupt: told to stop meanwhile.
        """
        untrained = self.settings.untrained()
        acknowledged = self._ledger.acknowledged(self.settings.num_shards)
        give_up_at = self._clock() + PATIENCE_S
        while True:
            if self._is_stopping():
                raise KeyboardInterrupt
            self._supervisor.check(wait_s=POLL_S)
            addresses = self._known_addresses()
            if len(addresses) < self.settings.num_shards:
                continue
            try:
                # One attempt: meanwhile nobody looks after the processes.
                once = self.settings.client.model_copy(update={"max_attempts": 1})
                with ShardClient(
                    untrained.layout,
                    addresses,
                    once,
                    identity,
                    acknowledged,
                ) as client:
                    client.initialize(untrained.values)
                break
            except ShardUnavailable:
                if self._clock() > give_up_at:
                    raise
        self._publish(addresses)
        self._watcher.say(f"the shards are serving at {', '.join(self._addresses)}")
        if self.settings.shards.is_open_to_all:
            self._watcher.say("warning: whoever reaches these addresses can change the policy")

    def follow(self, replicas: ReplicaSet, room: RoomRequest) -> tuple[SearchState, str]:
        """Let the replicas work until the search is to end; say how it ended, and why.

        Args:
            room: asked for what the replicas miss, until nothing new is begun.

        Raises:
            workers.supervisor.ProcessFailed: a process failed for good.
            controller.errors.LedgerError: the ledger cannot be read, or the search was resumed
                elsewhere.
            KeyboardInterrupt: told to stop before the first trial.
        """
        self._finish_unsettled(replicas)
        ending: tuple[SearchState, str] | None = None
        first = self._progress()
        # Whoever resumes a search whose limit was reached begins nothing new.
        is_drained = first is not None and self._why_to_end(first) is not None
        if is_drained:
            replicas.drain()
        replicas.work()
        wake_at = self._clock() + WAKE_EVERY_S
        while True:
            self._supervisor.check(wait_s=POLL_S)
            self._heartbeat.check()
            self._publish(self._known_addresses(), replicas.metrics_addresses)
            progress = self._progress()
            if progress is None:
                continue
            self._look_closer(replicas.children, is_last=progress.is_complete)
            status = Status(
                progress,
                self._activity,
                replicas.children,
                time_limit_s=self.settings.time_limit_s,
            )
            self._watcher.show(status)
            self._metrics.update(status, replicas.workforce, self._supervisor.deaths)
            if not is_drained and progress.requested_changes:
                self._see_to(progress.requested_changes, replicas)
            if ending is None:
                ending = self._why_to_end(progress)
                if ending is not None and not progress.num_begun:
                    if ending[0] == "finished":
                        return ending
                    raise KeyboardInterrupt(ending[1])
            if not is_drained and (ending is not None or progress.is_complete):
                is_drained = True
                if ending is not None and not progress.is_complete:
                    self._watcher.say(
                        f"{ending[1]}: waiting for the children in training"
                        f"{'' if is_in_job() else ' (Ctrl-C stops at once)'}"
                    )
                replicas.drain()
                room.withdraw()
            if replicas.has_returned:
                if progress.is_complete:
                    return "finished", "" if ending is None else ending[1]
                if ending is not None:
                    return ending
                # Some have lost what they had in flight, and it is nobody's any more.
                self._finish_unsettled(replicas)
                replicas.work()
            elif not is_drained and self._clock() >= wake_at:
                # Those that have returned look again: others may have given trials back.
                replicas.work()
                wake_at = self._clock() + WAKE_EVERY_S
            replicas.rebalance()
            if not is_drained:
                resources, number = replicas.demand
                # The last children need no more room than they have.
                num_left = progress.num_trials - progress.num_recorded - len(replicas.children)
                room.ask(resources, max(0, min(number, num_left)))

    def _finish_unsettled(self, replicas: ReplicaSet) -> None:
        """Have those push what they recorded that are replicas no more."""
        try:
            unsettled = self._ledger.unsettled_replicas()
        except LedgerUnavailable as error:
            logger.warning("waiting for the ledger: %s", error)
            return  # before the search can end, it is read again
        for replica in unsettled:
            if replica >= self.settings.num_replicas:
                replicas.finish(replica)

    def _look_closer(self, children: Sequence[ChildAtWork], *, is_last: bool) -> None:
        """Read what the search has done lately, and tell who reads the ledger of its children."""
        if self._clock() < self._look_at and not is_last:
            return
        self._look_at = self._clock() + LOOK_EVERY_S
        try:
            self._activity = self._ledger.activity()
            self._ledger.publish_children(self._heartbeat.life, children)
        except LedgerUnavailable as error:
            logger.warning("waiting for the ledger: %s", error)

    def _see_to(self, changes: Mapping[str, Any], replicas: ReplicaSet) -> None:
        """Go on with other settings, as `nasrl scale` asks; those that cannot be are refused."""
        overrides = [f"{key}={json.dumps(value)}" for key, value in changes.items()]
        chosen: SearchSettings | None = None
        try:
            chosen = resumed_settings(self._run, overrides)
            issue_certificates(chosen, self._run)
            self._run.keep(chosen)
            said = f"the search goes on with {', '.join(overrides)}".replace("=null", "=none")
        except (CredentialsError, RunError, SettingsError, OSError) as error:
            chosen = None
            said = f"the search goes on as it was: {error}"
        if chosen is not None:
            # What else somebody has written into the file meanwhile is for the next life.
            parts = {name: getattr(chosen.children, name) for name in ("per_gpu", "per_gpu_node")}
            children = self.settings.children.model_copy(update=parts)
            scaled = {"num_replicas": chosen.num_replicas, "children": children}
            self.settings = self.settings.model_copy(update=scaled)
            replicas.scale(children, chosen.num_replicas)
        try:
            shown = None if chosen is None else chosen.shown
            self._ledger.answer_changes(self._heartbeat.life, changes, shown)
        except LedgerUnavailable as error:
            logger.warning("waiting for the ledger: %s", error)
            return  # if it was not answered, it is asked again, which is harmless
        self._watcher.say(said)

    def _why_to_end(self, progress: Progress) -> tuple[SearchState, str] | None:
        target, limit_s = self.settings.target_reward, self.settings.time_limit_s
        if self._is_stopping():
            return "stopped", "stopped by a signal"
        if progress.is_stop_requested:
            return "stopped", "stopped by nasrl stop"
        best = None if progress.best is None else progress.best.reward
        if target is not None and best is not None and best >= target:
            return "finished", f"target_reward={target:g} was reached"
        if limit_s is not None and progress.seconds >= limit_s:
            return "finished", f"time_limit_s={limit_s:g} is over"
        return None

    def _progress(self) -> Progress | None:
        """Read how far the search is; None where the ledger cannot be read now."""
        try:
            progress = self._ledger.progress()
        except LedgerUnavailable as error:
            if self._clock() - self._read_at > PATIENCE_S:
                raise
            logger.warning("waiting for the ledger: %s", error)
            return None
        self._read_at = self._clock()
        if progress.num_recorded > self._num_recorded:
            self._num_recorded = progress.num_recorded
            self._supervisor.forgive()
        return progress

    def _known_addresses(self) -> Sequence[str]:
        """Give the addresses of the shards that listen; what was known if they cannot be read."""
        if self.settings.shards.addresses:
            return self.settings.shards.addresses
        try:
            by_shard = self._ledger.addresses()
        except LedgerUnavailable:
            return self._addresses
        return tuple(by_shard[shard] for shard in sorted(by_shard))

    def _publish(
        self, addresses: Sequence[str], of_replicas: Mapping[str, str] | None = None
    ) -> None:
        """Write down where the shards and the metrics are when that has changed."""
        if len(addresses) != self.settings.num_shards:
            return
        metrics = {**self._metrics_addresses, **(of_replicas or {})}
        if (addresses, metrics) != self._published:
            self._addresses, self._published = addresses, (addresses, metrics)
            self._run.publish_endpoints(addresses, metrics)
