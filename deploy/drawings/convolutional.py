"""A convolutional network as a column of layers, from the image up to the softmax."""

from __future__ import annotations

import math

from child.convolutional.architecture import ConvolutionalArchitecture
from child.convolutional.layer import Convolution, Operation, Pooling
from deploy.drawings.arcs import Arc, Edge, arcs
from deploy.drawings.canvas import PALE, Canvas, width_of

BOX_HEIGHT = 0.42
GAP = 0.2
POOLING_HEIGHT = 0.2
TAB = 0.23  # at the left of a box, with the layer's number
PADDING = TAB + 0.16  # beside the words of a box
MAX_REACH = 5.0  # of the widest arc
REACH_PER_LAYER = 0.2
CROWDED = 120  # arcs; more have thin lines

IMAGE, OTHERS = "#f2f2f2", "#e3e3e3"
POOLED = "all maps max-pooled, 2x2"
# From the smallest filter to 7x7 and beyond.
SQUARE = ("#eaf1fa", "#8fb8de")
TALL = ("#fdf0e2", "#f0b06a")
WIDE = ("#ebf5e9", "#94c78a")
SHAPES = {"square": SQUARE, "taller than wide": TALL, "wider than tall": WIDE}
COLORS = {"square": "blue", "taller than wide": "orange", "wider than tall": "green"}
# Of the arcs from one layer; neighbours differ.
ARCS = ("#3b6ea5", "#c8553d", "#4b8b3b", "#8a4f9e", "#b8860b", "#2a8c8c", "#b0457b", "#7a5230")


def draw_network(architecture: ConvolutionalArchitecture) -> Canvas:
    """Draw every layer as a box and every connection as a line.

    Chains run straight up, skip connections beside them, in the colour of the number of the layer
    that they come from. Ids are image, layer-3, softmax, edge-image-1, edge-3-7, edge-15-softmax,
    and pooling-13 for the pooling of all maps after layer 13.

    Source: Zoph & Le 2017, Figure 7.
    """
    return _Column(architecture).draw()


