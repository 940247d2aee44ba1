"""Skip connections as arcs beside a column of layers: on which side, and where they end."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

Edge = tuple[int, int]  # (source, target), source < target

LEFT, RIGHT = -1, 1


@dataclass(frozen=True)
class Arc:
    """A line from one layer to a later one.

    side: LEFT or RIGHT.
    leaves, arrives: how high on the side of each layer's box, 0 for its bottom, 1 for its top.
    """

    source: int
    target: int
    side: int
    leaves: float
    arrives: float


def arcs(edges: Iterable[Edge]) -> list[Arc]:
    """Share edges out to both sides, and give each end a place of its own.

    The longest are placed first, each on the side where it crosses fewer of those that are there
    already. Two arcs with an end in common never cross: in each box arcs arrive below those that
    leave, the short ones nearest to where they come from or go to.
    """
    sides: dict[Edge, int] = {}
    for edge in sorted(edges, key=lambda edge: (edge[0] - edge[1], edge)):
        costs = {
            side: (
                sum(_cross(edge, other) for other, at in sides.items() if at == side),
                sum(target - source for (source, target), at in sides.items() if at == side),
            )
            for side in (RIGHT, LEFT)
        }
        sides[edge] = min(costs, key=lambda side: costs[side])
    ends: defaultdict[tuple[int, int], list[tuple[int, int, Edge]]] = defaultdict(list)
    for (source, target), side in sides.items():
        span = target - source
        ends[target, side].append((0, span, (source, target)))
        ends[source, side].append((1, -span, (source, target)))
    heights = {
        (edge, layer): (rank + 1) / (len(at_box) + 1)
        for (layer, _), at_box in ends.items()
        for rank, (_, _, edge) in enumerate(sorted(at_box))
    }
    return [
        Arc(*edge, side, heights[edge, edge[0]], heights[edge, edge[1]])
        for edge, side in sorted(sides.items())
    ]


def _cross(one: Edge, other: Edge) -> bool:
    (a, b), (c, d) = sorted((one, other))
    return a < c < b < d
