"""A convolutional architecture as a torch module."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from child.convolutional.architecture import ConvolutionalArchitecture
from child.convolutional.contrast_norm import LocalContrastNorm
from child.convolutional.layer import BatchNorm, ContrastNorm, Convolution, Pooling
from child.convolutional.network_settings import NetworkSettings
from child.convolutional.plan import LayerPlan, NetworkPlan, same_padding
from child.data.images import ImageShape


class ConvolutionalNetwork(nn.Module):
    """The layers of an architecture, and one linear layer as the classifier.

    Source: Zoph & Le 2017, s3.3 and s4.1; what they leave open is in the settings. Smaller maps
    are padded with zeros on all sides alike, an odd row or column below or at the right.
    """

    def __init__(
        self,
        architecture: ConvolutionalArchitecture,
        image: ImageShape,
        num_classes: int,
        settings: NetworkSettings | None = None,
    ) -> None:
        """Build the network for images of that shape, with weights drawn at random."""
        super().__init__()
        settings = settings or NetworkSettings()
        plan = NetworkPlan.of(architecture, image, num_classes, settings)
        self._plan = plan
        self._last_uses = _last_uses(plan)
        self.layers = nn.ModuleList(_layer(layer, settings) for layer in plan.layers)
        self._takes_average = settings.features == "average"
        self.end = nn.Sequential()
        if settings.order == "norm-relu-convolution":
            self.end.append(_norm(plan.out_shape.channels, settings)).append(nn.ReLU(inplace=True))
        self.classifier = nn.Linear(plan.num_features, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Give the logits, (N, num_classes), for images (N, channels, height, width)."""
        maps = {0: images}
        for number, (layer, module) in enumerate(
            zip(self._plan.layers, self.layers, strict=True), start=1
        ):
            maps[number] = module(_concatenated([maps[i] for i in layer.inputs]))
            # What is of no more use would only take memory.
            maps = {i: m for i, m in maps.items() if self._last_uses[i] > number}
            if number in self._plan.pooled_after:
                maps = {i: nn.functional.max_pool2d(m, 2, ceil_mode=True) for i, m in maps.items()}
        end = self.end(_concatenated([maps[i] for i in self._plan.outputs]))
        features = end.mean(dim=(2, 3)) if self._takes_average else end.flatten(start_dim=1)
        logits: Tensor = self.classifier(features)
        return logits


def _last_uses(plan: NetworkPlan) -> list[int]:
    """Give for the image and each layer the number of the last layer that takes it."""
    end = len(plan.layers) + 1
    last = [0] * end
    for number, layer in enumerate(plan.layers, start=1):
        for i in layer.inputs:
            last[i] = number
    for i in plan.outputs:
        last[i] = end
    return last


def _concatenated(maps: list[Tensor]) -> Tensor:
    """Concatenate along depth, the smaller maps padded with zeros."""
    height = max(m.shape[2] for m in maps)
    width = max(m.shape[3] for m in maps)
    padded = [_padded(m, height - m.shape[2], width - m.shape[3]) for m in maps]
    return padded[0] if len(padded) == 1 else torch.cat(padded, dim=1)


def _padded(features: Tensor, rows: int, columns: int) -> Tensor:
    if not rows and not columns:
        return features
    above, left = rows // 2, columns // 2
    return nn.functional.pad(features, (left, columns - left, above, rows - above))


def _layer(plan: LayerPlan, settings: NetworkSettings) -> nn.Module:
    shape = plan.in_shape
    match plan.operation:
        case Convolution() as operation:
            return _convolution(operation, shape, settings)
        case Pooling() as operation:
            return _Pooling(operation, shape)
        case BatchNorm():
            return _norm(shape.channels, settings)
        case ContrastNorm():
            return LocalContrastNorm()


def _convolution(
    operation: Convolution, shape: ImageShape, settings: NetworkSettings
) -> nn.Sequential:
    window = (operation.filter_height, operation.filter_width)
    strides = (operation.stride_height, operation.stride_width)
    rows, columns = (same_padding(*each) for each in zip(shape[1:], window, strides, strict=True))
    is_even = rows[0] == rows[1] and columns[0] == columns[1]
    # Batch norm after it would subtract any bias again; DenseNet's order has none either.
    convolution = nn.Conv2d(
        shape.channels,
        operation.num_filters,
        window,
        strides,
        padding=(rows[0], columns[0]) if is_even else 0,
        bias=False,
    )
    if settings.initialization == "he":
        deviation = math.sqrt(2 / (window[0] * window[1] * operation.num_filters))
        nn.init.normal_(convolution.weight, std=deviation)
    padding = [] if is_even else [nn.ZeroPad2d((*columns, *rows))]
    relu = nn.ReLU(inplace=True)
    match settings.order:
        case "convolution-norm-relu":
            norm = _norm(operation.num_filters, settings)
            return nn.Sequential(*padding, convolution, norm, relu)
        case "convolution-relu-norm":
            norm = _norm(operation.num_filters, settings)
            return nn.Sequential(*padding, convolution, relu, norm)
        case "norm-relu-convolution":
            return nn.Sequential(_norm(shape.channels, settings), relu, *padding, convolution)


def _norm(num_channels: int, settings: NetworkSettings) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(num_channels, eps=settings.norm_epsilon)


class _Pooling(nn.Module):
    """A window that may stand over the border, where only what is inside counts."""

    _num_inside: Tensor

    def __init__(self, operation: Pooling, shape: ImageShape) -> None:
        super().__init__()
        self._is_max = operation.type == "max_pooling"
        self._window = (operation.height, operation.width)
        self._strides = (operation.stride_height, operation.stride_width)
        rows, columns = (
            same_padding(*each) for each in zip(shape[1:], self._window, self._strides, strict=True)
        )
        self._padding = (*columns, *rows)
        inside = nn.functional.pad(torch.ones(1, 1, shape.height, shape.width), self._padding)
        # How much of each window is inside the map, in pixels.
        self.register_buffer("_num_inside", self._sum(inside), persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        """Pool maps (N, channels, height, width)."""
        if self._is_max:
            padded = nn.functional.pad(features, self._padding, value=-math.inf)
            return nn.functional.max_pool2d(padded, self._window, self._strides)
        return self._sum(nn.functional.pad(features, self._padding)) / self._num_inside

    def _sum(self, features: Tensor) -> Tensor:
        return nn.functional.avg_pool2d(features, self._window, self._strides, divisor_override=1)
