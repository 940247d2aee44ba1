"""A recurrent cell as a tree, from x_t and h_{t-1} up to h_t."""

from __future__ import annotations

from child.recurrent.architecture import CellArchitecture
from child.recurrent.node import Activation, Combination, Node
from deploy.drawings.canvas import INK, PALE, Canvas, Point
from deploy.drawings.tree import NODE_HEIGHT, Tree

WIDTH = 0.76
HALF = NODE_HEIGHT / 2  # the height of a combination, and of the activation above it
APART = 0.16  # from the middle of a node to the lines that come into it
ARROW = 0.24  # the length of lines that only come in or go out
HEAD = 0.06  # the straight end of a line, for its head

COMBINATIONS: dict[Combination, str] = {
    "add": "#dbe8f6",
    "elem_mult": "#fbe0c4",
    "max": "#e6dcf0",
}
ACTIVATIONS: dict[Activation, str] = {
    "identity": "#ffffff",
    "tanh": "#dff0da",
    "sigmoid": "#fdf3c8",
    "relu": "#f8dcdc",
    "sin": "#d9f0ef",
}


def draw_cell(cell: CellArchitecture) -> Canvas:
    """Draw every node as its combination with its activation above, and every value as a line.

    c_t leaves the node that it is taken from between the two; c_{t-1} comes in at a box of its own
    above the node that it is injected at. Ids are combination-8 and activation-8 for node 8,
    combination-inject, edge-8-12, edge-8-inject, edge-inject-12; of lines from and to the outside
    edge-x-0, edge-h-0, edge-c-inject, edge-12-c_t and edge-14-h_t.

    Source: Zoph & Le 2017, Figure 8.
    """
    canvas, tree = Canvas(), Tree(cell)
    for number, node in enumerate(cell.nodes):
        place = tree.place(number)
        _draw_node(canvas, str(number), place, node)
        _draw_number(canvas, number, place, -tree.outside(number))
        if number < cell.base:
            _draw_inputs(canvas, number, place)
    _draw_node(canvas, "inject", tree.inject, cell.inject)
    _draw_memory(canvas, cell, tree)
    _draw_tree(canvas, cell, tree)
    return canvas


def _draw_node(canvas: Canvas, name: str, place: Point, node: Node) -> None:
    x, y = place
    fill = COMBINATIONS[node.combination]
    canvas.box(f"combination-{name}", (x, y - HALF / 2), (WIDTH, HALF), fill)
    canvas.words(node.combination, (x, y - HALF / 2), size=8.5)
    fill = ACTIVATIONS[node.activation]
    canvas.box(f"activation-{name}", (x, y + HALF / 2), (WIDTH, HALF), fill)
    color = PALE if node.activation == "identity" else INK
    canvas.words(node.activation, (x, y + HALF / 2), size=8.5, color=color)


def _draw_number(canvas: Canvas, number: int, place: Point, side: int) -> None:
    x, y = place
    beside = (x + side * (WIDTH / 2 + 0.05), y + HALF / 2)
    canvas.words(str(number), beside, size=7, color=PALE, align="left" if side > 0 else "right")


def _draw_inputs(canvas: Canvas, leaf: int, place: Point) -> None:
    x, bottom = place[0], place[1] - HALF
    for name, text, aside in (("x", "$x_t$", -APART), ("h", "$h_{t-1}$", APART)):
        points = (x + aside, bottom - ARROW), (x + aside, bottom)
        canvas.line(f"edge-{name}-{leaf}", points)
        canvas.words(text, (x + 1.2 * aside, bottom - ARROW - 0.12), size=10)


def _draw_memory(canvas: Canvas, cell: CellArchitecture, tree: Tree) -> None:
    """Draw where c_{t-1} comes in, and where c_t goes out."""
    x, y = tree.inject
    below = tree.place(cell.inject_index)[1] + HALF
    canvas.line(f"edge-{cell.inject_index}-inject", ((x, below), (x, y - HALF)))
    for name, text, node, place in (
        ("edge-c-inject", "$c_{t-1}$", cell.inject_index, tree.inject),
        (
            f"edge-{cell.memory_index}-c_t",
            "$c_t$",
            cell.memory_index,
            tree.place(cell.memory_index),
        ),
    ):
        side = tree.outside(node)
        edge, height = place[0] + side * WIDTH / 2, place[1] - HALF / 2
        far = edge + side * ARROW
        ends = (far, edge) if name == "edge-c-inject" else (edge, far)
        canvas.line(name, [(end, height) for end in ends])
        canvas.words(
            text, (far + side * 0.04, height), size=11, align="left" if side > 0 else "right"
        )


def _draw_tree(canvas: Canvas, cell: CellArchitecture, tree: Tree) -> None:
    """Draw the lines from what each node puts out, injection included, to its parent."""
    starts = {number: (str(number), tree.place(number)) for number in range(len(cell.nodes))}
    starts[cell.inject_index] = ("inject", tree.inject)
    for parent in range(cell.base, len(cell.nodes)):
        for child, aside in zip(cell.children(parent), (-APART, APART), strict=True):
            name, (x, y) = starts[child]
            to_x, to_y = tree.place(parent)[0] + aside, tree.place(parent)[1] - HALF
            # Up past all that stands beside it, then over.
            turn, over = to_y - tree.gap_below(parent), to_y - HEAD
            middle = (turn + over) / 2
            curve = (x, turn), (x, middle), (to_x, middle), (to_x, over)
            canvas.line(f"edge-{name}-{parent}", ((x, y + HALF), *curve, (to_x, to_y)))
    name, (x, y) = starts[len(cell.nodes) - 1]
    canvas.line(f"edge-{name}-h_t", ((x, y + HALF), (x, y + HALF + ARROW)))
    canvas.words("$h_t$", (x, y + HALF + ARROW + 0.13), size=11)
