"""All controller replicas of a search, and which child workers each has."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import ray

from workers.children_settings import ChildrenSettings
from workers.node import Node
from workers.pool import PoolStatus
from workers.process import ProcessSetup
from workers.remote import result_of, spawn
from workers.replica import ReplicaPlan, ReplicaProcess
from workers.seats import Seats
from workers.slots import Room, Slot, demand, first, rooms, share
from workers.supervisor import ProcessFailed, Supervised, Supervisor

LOOK_EVERY_S = 2.0
# How often the replicas are asked for their workers while nothing calls for it.
ASK_EVERY_S = 30.0
# A worker that has not started by then waits for what somebody else has.
START_PATIENCE_S = 180.0
# Until the replicas have said which of their workers have to end after the search was scaled.
SETTLE_S = 3 * LOOK_EVERY_S


class ReplicaSet:
    """The K replicas of a search, and those that are not among them any more, or never were.

    Child workers go to the replicas one by one, as many as the cluster has room for: more when
    nodes join it, fewer when they leave. Replicas beyond K, of an earlier life or of a time when
    there were more, finish what they have begun, and end.

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
        self._num_replicas = num_replicas
        self._is_working = self._is_draining = self._has_trained = False
        self._is_leaving = False  # workers finish a child whose slots are no more
        self._settled_at = clock()
        self._nodes: list[Node] = []
        self._slots = Counter[Slot]()
        self._shares: list[Counter[Slot]] = []
        self._said = ""
        self._replicas: list[Supervised] = []
        self._finishing: dict[int, Supervised] = {}
        self._asked: list[Any] | None = None  # references to what the replicas say
        self._look_at = self._ask_at = clock() + LOOK_EVERY_S
        self._starting_since: float | None = None
        self._deal(self._wanted_of({room.slot: room.num_free for room in self._rooms()}))
        self._tell()
        self._staff()

    @property
    def has_returned(self) -> bool:
        """Whether none has anything to do."""
        return all(process.has_returned for process in [*self._replicas, *self._finishing.values()])

    @property
    def demand(self) -> tuple[dict[str, float], int]:
        """What the cluster would have to have more for all children that are wanted.

        The resources of one node, by Ray's names, and how often.
        """
        is_enough = self._is_draining or self._is_leaving or not self._is_settled
        num_missing = 0 if is_enough else max(0, self._num_wanted - self._slots.total())
        place = self._plan.placement.of_children
        return demand(self._plan.children, self._nodes, place, num_missing)

    def work(self) -> None:
        """Let those work that do not."""
        self._is_working = True
        for process in self._replicas:
            process.work()

    def finish(self, replica: int) -> None:
        """Have a replica of an earlier life push what it had recorded; it takes nothing new."""
        process = self._supervisor.start(
            f"replica {replica}, of an earlier life", self._spawner(replica), _run
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
        self._look_at = self._ask_at = self._clock()
        self._settled_at = self._clock() + SETTLE_S
        self._asked = None
        while len(self._replicas) > num_replicas:
            process = self._replicas.pop()
            self._finishing[len(self._replicas)] = process
            if process.actor is not None:
                process.actor.drain.remote()
                # Children that wait for a worker are given to others.
                process.actor.resize.remote(Counter())
            process.work()
        self._deal(self._wanted_of(self._slots))
        self._staff()

    def drain(self) -> None:
        """Let all finish the children in training, and return."""
        self._is_draining = True
        for process in self._replicas:
            if process.actor is not None:
                process.actor.drain.remote()

    def rebalance(self) -> None:
        """Give the replicas the child workers that there is room for now; waits for nobody.

        Those that drain get no more, but fewer, if nodes leave: nobody waits for what is gone.

        Raises:
            ProcessFailed: no child worker could be constructed so far.
        """
        if self._clock() < self._look_at:
            return
        self._staff()
        there = self._rooms()
        at_most = Counter({room.slot: room.num_at_most for room in there})
        is_growing = (
            not self._is_draining
            and self._slots.total() < self._num_wanted
            and any(room.num_free and self._slots[room.slot] < room.num_at_most for room in there)
        )
        is_due = self._clock() >= self._ask_at
        if not is_growing and self._slots <= at_most and not is_due:
            self._look_at = self._clock() + LOOK_EVERY_S
            return
        statuses = self._known_statuses()
        if statuses is None:
            return
        self._look_at = self._clock() + LOOK_EVERY_S
        slots = self._fitting(there, statuses)
        if slots != self._slots:
            self._starting_since = None
            self._ask_at = self._clock() + LOOK_EVERY_S
            self._deal(slots)
        if self._is_settled or self._is_leaving or slots.total() == self._num_wanted:
            self._tell()

    def close(self) -> None:
        """End them all at once."""
        for process in [*self._replicas, *self._finishing.values()]:
            process.kill()

    @property
    def _num_wanted(self) -> int:
        return self._num_replicas * self._plan.children.per_replica

    @property
    def _is_settled(self) -> bool:
        """Whether the replicas know of the last change, and have said what it means for them."""
        return self._clock() >= self._settled_at

    def _rooms(self) -> list[Room]:
        placement = self._plan.placement
        self._nodes = placement.nodes()
        return rooms(self._nodes, self._plan.children, placement.of_children)

    def _fitting(self, there: Sequence[Room], statuses: Sequence[PoolStatus]) -> Counter[Slot]:
        """Give the slots that children can have, by what there is and what the workers say."""
        ready, starting = Counter[Slot](), Counter[Slot]()
        for status in statuses:
            ready += status.ready
            starting += status.starting
        self._check_births(ready, statuses)
        self._is_leaving = any(status.num_leaving for status in statuses)
        if not starting:
            self._starting_since = None
        elif self._starting_since is None:
            self._starting_since = self._clock()
        elif self._clock() - self._starting_since > START_PATIENCE_S:
            starting.clear()  # they wait for what others have taken
        is_moving = starting or self._is_leaving or not self._is_settled
        self._ask_at = self._clock() + (LOOK_EVERY_S if is_moving else ASK_EVERY_S)
        # Those that start may have been given their place already, or not.
        fitting = {
            room.slot: min(
                ready[room.slot] + max(starting[room.slot], room.num_free), room.num_at_most
            )
            for room in there
        }
        if self._is_draining:
            return Counter(fitting) & self._slots
        return self._wanted_of(fitting)

    def _wanted_of(self, fitting: Mapping[Slot, int]) -> Counter[Slot]:
        """Give as many of the slots as are wanted, those in use before the others."""
        there = +Counter(fitting)
        used = first(self._num_wanted, there & self._slots)
        return used + first(self._num_wanted - used.total(), there - used)

    def _check_births(self, ready: Counter[Slot], statuses: Sequence[PoolStatus]) -> None:
        """Give up where no worker of the search was ever born: the next would fail alike."""
        self._has_trained = self._has_trained or bool(ready)
        reasons = [status.unborn for status in statuses if status.unborn]
        if reasons and not self._has_trained:
            raise ProcessFailed(f"no child worker could be started: {reasons[0]}")

    def _deal(self, slots: Counter[Slot]) -> None:
        """Share these slots out among the replicas."""
        per_replica = self._plan.children.per_replica
        self._slots = slots
        self._shares = share(slots, self._num_replicas, per_replica, self._shares)
        for process, mine in zip(self._replicas, self._shares, strict=False):
            if process.actor is not None:
                process.actor.resize.remote(mine)

    def _staff(self) -> None:
        """Start the replicas that are missing, and let those go that have finished."""
        for replica, process in list(self._finishing.items()):
            if process.has_returned:
                self._supervisor.end(process)
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
            is_beyond = replica >= self._num_replicas or replica in self._finishing
            is_drained = self._is_draining or is_beyond
            actor = spawn(
                ReplicaProcess,
                self._setup,
                replica,
                self._plan,
                self._ledger,
                [self._data],
                Counter() if is_drained else self._shares[replica],
                num_cpus=need.num_cpus,
                memory_bytes=need.memory_bytes,
                place=self._seats.seat(f"replica {replica}", need),
            )
            if is_drained:
                actor.drain.remote()
            return actor

        return start

    def _tell(self) -> None:
        wanted, there = self._num_wanted, self._slots.total()
        if there == wanted:
            text = (
                f"{wanted} children train at a time" if wanted > 1 else "1 child trains at a time"
            )
        else:
            working = sum(bool(mine) for mine in self._shares)
            text = (
                f"{there} of {wanted} children train at a time, on {working} of "
                f"{self._num_replicas} replicas: {self._why_not_more()}"
            )
        if text != self._said:
            self._said = text
            self._supervisor.say(text)

    def _why_not_more(self) -> str:
        if self._is_leaving:
            return "more as those end that have begun before"
        limit = self._plan.children.per_gpu_node
        why = "the cluster has no room for more now"
        return why if limit is None else f"{why}, with children.per_gpu_node={limit}"


def _run(actor: Any) -> Any:
    return actor.run.remote()
