"""All controller replicas of a search, and how many child workers each has."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import ray

from workers.pool import PoolStatus
from workers.process import ProcessSetup
from workers.remote import result_of, spawn
from workers.replica import ReplicaPlan, ReplicaProcess
from workers.seats import Seats
from workers.slots import num_fitting, quotas
from workers.supervisor import Supervised, Supervisor

LOOK_EVERY_S = 2.0
# How often the replicas are asked for their workers while nothing calls for it.
ASK_EVERY_S = 30.0
# A worker that has not started by then waits for what somebody else has.
START_PATIENCE_S = 180.0


class ReplicaSet:
    """The K replicas of a search, and those of earlier lives that have something to finish.

    Child workers go to the replicas one by one, as many as the cluster has room for: more when
    nodes join it, fewer when they leave.

    Threads: one at a time.
    """

    def __init__(
        self,
        supervisor: Supervisor,
        setup: ProcessSetup,
        plan: ReplicaPlan,
        ledger: Any,
        data: Any,
        num_replicas: int,
        seats: Seats,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start the replicas; none works yet.

        Args:
            supervisor: is also told how many children train at a time, when that changes.
            ledger: handle of the LedgerProcess actor. data: reference to the search's data.
        """
        self._supervisor = supervisor
        self._setup = setup
        self._plan = plan
        self._ledger = ledger
        self._data = data
        self._seats = seats
        self._clock = clock
        self._is_draining = False
        self._num_wanted = num_replicas * plan.children.per_replica
        num_free = sum(num_fitting(node.free, plan.children) for node in plan.placement.nodes())
        self._num_slots = min(num_free, self._num_wanted)
        self._quotas = quotas(self._num_slots, num_replicas, plan.children.per_replica)
        self._tell()
        self._asked: list[Any] | None = None  # references to what the replicas say
        self._look_at = self._ask_at = clock() + LOOK_EVERY_S
        self._starting_since: float | None = None
        self._replicas = [
            supervisor.start(f"replica {replica}", self._spawner(replica), _run)
            for replica in range(num_replicas)
        ]
        self._finishing: list[Supervised] = []

    @property
    def has_returned(self) -> bool:
        """Whether none has anything to do."""
        return all(process.has_returned for process in [*self._replicas, *self._finishing])

    def work(self) -> None:
        """Let those work that do not."""
        for process in self._replicas:
            process.work()

    def finish(self, replica: int) -> None:
        """Have a replica of an earlier life push what it had recorded; it takes nothing new."""
        process = self._supervisor.start(
            f"replica {replica}, of an earlier life", self._spawner(replica), _run
        )
        process.work()
        self._finishing.append(process)

    def drain(self) -> None:
        """Let all finish the children in training, and return."""
        self._is_draining = True
        for process in self._replicas:
            if process.actor is not None:
                process.actor.drain.remote()

    def rebalance(self) -> None:
        """Give the replicas the child workers that there is room for now; waits for nobody.

        Those that drain get no more, but fewer, if nodes leave: nobody waits for what is gone.
        """
        if self._clock() < self._look_at:
            return
        cluster, children = self._plan.placement.nodes(), self._plan.children
        num_free = sum(num_fitting(node.free, children) for node in cluster)
        num_at_most = sum(num_fitting(node.total, children) for node in cluster)
        num_wanted = self._num_slots if self._is_draining else self._num_wanted
        is_growing = num_free > 0 and self._num_slots < num_wanted
        is_due = self._clock() >= self._ask_at
        if not is_growing and num_at_most >= self._num_slots and not is_due:
            self._look_at = self._clock() + LOOK_EVERY_S
            return
        statuses = self._known_statuses()
        if statuses is None:
            return
        self._look_at = self._clock() + LOOK_EVERY_S
        num_ready = sum(status.num_ready for status in statuses)
        num_starting = sum(status.num_starting for status in statuses)
        if not num_starting:
            self._starting_since = None
        elif self._starting_since is None:
            self._starting_since = self._clock()
        elif self._clock() - self._starting_since > START_PATIENCE_S:
            num_starting = 0  # they wait for what others have taken
        self._ask_at = self._clock() + (LOOK_EVERY_S if num_starting else ASK_EVERY_S)
        # Those that start may have been given their place already, or not.
        num_slots = min(num_ready + max(num_starting, num_free), num_at_most, num_wanted)
        if num_slots != self._num_slots:
            self._share(num_slots)

    def _share(self, num_slots: int) -> None:
        self._num_slots, self._starting_since = num_slots, None
        self._ask_at = self._clock() + LOOK_EVERY_S
        self._quotas = quotas(num_slots, len(self._replicas), self._plan.children.per_replica)
        self._tell()
        for process, quota in zip(self._replicas, self._quotas, strict=True):
            if process.actor is not None:
                process.actor.resize.remote(quota)

    def close(self) -> None:
        """End them all at once."""
        for process in [*self._replicas, *self._finishing]:
            process.kill()

    def _known_statuses(self) -> list[PoolStatus] | None:
        """Give what the replicas say of their workers, once all have said it."""
        if self._asked is None:
            actors = [process.actor for process in self._replicas]
            if None in actors:
                return None
            self._asked = [actor.status.remote() for actor in actors]
        if len(ray.wait(self._asked, num_returns=len(self._asked), timeout=0)[0]) < len(
            self._asked
        ):
            return None
        asked, self._asked = self._asked, None
        try:
            return [result_of(reference) for reference in asked]
        except ray.exceptions.RayActorError:
            return None  # it will be replaced

    def _spawner(self, replica: int) -> Callable[[], Any]:
        need = self._plan.placement.need()

        def start() -> Any:
            is_of_now = replica < len(self._quotas)
            num_workers = self._quotas[replica] if is_of_now and not self._is_draining else 0
            actor = spawn(
                ReplicaProcess,
                self._setup,
                replica,
                self._plan,
                self._ledger,
                [self._data],
                num_workers,
                num_cpus=need.num_cpus,
                memory_bytes=need.memory_bytes,
                place=self._seats.seat(f"replica {replica}", need),
            )
            if self._is_draining or not is_of_now:
                actor.drain.remote()
            return actor

        return start

    def _tell(self) -> None:
        wanted = self._num_wanted
        if self._num_slots == wanted:
            self._supervisor.say(f"{wanted} children train at a time")
        else:
            working = sum(quota > 0 for quota in self._quotas)
            self._supervisor.say(
                f"{self._num_slots} of {wanted} children train at a time, on {working} of "
                f"{len(self._quotas)} replicas: the cluster has no room for more now"
            )


def _run(actor: Any) -> Any:
    return actor.run.remote()