class _Column:
    """The layers of a network, numbered from 1, between the image, 0, and the softmax."""

    def __init__(self, architecture: ConvolutionalArchitecture) -> None:
        self._architecture = architecture
        self._softmax = architecture.depth + 1
        self._canvas = Canvas()
        texts = [_text(layer.operation) for layer in architecture.layers]
        self._width = max(width_of(text, 9) for text in (*texts, "softmax")) + 2 * PADDING
        if architecture.pooled_after:
            self._width = max(self._width, width_of(POOLED, 6.5) + 0.16)
        self._heights = [0.0]  # of the middle of each box
        for number in range(1, self._softmax + 1):
            is_pooled = number - 1 in architecture.pooled_after
            gap = 2 * GAP + POOLING_HEIGHT if is_pooled else GAP
            self._heights.append(self._heights[-1] + BOX_HEIGHT + gap)

    def draw(self) -> Canvas:
        """Draw it all."""
        edges = _edges(self._architecture)
        self._boxes({source for source, target in edges if target - source > 1})
        for source, target in edges:
            if target - source == 1:
                self._canvas.line(
                    self._id(source, target),
                    (
                        (0, self._heights[source] + BOX_HEIGHT / 2),
                        (0, self._heights[target] - BOX_HEIGHT / 2),
                    ),
                    width=1.2,
                )
        skips = arcs(edge for edge in edges if edge[1] - edge[0] > 1)
        longest = max((arc.target - arc.source for arc in skips), default=1)
        for arc in skips:
            self._arc(
                arc, min(REACH_PER_LAYER, MAX_REACH / longest), is_crowded=len(skips) > CROWDED
            )
        left, bottom, right, _ = self._canvas.reach
        for number in self._architecture.pooled_after:
            self._pooling(number, left, right)
        self._legend(bottom)
        return self._canvas

    def _boxes(self, with_skips: set[int]) -> None:
        size = (self._width, BOX_HEIGHT)
        self._canvas.box("image", (0, self._heights[0]), size, IMAGE)
        self._canvas.words("image", (0, self._heights[0]), is_bold=True)
        for number, layer in enumerate(self._architecture.layers, start=1):
            height = self._heights[number]
            self._canvas.box(f"layer-{number}", (0, height), size, _fill(layer.operation))
            self._canvas.words(_text(layer.operation), (0, height))
            tab, color = -(self._width - TAB) / 2 + 0.05, _color(number)
            self._canvas.box(
                f"number-{number}",
                (tab, height),
                (TAB, TAB),
                color if number in with_skips else PALE,
                edge="none",
                level=4,
            )
            self._canvas.words(str(number), (tab, height), size=7, color="white", is_bold=True)
        self._canvas.box("softmax", (0, self._heights[-1]), size, IMAGE)
        self._canvas.words("softmax", (0, self._heights[-1]), is_bold=True)

    def _arc(self, arc: Arc, reach_per_layer: float, *, is_crowded: bool) -> None:
        edge = arc.side * self._width / 2
        reach = 0.12 + reach_per_layer * (arc.target - arc.source)
        start = self._heights[arc.source] + (arc.leaves - 0.5) * BOX_HEIGHT
        end = self._heights[arc.target] + (arc.arrives - 0.5) * BOX_HEIGHT
        far = edge + arc.side * reach / 0.75  # a curve with these points comes as far as the reach
        self._canvas.line(
            self._id(arc.source, arc.target),
            ((edge, start), (far, start), (far, end), (edge, end)),
            _color(arc.source),
            width=0.5 if is_crowded else 0.9,
            head=0.6 if is_crowded else 1,
        )

    def _pooling(self, number: int, left: float, right: float) -> None:
        height = (self._heights[number] + self._heights[number + 1]) / 2
        self._canvas.line(
            f"pooling-line-{number}",
            ((left, height), (right, height)),
            PALE,
            head=0,
            is_dashed=True,
            level=1,
        )
        self._canvas.box(f"pooling-{number}", (0, height), (self._width, POOLING_HEIGHT), OTHERS)
        self._canvas.words(POOLED, (0, height), size=6.5)

    def _legend(self, bottom: float) -> None:
        """Say what the signs in the boxes mean, below them."""
        lines = []
        used = {
            _shape(layer.operation)
            for layer in self._architecture.layers
            if isinstance(layer.operation, Convolution)
        }
        if used:
            colors = ", ".join(f"{COLORS[shape]}: {shape}" for shape in SHAPES if shape in used)
            lines += ["filter height x width, number of filters", f"{colors}; darker: larger"]
        if self._architecture.learning_rate is not None:
            lines.append(f"learning rate {self._architecture.learning_rate:g}")
        for number, line in enumerate(lines):
            self._canvas.words(line, (0, bottom - 0.18 - 0.15 * number), size=7, color=PALE)

    def _id(self, source: int, target: int) -> str:
        end = "softmax" if target == self._softmax else target
        return f"edge-{source or 'image'}-{end}"


def _edges(architecture: ConvolutionalArchitecture) -> list[Edge]:
    """Give every connection; 0 is the image, the number after the last layer's the softmax."""
    edges = [
        (source, target)
        for target, layer in enumerate(architecture.layers, start=1)
        for source in layer.inputs or (0,)
    ]
    return edges + [(source, architecture.depth + 1) for source in architecture.outputs]


def _text(operation: Operation) -> str:
    match operation:
        case Convolution():
            text = f"{operation.filter_height}x{operation.filter_width}, {operation.num_filters}"
        case Pooling():
            kind = operation.type.removesuffix("_pooling")
            text = f"{kind} {operation.height}x{operation.width}"
        case _:
            return str(operation)
    strides = operation.stride_height, operation.stride_width
    return text if strides == (1, 1) else f"{text}, stride {strides[0]}x{strides[1]}"


def _shape(operation: Convolution) -> str:
    height, width = operation.filter_height, operation.filter_width
    if height == width:
        return "square"
    return "taller than wide" if height > width else "wider than tall"


def _fill(operation: Operation) -> str:
    if not isinstance(operation, Convolution):
        return OTHERS
    small, large = SHAPES[_shape(operation)]
    area = operation.filter_height * operation.filter_width
    return _between(small, large, min(math.log(area) / math.log(49), 1))


def _between(one: str, other: str, fraction: float) -> str:
    """Give the colour that far between two, each as #rrggbb."""
    pairs = zip(bytes.fromhex(one[1:]), bytes.fromhex(other[1:]), strict=True)
    return "#" + bytes(round(a + (b - a) * fraction) for a, b in pairs).hex()


def _color(number: int) -> str:
    return ARCS[number % len(ARCS)]
