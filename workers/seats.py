"""Which node each shard and each replica of a search is on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from workers.node import Node
from workers.placement import Need, Placement
from workers.remote import ANYWHERE, THIS_MACHINE


class Seats:
    """Gives every shard and replica a node, and remembers who has which.

    Ray says what is free with a delay in which all could be sent to one node; so what was given is
    counted here.

    Threads: one at a time.
    """

    def __init__(self, placement: Placement) -> None:
        self._placement = placement
        self._taken: dict[str, tuple[str, Need]] = {}  # by who has it: the node, and what of it

    def seat(self, who: str, need: Need) -> str:
        """Choose the place of a process that is started, for `workers.remote.spawn`.

        Args:
            who: such as "shard 3". A successor goes to another node where there is one: its own may
                be gone, which Ray notices later than we.
        """
        if not self._placement.is_spread:
            return THIS_MACHINE
        before, _ = self._taken.pop(who, ("", need))
        there = homes(map(self._left, self._placement.nodes()), need)
        if not there:
            return ANYWHERE
        numbers = Counter(node_id for node_id, _ in self._taken.values())
        # The first of those with the fewest.
        chosen = min(there, key=lambda node: (node.node_id == before, numbers[node.node_id]))
        self._taken[who] = chosen.node_id, need
        return chosen.node_id

    def has_seat(self, who: str) -> bool:
        """Tell whether a node was found for a process, or it waits for one."""
        return not self._placement.is_spread or who in self._taken

    def leave(self, who: str) -> None:
        """Take a process's seat back: it has ended, and has no successor."""
        self._taken.pop(who, None)

    def _left(self, node: Node) -> Node:
        """Give a node with what is left of it by Ray's count, and by ours."""
        needs = [need for node_id, need in self._taken.values() if node_id == node.node_id]
        ours = {
            "CPU": sum(need.num_cpus for need in needs),
            "memory": sum(need.memory_bytes for need in needs),
        }
        left = {key: node.total.get(key, 0.0) - taken for key, taken in ours.items()}
        return Node(node.name, node.total, _least(node.free, left), node.node_id)


def homes(nodes: Iterable[Node], need: Need) -> list[Node]:
    """Give the nodes that have room for a shard or replica, in the order of their names.

    GPU nodes are the children's, and come and go: they are taken only where there is no room
    elsewhere.

    >>> head, worker = Node("a", {"CPU": 8.0}, {"CPU": 8.0}), Node("b", {"GPU": 1.0}, {"GPU": 1.0})
    >>> [node.name for node in homes([worker, head], Need(0.0, 0))]
    ['a']
    """
    roomy = [
        node
        for node in nodes
        if node.free.get("CPU", 0.0) >= need.num_cpus
        and node.free.get("memory", 0.0) >= need.memory_bytes
    ]
    without_gpus = [node for node in roomy if not node.total.get("GPU")]
    return sorted(without_gpus or roomy, key=lambda node: (node.name, node.node_id))


def _least(a: Mapping[str, float], b: Mapping[str, float]) -> dict[str, float]:
    return {key: min(a.get(key, 0.0), value) for key, value in b.items()}
