"""What an architecture comes to for images of one shape: sizes, weights and multiply-adds."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from child.convolutional.architecture import ConvolutionalArchitecture
from child.convolutional.layer import BatchNorm, ContrastNorm, Convolution, Operation, Pooling
from child.convolutional.network_settings import NetworkSettings
from child.data.images import ImageShape


@dataclass(frozen=True)
class LayerPlan:
    """A layer with the shapes that go in, concatenated and padded, and come out.

    inputs: what feeds it, numbers of layers; 0 is the image.
    """

    operation: Operation
    inputs: tuple[int, ...]
    in_shape: ImageShape
    out_shape: ImageShape


@dataclass(frozen=True)
class NetworkPlan:
    """Every layer's shapes, and what goes to the classifier.

    The three repairs of Zoph & Le 2017, s3.3, are made here: a layer without inputs takes the
    image; what feeds no other layer goes to the classifier; maps of different sizes are padded
    to the largest height and the largest width among them.

    outputs: numbers of the layers that go to the classifier; out_shape: theirs, concatenated.
    num_features: numbers that the classifier sees of each image.
    """

    layers: tuple[LayerPlan, ...]
    pooled_after: tuple[int, ...]
    outputs: tuple[int, ...]
    out_shape: ImageShape
    num_features: int
    num_classes: int
    is_norm_first: bool

    @classmethod
    def of(
        cls,
        architecture: ConvolutionalArchitecture,
        image: ImageShape,
        num_classes: int,
        settings: NetworkSettings,
    ) -> NetworkPlan:
        """Plan an architecture for images of that shape."""
        shapes = [image]  # as they are once pooled for the next layer
        layers = []
        for number, layer in enumerate(architecture.layers, start=1):
            inputs = layer.inputs or (0,)
            in_shape = _merged(shapes[i] for i in inputs)
            out_shape = _out_shape(layer.operation, in_shape)
            layers.append(LayerPlan(layer.operation, inputs, in_shape, out_shape))
            shapes.append(out_shape)
            if number in architecture.pooled_after:
                shapes = [_strided(shape, 2, 2) for shape in shapes]
        end = _merged(shapes[i] for i in architecture.outputs)
        return cls(
            tuple(layers),
            architecture.pooled_after,
            architecture.outputs,
            out_shape=end,
            num_features=end.channels if settings.features == "average" else math.prod(end),
            num_classes=num_classes,
            is_norm_first=settings.order == "norm-relu-convolution",
        )

    @property
    def num_weights(self) -> int:
        """Weights of the convolutions and of the classifier, without biases and batch norm."""
        return sum(map(_num_weights, self.layers)) + self.num_features * self.num_classes

    @property
    def num_parameters(self) -> int:
        """All that is trained: with the classifier's biases, and scale and shift of batch norm."""
        num_normed = self.out_shape.channels if self.is_norm_first else 0
        for layer in self.layers:
            match layer.operation:
                case Convolution():
                    shape = layer.in_shape if self.is_norm_first else layer.out_shape
                    num_normed += shape.channels
                case BatchNorm():
                    num_normed += layer.in_shape.channels
        return self.num_weights + self.num_classes + 2 * num_normed

    @property
    def multiply_adds(self) -> int:
        """Of the convolutions and the classifier, for one image; all else is small beside them."""
        return self.num_features * self.num_classes + sum(
            layer.out_shape.height * layer.out_shape.width * _num_weights(layer)
            for layer in self.layers
        )


def same_padding(size: int, window: int, stride: int) -> tuple[int, int]:
    """Give the padding before and after, in pixels, with which ceil(size / stride) come out.

    >>> same_padding(32, window=3, stride=1), same_padding(32, window=3, stride=2)
    ((1, 1), (0, 1))
    """
    total = max((math.ceil(size / stride) - 1) * stride + window - size, 0)
    return total // 2, total - total // 2


def _num_weights(layer: LayerPlan) -> int:
    if not isinstance(layer.operation, Convolution):
        return 0
    pixels = layer.operation.filter_height * layer.operation.filter_width
    return pixels * layer.in_shape.channels * layer.out_shape.channels


def _out_shape(operation: Operation, shape: ImageShape) -> ImageShape:
    match operation:
        case Convolution():
            strided = _strided(shape, operation.stride_height, operation.stride_width)
            return strided._replace(channels=operation.num_filters)
        case Pooling():
            return _strided(shape, operation.stride_height, operation.stride_width)
        case BatchNorm() | ContrastNorm():
            return shape


def _strided(shape: ImageShape, stride_height: int, stride_width: int) -> ImageShape:
    return ImageShape(
        shape.channels,
        math.ceil(shape.height / stride_height),
        math.ceil(shape.width / stride_width),
    )


def _merged(shapes: Iterable[ImageShape]) -> ImageShape:
    channels, heights, widths = zip(*shapes, strict=True)
    return ImageShape(sum(channels), max(heights), max(widths))
