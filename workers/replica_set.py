"""All controller replicas of a search, and those that are no more, but not done yet."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import ray

from controller.records import ChildAtWork
from workers.allotment import Allotment
from workers.children_settings import ChildrenSettings
from workers.pool import PoolStatus
from workers.process import ProcessSetup
from workers.remote import result_of, spawn
from workers.replica import ReplicaPlan, ReplicaProcess, ReplicaStatus
from workers.seats import Seats
from workers.supervisor import ProcessFailed, Supervised, Supervisor

LOOK_EVERY_S = 2.0  # at the nodes, and at what the replicas say of their workers
# How long the search goes on while no child worker can be constructed any more.
BARREN_S = 600.0


@dataclass(frozen=True)
class Workforce:
    """How many replicas and child workers a search has; those that finish are not counted.

    workers: wanted, as the settings say; placed, where there is room for them; ready, starting and
    leaving, as the replicas have told last.
    """

    replicas_wanted: int
    replicas_alive: int
    workers: Mapping[str, int]


class ReplicaSet:
    """The K replicas of a search, each with the slots that `Allotment` gives it.

    Replicas beyond K, of an earlier life or of a time when there were more, finish what they have
    begun, and end.

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
        self._num_replicas = num_replicas
        self._seats = seats
        self._clock = clock
        self._is_working = self._is_draining = False
        self._has_trained = False  # some worker could, at some time
        self._unborn, self._barren_since = "", clock()
        self._replicas: list[Supervised] = []
        self._finishing: dict[int, Supervised] = {}
        self._asked: dict[int, Any] | None = None  # references to what the replicas say
        self._children: Sequence[ChildAtWork] = ()
        self._told: Mapping[int, ReplicaStatus] = {}  # at the last look
        self._look_at = clock() + self._look_every_s
        placement = plan.placement
        self._allotment = Allotment(
            plan.children, num_replicas, placement.of_children, placement.nodes(), clock
        )
        self._said = ""
        self._tell()
        self._staff()

    @property
    def has_returned(self) -> bool:
        """Whether none has anything to do; one that drains and waits for room still has not.

        One that is starting may have something to push, of an earlier life.
        """
        return all(
            process.has_returned
            or (self._is_draining and not (process.has_lived or process.has_room))
            for process in [*self._replicas, *self._finishing.values()]
        )

    @property
    def children(self) -> Sequence[ChildAtWork]:
        """The children in training, as of the last look."""
        return self._children

    @property
    def workforce(self) -> Workforce:
        """How many replicas and child workers there are, as of the last look."""
        pools = [told.pool for told in self._told.values()]
        return Workforce(
            self._num_replicas,
            sum(process.is_alive for process in self._replicas),
            {
                "wanted": self._num_replicas * self._plan.children.per_replica,
                "placed": sum(share.total() for share in self._allotment.shares),
                "ready": sum(pool.ready.total() for pool in pools),
                "starting": sum(pool.starting.total() for pool in pools),
                "leaving": sum(pool.num_leaving for pool in pools),
            },
        )

    @property
    def metrics_addresses(self) -> dict[str, str]:
        """Where the metrics of each replica are, by its name, as of the last look."""
        return {
            f"replica-{replica}": told.metrics_address
            for replica, told in sorted(self._told.items())
            if told.metrics_address is not None
        }

    @property
    def demand(self) -> tuple[dict[str, float], int]:
        """What the cluster would have to have more for all children; see `Allotment`."""
        return self._allotment.demand

    def work(self) -> None:
        """Let those work that do not."""
        self._is_working = True
        for process in self._replicas:
            process.work()

    def finish(self, replica: int) -> None:
        """Have a replica of an earlier life push what it had recorded; it takes nothing new.

        To say so again of one that is at it is harmless.
        """
        if replica in self._finishing:
            return
        process = self._supervisor.start(
            f"replica {replica}, of an earlier life",
            self._spawner(replica),
            _run,
            has_room=partial(self._seats.has_seat, f"replica {replica}"),
        )
        process.work()
        self._finishing[replica] = process

    def scale(self, children: ChildrenSettings, num_replicas: int) -> None:
        """Have so many replicas, and children of these settings, from now on.

        What is in training is finished: a worker whose slot is no more ends after its child. What
        a replica has for itself, such as its certificate, has to be there.
        """
        self._plan = replace(self._plan, children=children)
        self._num_replicas = num_replicas
        self._allotment.scale(children, num_replicas)
        while len(self._replicas) > num_replicas:
            process = self._replicas.pop()
            if not (process.has_lived or process.has_room):
                self._end(len(self._replicas), process)
                continue
            self._finishing[len(self._replicas)] = process
            if process.actor is not None:
                process.actor.drain.remote()
                # Children that wait for a worker are given to others.
                process.actor.resize.remote(Counter())
            process.work()
        self._asked = None
        self._look_at = self._clock()
        self._resize()
        self._staff()

    def drain(self) -> None:
        """Let all finish the children in training, and return."""
        self._is_draining = True
        self._allotment.drain()
        for process in self._replicas:
            if process.actor is not None:
                process.actor.drain.remote()

    def rebalance(self) -> None:
        """Give the replicas the child workers that there is room for now; waits for nobody.

        Raises:
            ProcessFailed: no child worker could be constructed so far.
        """
        if self._clock() < self._look_at:
            return
        self._staff()
        known = self._known_statuses()
        if known is None:
            return
        self._told = known
        pools = {replica: status.pool for replica, status in known.items()}
        statuses = [pools.get(replica) for replica in range(len(self._replicas))]
        self._check_births([status for status in statuses if status is not None])
        is_leaving = any(pools[replica].training for replica in self._finishing if replica in pools)
        nodes = self._plan.placement.nodes()
        if self._allotment.update(nodes, statuses, is_leaving=is_leaving):
            self._resize()
        self._tell()
        self._children = [
            ChildAtWork(replica, *training)
            for replica, pool in pools.items()
            for training in pool.training
        ]
        self._look_at = self._clock() + self._look_every_s

    def close(self) -> None:
        """End them all at once."""
        for process in [*self._replicas, *self._finishing.values()]:
            process.kill()

    @property
    def _look_every_s(self) -> float:
        # To ask very many takes the driver a while.
        return max(LOOK_EVERY_S, self._num_replicas / 50)

    def _check_births(self, statuses: Sequence[PoolStatus]) -> None:
        """Say why workers cannot be constructed; give up where none can, and no other may.

        Before any could it is given up at once: the next would fail alike.
        """
        self._has_trained = self._has_trained or any(status.ready for status in statuses)
        reasons = [status.unborn for status in statuses if status.unborn]
        if reasons and reasons[0] != self._unborn:
            self._supervisor.say(f"child workers cannot be started, tried again: {reasons[0]}")
        self._unborn = reasons[0] if reasons else ""
        if not reasons or any(status.wanted and not status.unborn for status in statuses):
            self._barren_since = self._clock()
        elif not self._has_trained or self._clock() - self._barren_since > BARREN_S:
            raise ProcessFailed(f"no child worker could be started: {reasons[0]}")

    def _resize(self) -> None:
        # A replica that waits for its forerunner to finish has a share already.
        for process, mine in zip(self._replicas, self._allotment.shares, strict=False):
            if process.actor is not None:
                process.actor.resize.remote(mine)

    def _staff(self) -> None:
        """Start the replicas that are missing, and let those go that have finished."""
        for replica, process in list(self._finishing.items()):
            if process.has_returned:
                self._end(replica, process)
                del self._finishing[replica]
        while len(self._replicas) < self._num_replicas and not self._is_draining:
            replica = len(self._replicas)
            if replica in self._finishing:
                return  # there is never more than one of a number
            who = f"replica {replica}"
            process = self._supervisor.start(
                who, self._spawner(replica), _run, has_room=partial(self._seats.has_seat, who)
            )
            if self._is_working:
                process.work()
            self._replicas.append(process)
            self._asked = None

    def _end(self, replica: int, process: Supervised) -> None:
        self._supervisor.end(process)
        self._seats.leave(f"replica {replica}")

    def _known_statuses(self) -> dict[int, ReplicaStatus] | None:
        """Give what the replicas say of themselves, once all have said it.

        Those that wait for room themselves are left out.
        """
        if self._asked is None:
            processes = dict(enumerate(self._replicas)) | self._finishing
            here = {n: p for n, p in processes.items() if p.has_lived or p.has_room}
            if any(process.actor is None for process in here.values()):
                return None
            self._asked = {n: process.actor.status.remote() for n, process in here.items()}
        references = list(self._asked.values())
        if references and len(
            ray.wait(references, num_returns=len(references), timeout=0)[0]
        ) < len(references):
            return None
        asked, self._asked = self._asked, None
        try:
            return {replica: result_of(reference) for replica, reference in asked.items()}
        except ray.exceptions.RayActorError:
            return None  # it will be replaced

    def _spawner(self, replica: int) -> Callable[[], Any]:
        need = self._plan.placement.need()

        def start() -> Any:
            is_beyond = replica >= self._num_replicas or replica in self._finishing
            is_drained = self._is_draining or is_beyond
            actor = spawn(
                ReplicaProcess,
                self._setup,
                replica,
                self._plan,
                self._ledger,
                [self._data],
                Counter() if is_drained else self._allotment.shares[replica],
                num_cpus=need.num_cpus,
                memory_bytes=need.memory_bytes,
                place=self._seats.seat(f"replica {replica}", need),
            )
            if is_drained:
                actor.drain.remote()
            return actor

        return start

    def _tell(self) -> None:
        text = str(self._allotment)
        if text not in ("", self._said):
            self._said = text
            self._supervisor.say(text)


def _run(actor: Any) -> Any:
    return actor.run.remote()
