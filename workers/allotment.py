"""Which slots the replicas of a search have for their child workers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence

from workers.children_settings import ChildrenSettings
from workers.node import Node
from workers.pool import PoolStatus
from workers.slots import Slot, demand, first, rooms, share

# A worker that has not started by then waits for what somebody else has.
START_PATIENCE_S = 180.0
# How often the replicas have to say what workers they have after the search was scaled, until it
# is known which of these have to end.
NUM_SETTLING = 2


class Allotment:
    """The slots of a search, as many as there is room for, dealt out to its replicas.

    There are more when nodes join the cluster, and fewer when they leave, up to one for each of the
    K x m children that are wanted at a time. The first replica has all its slots before the second
    gets one.

    Threads: one at a time.
    """

    def __init__(
        self,
        children: ChildrenSettings,
        num_replicas: int,
        place: str,
        nodes: Sequence[Node],
        clock: Callable[[], float],
    ) -> None:
        """Take the slots that are free now.

        Args:
            place: of a child worker for which Ray finds the node.
        """
        self._children = children
        self._num_replicas = num_replicas
        self._place = place
        self._nodes = nodes
        self._clock = clock
        self._is_draining = False
        self._is_leaving = False  # workers finish a child whose slots are no more
        self._num_settling = 0
        self._absent: Collection[int] = ()  # replicas that wait for room themselves
        self._starting_since: float | None = None
        self._slots = Counter[Slot]()
        self._shares: list[Counter[Slot]] = []
        there = rooms(nodes, children, place)
        free = {room.slot: room.num_free for room in there if room.num_free}
        self._has_room = bool(free)  # that workers are about to take
        self._deal(self._wanted_of(free))

    @property
    def shares(self) -> Sequence[Counter[Slot]]:
        """The slots of each replica."""
        return self._shares

    @property
    def demand(self) -> tuple[dict[str, float], int]:
        """What the cluster would have to have more for all children that are wanted.

        The resources of one node, by Ray's names, and how often; nothing as long as there is room
        that is not taken yet.
        """
        is_moving = self._has_room or self._is_leaving or not self._is_settled
        is_enough = self._is_draining or is_moving
        num_missing = 0 if is_enough else self._num_wanted - self._slots.total()
        return demand(self._children, self._nodes, self._place, num_missing)

    def scale(self, children: ChildrenSettings, num_replicas: int) -> None:
        """Have so many replicas, and slots for children of these settings, from now on."""
        self._children = children
        self._num_replicas = num_replicas
        self._num_settling = NUM_SETTLING
        self._absent = ()
        self._deal(self._wanted_of(self._slots))

    def drain(self) -> None:
        """Take no more slots; those of nodes that leave are gone, since nobody waits for them."""
        self._is_draining = True

    def update(
        self,
        nodes: Sequence[Node],
        statuses: Sequence[PoolStatus | None],
        *,
        is_leaving: bool = False,
    ) -> bool:
        """Take the slots there are, by the nodes and by what the replicas say of their workers.

        Args:
            statuses: None of a replica that waits for room itself; it gets no slots.
            is_leaving: whether replicas that are none of these any more have children in training.

        Returns:
            Whether the slots, or who has them, are others than before.
        """
        self._nodes = nodes
        self._num_settling = max(0, self._num_settling - 1)
        absent = [replica for replica, status in enumerate(statuses) if status is None]
        is_new = absent != list(self._absent)
        self._absent = absent
        there = rooms(nodes, self._children, self._place)
        ready, starting = Counter[Slot](), Counter[Slot]()
        self._is_leaving = is_leaving
        for status in filter(None, statuses):
            ready += status.ready
            starting += status.starting
            self._is_leaving = self._is_leaving or status.num_leaving > 0
        if not starting:
            self._starting_since = None
        elif self._starting_since is None:
            self._starting_since = self._clock()
        elif self._clock() - self._starting_since > START_PATIENCE_S:
            starting.clear()  # they wait for what others have taken
        # Those that start may have been given their place already, or not.
        fitting = {
            room.slot: min(
                ready[room.slot] + max(starting[room.slot], room.num_free), room.num_at_most
            )
            for room in there
        }
        slots = Counter(fitting) & self._slots if self._is_draining else self._wanted_of(fitting)
        self._has_room = any(
            room.num_free and self._slots[room.slot] < room.num_at_most for room in there
        )
        if slots == self._slots and not is_new:
            return False
        self._starting_since = None
        self._deal(slots)
        return True

    def __str__(self) -> str:
        """Say how many children train at a time; nothing while that is not known."""
        wanted, there = self._num_replicas * self._children.per_replica, self._slots.total()
        if there == wanted:
            return (
                "1 child trains at a time" if wanted == 1 else f"{wanted} children train at a time"
            )
        if self._is_leaving:
            why = "more as those end that have begun before"
        elif not self._is_settled:
            return ""
        else:
            why = "the cluster has no room for more now"
            if self._children.per_gpu_node is not None:
                why += f", with children.per_gpu_node={self._children.per_gpu_node}"
        if self._absent:
            why += f"; replicas that wait for room themselves: {len(self._absent)}"
        working = sum(bool(mine) for mine in self._shares)
        return (
            f"{there} of {wanted} children train at a time, on {working} of {self._num_replicas} "
            f"replicas: {why}"
        )

    @property
    def _num_wanted(self) -> int:
        return (self._num_replicas - len(self._absent)) * self._children.per_replica

    @property
    def _is_settled(self) -> bool:
        """Whether the replicas know of the last change, and have said what it means for them."""
        return not self._num_settling

    def _wanted_of(self, fitting: Mapping[Slot, int]) -> Counter[Slot]:
        """Give as many of the slots as are wanted, those in use before the others."""
        there = +Counter(fitting)
        used = first(self._num_wanted, there & self._slots)
        return used + first(self._num_wanted - used.total(), there - used)

    def _deal(self, slots: Counter[Slot]) -> None:
        self._slots = slots
        per_replica = self._children.per_replica
        self._shares = share(slots, self._num_replicas, per_replica, self._shares, self._absent)
