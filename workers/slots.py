"""The places that child workers have on a cluster: how many there are, and which replica's."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice, repeat

from workers.children_settings import ChildrenSettings
from workers.node import Node

_ROUNDING = 1e-6  # Ray counts in parts of ten thousand


@dataclass(frozen=True)
class Slot:
    """The place of a child worker: where it is, and what it takes there.

    place: for `workers.remote.spawn`.
    """

    place: str
    num_cpus: float
    num_gpus: float

    @property
    def shares_gpu(self) -> bool:
        """Whether several children are on one GPU."""
        return 0 < self.num_gpus < 1

    @property
    def resources(self) -> dict[str, float]:
        """What it takes, by Ray's names."""
        taken = {"CPU": self.num_cpus, "GPU": self.num_gpus}
        return {resource: number for resource, number in taken.items() if number}


@dataclass(frozen=True)
class Room:
    """How many slots of a kind there are: free now, and at most, if nobody else were there."""

    slot: Slot
    num_free: int
    num_at_most: int


def slot(children: ChildrenSettings, place: str, num_gpus: float = 1.0) -> Slot:
    """Give the slot of a child on a node of so many GPUs.

    >>> slot(ChildrenSettings(per_gpu=3), "anywhere").num_gpus
    0.3333
    >>> slot(ChildrenSettings(per_gpu_node=8), "node", num_gpus=4.0).num_gpus
    0.5
    """
    each = children.num_gpus
    wanted = children.per_gpu_node
    if children.per_gpu is not None:
        each = _part(children.per_gpu)
    elif wanted is not None and num_gpus >= 1 and wanted > _num_on_gpus(num_gpus, each):
        each = _part(math.ceil(wanted / int(num_gpus)))
    return Slot(place, children.num_cpus, each)


def rooms(nodes: Iterable[Node], children: ChildrenSettings, place: str) -> list[Room]:
    """Give the room for children on the nodes.

    Where children are counted node by node each GPU node has a room of its own. Otherwise there is
    one room, and Ray finds the node.

    Args:
        place: of a child worker for which Ray finds the node.
    """
    if children.per_gpu_node is None:
        anywhere, there = slot(children, place), list(nodes)
        return [
            Room(
                anywhere,
                sum(num_fitting(node.free, anywhere) for node in there),
                sum(num_fitting(node.total, anywhere) for node in there),
            )
        ]
    found = []
    for node in sorted(nodes, key=lambda node: (node.name, node.node_id)):
        here = slot(children, node.node_id, node.num_gpus)
        num_at_most = min(children.per_gpu_node, num_fitting(node.total, here))
        if num_at_most:
            found.append(Room(here, min(num_at_most, num_fitting(node.free, here)), num_at_most))
    return found


def num_fitting(there: Mapping[str, float], slot: Slot) -> int:
    """Give how many slots of a kind fit into the resources of one node.

    >>> num_fitting({"CPU": 8.0, "GPU": 2.0}, Slot("", num_cpus=1.0, num_gpus=0.4))
    4
    """
    on_cpus = (there.get("CPU", 0.0) + _ROUNDING) // slot.num_cpus
    if not slot.num_gpus:
        return int(on_cpus)
    return int(min(on_cpus, _num_on_gpus(there.get("GPU", 0.0), slot.num_gpus)))


def share(
    there: Counter[Slot],
    num_replicas: int,
    per_replica: int,
    before: Sequence[Counter[Slot]] = (),
    absent: Collection[int] = (),
) -> list[Counter[Slot]]:
    """Give each replica its slots: as many as it wants, one replica after the other.

    >>> there = Counter({Slot("anywhere", num_cpus=1.0, num_gpus=0.0): 11})
    >>> [mine.total() for mine in share(there, num_replicas=3, per_replica=4)]
    [4, 4, 3]

    Args:
        before: what they have. They keep what they can: a worker that moves has to start anew.
        absent: replicas that get none.
    """
    num_left, sizes = there.total(), []
    for replica in range(num_replicas):
        sizes.append(0 if replica in absent else min(per_replica, num_left))
        num_left -= sizes[-1]
    left, shares = there.copy(), []
    for size, had in zip(sizes, chain(before, repeat(Counter[Slot]())), strict=False):
        kept = first(size, had & left)
        left -= kept
        shares.append(kept)
    for size, mine in zip(sizes, shares, strict=True):
        more = first(size - mine.total(), left)
        left -= more
        mine += more
    return shares


def first(number: int, slots: Counter[Slot]) -> Counter[Slot]:
    """Give so many of the slots, those that come first."""
    return Counter(islice(slots.elements(), number))


def demand(
    children: ChildrenSettings, nodes: Iterable[Node], place: str, num_missing: int
) -> tuple[dict[str, float], int]:
    """Give what there has to be more for so many children: resources of one node, and how often."""
    child = slot(children, place)
    if children.per_gpu_node is None:
        return child.resources, num_missing
    # Where a node has room for more by Ray's count than by ours, nodes have to be asked for whole.
    homes = [(node, room) for node in nodes for room in rooms([node], children, place)]
    if not homes:
        return child.resources, min(1, num_missing)  # once one is there its like is asked for
    node, room = max(homes, key=lambda home: home[0].num_gpus)
    return {"GPU": node.num_gpus}, math.ceil(num_missing / room.num_at_most)


def lacking(children: ChildrenSettings, nodes: Iterable[Node]) -> str:
    """Say what no node has that one child needs, a line for each node; empty if one has it all."""
    lacks = []
    for node in nodes:
        needed = slot(children, "", node.num_gpus)
        short = [
            f"{key}={given:g}: {node.name} has {node.total.get(resource, 0.0):g} {resource}s"
            for resource, key, given in (
                ("GPU", "children.num_gpus", children.num_gpus),
                ("CPU", "children.num_cpus", children.num_cpus),
            )
            if needed.resources.get(resource, 0.0) > node.total.get(resource, 0.0) + _ROUNDING
        ]
        if not short:
            return ""
        lacks.append("; ".join(short))
    return "\n".join(lacks)


def _num_on_gpus(num_gpus: float, each: float) -> int:
    there = num_gpus + _ROUNDING
    if each >= 1:
        return int(there // each)
    # A part of a GPU is of one GPU: two of 0.6 do not share one.
    whole, rest = divmod(there, 1.0)
    on_one = (1 + _ROUNDING) // each
    return int(whole * on_one + min(on_one, rest // each))


def _part(number: int) -> float:
    """Give the part of a GPU of which so many fit: Ray rounds, up too, to ten thousandths."""
    return 10_000 // number / 10_000
