"""Skip connections as arcs beside a column of layers: on which side, and where they end."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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
    found = sorted(edges, key=lambda edge: (edge[0] - edge[1], edge))
    num_layers = 1 + max((target for _, target in found), default=0)
    is_there = {side: np.zeros((num_layers, num_layers), bool) for side in (RIGHT, LEFT)}
    lengths = dict.fromkeys(is_there, 0)
    sides: dict[Edge, int] = {}
    for edge in found:
        costs = {side: (_num_crossed(edge, is_there[side]), lengths[side]) for side in is_there}
        side = min(costs, key=lambda side: costs[side])
        sides[edge] = side
        is_there[side][edge] = True
        lengths[side] += edge[1] - edge[0]
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


def _num_crossed(edge: Edge, is_there: NDArray[np.bool_]) -> int:
    """Count the edges that begin between the ends of one and end beyond it, or the reverse."""
    source, target = edge
    begun = is_there[source + 1 : target, target + 1 :].sum()
    ended = is_there[:source, source + 1 : target].sum()
    return int(begun + ended)
