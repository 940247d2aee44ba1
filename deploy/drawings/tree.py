"""Where the nodes of a cell stand: leaves in a row, every other one above the two it takes."""

from __future__ import annotations

from child.recurrent.architecture import CellArchitecture
from deploy.drawings.canvas import Point

COLUMN = 1.3  # from one leaf to the next, in inches
NODE_HEIGHT = 0.48
GAP = 0.38  # from one level to the next, and more where lines go far to the side
MORE_GAP = 0.13  # for each inch to the side


class Tree:
    """The middle of every node of a cell, in inches, and of the injection above its node.

    No two lines from a node to the one that takes it cross.

    inject: the place of the injection.
    """

    def __init__(self, cell: CellArchitecture) -> None:
        self._cell = cell
        xs = self._columns()
        levels = self._levels()
        self._gaps = [GAP] * (1 + levels[-1])  # below each level
        for node in range(cell.base, len(cell.nodes)):
            aside = max(abs(xs[node] - xs[child]) for child in cell.children(node))
            gap = GAP + MORE_GAP * aside
            self._gaps[levels[node]] = max(self._gaps[levels[node]], gap)
        heights = [0.0]
        for level, gap in enumerate(self._gaps[1:], start=1):
            # All above the injection make room for it.
            is_above_injection = level == levels[cell.inject_index] + 1
            room = GAP + NODE_HEIGHT if is_above_injection else 0
            heights.append(heights[-1] + NODE_HEIGHT + room + gap)
        self._level_of = levels
        self._places = [(x, heights[level]) for x, level in zip(xs, levels, strict=True)]
        x, y = self._places[cell.inject_index]
        self.inject: Point = (x, y + NODE_HEIGHT + GAP)

    def place(self, node: int) -> Point:
        """Give the middle of a node."""
        return self._places[node]

    def gap_below(self, node: int) -> float:
        """Give how far nothing stands below a node."""
        return self._gaps[self._level_of[node]]

    def outside(self, node: int) -> int:
        """Give the side of a node, -1 or 1 for the right, that the line to its parent leaves free.

        The root has no parent: 1.
        """
        is_left_child = node % 2 == 0 and node < len(self._cell.nodes) - 1
        return -1 if is_left_child else 1

    def _columns(self) -> list[float]:
        xs = [0.0] * len(self._cell.nodes)
        num_leaves = 0
        for node in self._below(len(self._cell.nodes) - 1):
            if node < self._cell.base:
                xs[node] = num_leaves * COLUMN
                num_leaves += 1
            else:
                left, right = self._cell.children(node)
                xs[node] = (xs[left] + xs[right]) / 2
        return xs

    def _levels(self) -> list[int]:
        levels = [0] * self._cell.base
        for node in range(self._cell.base, len(self._cell.nodes)):
            levels.append(1 + max(levels[child] for child in self._cell.children(node)))
        return levels

    def _below(self, node: int) -> list[int]:
        """Give all nodes below one and itself, from left to right, each after those it takes."""
        if node < self._cell.base:
            return [node]
        left, right = self._cell.children(node)
        return [*self._below(left), *self._below(right), node]
