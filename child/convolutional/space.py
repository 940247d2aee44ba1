"""The space of convolutional networks: what is decided of each layer, and in which order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Generator, Sequence
from typing import TypeVar

from child.convolutional.architecture import ConvolutionalArchitecture
from child.convolutional.layer import (
    BatchNorm,
    ContrastNorm,
    Convolution,
    Layer,
    LayerType,
    Operation,
    Pooling,
)
from child.convolutional.space_settings import ConvolutionalSettings
from child.space import AnchorDecision, Decision
from child.writing import Writing, architecture_of, decision_after, decisions_from

T = TypeVar("T")


class ConvolutionalSpace:
    """Networks of ``depth`` decided layers; see `child.space.Space`.

    For each layer, from the image on: its type, if there are several; then for a convolution
    filter height, filter width, stride height, stride width, anchor point, number of filters; for
    pooling the size and the stride of its window, and the anchor point; for the others the anchor
    point alone. At the end, if it is to be decided, the learning rate. What is fixed is left out.

    Source: Zoph & Le 2017, s3.1, s3.3 and Figure 2. The order of the anchor point and the number of
    filters is Figure 4's in its first layer; where the learning rate stands is open.
    """

    has_anchors: bool

    def __init__(self, settings: ConvolutionalSettings) -> None:
        self._settings = settings
        self.has_anchors = settings.skip_connections
        options: dict[str, Sequence[object]] = {"layer_type": settings.layer_types}
        if "convolution" in settings.layer_types:
            options |= {
                "filter_height": settings.filter_heights,
                "filter_width": settings.filter_widths,
                "stride_height": settings.stride_heights,
                "stride_width": settings.stride_widths,
                "num_filters": settings.num_filters,
            }
        if {"max_pooling", "average_pooling"} & set(settings.layer_types):
            options |= {"pool_size": settings.pool_sizes, "pool_stride": settings.pool_strides}
        options |= {"learning_rate": settings.learning_rates}
        self._options = {kind: choices for kind, choices in options.items() if len(choices) > 1}
        self._decisions = {
            kind: Decision(kind, len(choices)) for kind, choices in self._options.items()
        }

    @property
    def decisions(self) -> tuple[Decision, ...]:
        return tuple(self._decisions.values())

    def options(self, kind: str) -> Sequence[object]:
        return self._options[kind]

    def positions(self, depth: int) -> tuple[frozenset[Decision], ...]:
        """See `child.space.Space`; here nothing stands in a set that cannot be met at its step.

        The learning rate ends a list, so it may stand wherever a network of up to that depth ends.
        """
        layers = [
            decisions_from(self._layer(0), first_choice=kind)
            for kind in range(len(self._settings.layer_types))
        ]
        starts: set[int] = set()  # the steps that a layer may begin at
        ends: set[int] = set()  # those that one may end before
        fresh = {0}
        for _ in range(depth):
            starts |= fresh
            fresh = {start + len(layer) for start in fresh for layer in layers} - ends
            ends |= fresh
        met: defaultdict[int, set[Decision]] = defaultdict(set)
        for start in starts:
            for layer in layers:
                for step, decision in enumerate(layer, start):
                    if isinstance(decision, Decision):
                        met[step].add(decision)
        if rate := self._decisions.get("learning_rate"):
            for end in ends:
                met[end].add(rate)
        return tuple(frozenset(met[step]) for step in range(max(ends) + bool(rate)))

    def next_decision(self, choices: Sequence[int], depth: int) -> Decision | AnchorDecision | None:
        return decision_after(self._write(depth), choices)

    def decode(self, choices: Sequence[int], depth: int) -> ConvolutionalArchitecture:
        return architecture_of(self._write(depth), choices, f"in a network of depth {depth}")

    def _write(self, depth: int) -> Writing[ConvolutionalArchitecture]:
        settings = self._settings
        layers: list[Layer] = []
        feeds_others: set[int] = set()
        built: list[tuple[int, ...]] = []  # for each decided layer, the numbers it is built as
        for number in range(depth):
            operation, feeding = yield from self._layer(number)
            feeds_others |= set(feeding)
            inputs = tuple(sorted(built_as for j in feeding for built_as in built[j]))
            first = len(layers) + 1
            for _ in range(settings.block_size):
                within = tuple(range(first, len(layers) + 1))
                # Within a block the image, too, goes to every layer; 0 is the image beside others.
                layers.append(Layer(operation, (inputs or (0,)) + within if within else inputs))
            built.append(tuple(range(first, len(layers) + 1)))
        learning_rate = (
            (yield from self._pick("learning_rate", settings.learning_rates))
            if settings.learning_rates
            else None
        )
        pooled_after = tuple(p for p in settings.pooled_after if p < len(layers))
        # What a block puts out are the outputs of all its layers, also for the classifier.
        also_classified = tuple(
            number
            for index, block in enumerate(built)
            if index not in feeds_others
            for number in block[:-1]
        )
        architecture = ConvolutionalArchitecture(
            tuple(layers), pooled_after, also_classified, learning_rate
        )
        return architecture.widened(settings.extra_filters)

    def _layer(self, number: int) -> Writing[tuple[Operation, Sequence[int]]]:
        """Decide a layer, numbered from 0, and the decided layers that feed it."""
        settings = self._settings
        kind: LayerType = yield from self._pick("layer_type", settings.layer_types)
        operation: Operation
        match kind:
            case "convolution":
                height = yield from self._pick("filter_height", settings.filter_heights)
                width = yield from self._pick("filter_width", settings.filter_widths)
                stride_height = yield from self._pick("stride_height", settings.stride_heights)
                stride_width = yield from self._pick("stride_width", settings.stride_widths)
                feeding = yield from self._anchor(number)
                num_filters = yield from self._pick("num_filters", settings.num_filters)
                operation = Convolution(height, width, num_filters, stride_height, stride_width)
                return operation, feeding
            case "max_pooling" | "average_pooling":
                size = yield from self._pick("pool_size", settings.pool_sizes)
                stride = yield from self._pick("pool_stride", settings.pool_strides)
                operation = Pooling(kind, size, size, stride, stride)
            case "batch_norm":
                operation = BatchNorm()
            case "contrast_norm":
                operation = ContrastNorm()
        feeding = yield from self._anchor(number)
        return operation, feeding

    def _anchor(self, number: int) -> Generator[AnchorDecision, int, Sequence[int]]:
        previous = (number - 1,) if number else ()
        if not self._settings.skip_connections:
            return previous
        if not self._settings.is_chained:
            decision = AnchorDecision(num_earlier=number)
            return decision.picked((yield decision))
        decision = AnchorDecision(num_earlier=max(number - 1, 0))
        return decision.picked((yield decision)) + previous

    def _pick(self, kind: str, options: Sequence[T]) -> Generator[Decision, int, T]:
        if len(options) == 1:
            return options[0]
        return options[(yield self._decisions[kind])]
