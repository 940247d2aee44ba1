"""A convolutional network computed pixel by pixel, to compare the real one with."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np

from child.convolutional.architecture import ConvolutionalArchitecture
from child.convolutional.layer import BatchNorm, ContrastNorm, Convolution, Operation, Pooling
from child.convolutional.network import ConvolutionalNetwork


def forward(
    network: ConvolutionalNetwork, architecture: ConvolutionalArchitecture, images: np.ndarray
) -> np.ndarray:
    """Give the logits of a network in training mode with the default settings, in float64.

    Each map is kept at every size it is needed at: layers[p] are the outputs after p poolings.
    """
    weights = {name: p.detach().double().numpy() for name, p in network.named_parameters()}
    maps = [images.astype(np.float64)]
    for number, layer in enumerate(architecture.layers, start=1):
        features = concatenated([maps[i] for i in layer.inputs or (0,)])
        maps.append(_operate(layer.operation, features, f"layers.{number - 1}", weights))
        if number in architecture.pooled_after:
            maps = [pooled(m, "max", (2, 2), (2, 2)) for m in maps]
    used = {i for layer in architecture.layers for i in layer.inputs}
    used -= set(architecture.also_classified)
    ends = [m for i, m in enumerate(maps) if i > 0 and i not in used]
    features = concatenated(ends).mean(axis=(2, 3))
    return features @ weights["classifier.weight"].T + weights["classifier.bias"]


def concatenated(maps: list[np.ndarray]) -> np.ndarray:
    """Concatenate along depth; smaller maps stand in the middle of zeros."""
    height, width = max(m.shape[2] for m in maps), max(m.shape[3] for m in maps)
    whole = np.zeros((len(maps[0]), sum(m.shape[1] for m in maps), height, width))
    channel = 0
    for m in maps:
        top, left = (height - m.shape[2]) // 2, (width - m.shape[3]) // 2
        whole[
            :, channel : channel + m.shape[1], top : top + m.shape[2], left : left + m.shape[3]
        ] = m
        channel += m.shape[1]
    return whole


def pooled(
    features: np.ndarray, kind: str, window: tuple[int, int], strides: tuple[int, int]
) -> np.ndarray:
    """Pool with windows that may stand over the border, of which only the inside counts."""
    n, channels, *size = features.shape
    out = np.zeros((n, channels, *(math.ceil(s / t) for s, t in zip(size, strides, strict=True))))
    for (i, j), (rows, columns) in _windows(size, window, strides):
        inside = features[:, :, rows][:, :, :, columns]
        out[:, :, i, j] = inside.max(axis=(2, 3)) if kind == "max" else inside.mean(axis=(2, 3))
    return out


def _operate(
    operation: Operation, features: np.ndarray, name: str, weights: dict[str, np.ndarray]
) -> np.ndarray:
    match operation:
        case Convolution():
            [kernel] = [w for n, w in weights.items() if n.startswith(f"{name}.") and w.ndim == 4]
            convolved = _convolved(features, kernel, operation)
            return np.maximum(_normed(convolved), 0)
        case Pooling():
            kind = "max" if operation.type == "max_pooling" else "average"
            strides = (operation.stride_height, operation.stride_width)
            return pooled(features, kind, (operation.height, operation.width), strides)
        case BatchNorm():
            return _normed(features)
        case ContrastNorm():
            return contrast_normed(features)


def _normed(features: np.ndarray) -> np.ndarray:
    mean = features.mean(axis=(0, 2, 3), keepdims=True)
    variance = features.var(axis=(0, 2, 3), keepdims=True)
    return (features - mean) / np.sqrt(variance + 1e-5)


def _convolved(features: np.ndarray, kernel: np.ndarray, operation: Convolution) -> np.ndarray:
    size, window = features.shape[2:], kernel.shape[2:]
    strides = (operation.stride_height, operation.stride_width)
    out_size = [math.ceil(s / t) for s, t in zip(size, strides, strict=True)]
    out = np.zeros((len(features), len(kernel), *out_size))
    starts = _starts(size, window, strides)
    for i, j in np.ndindex(*out_size):
        for a, b in np.ndindex(*window):
            row, column = starts[0][i] + a, starts[1][j] + b
            if 0 <= row < size[0] and 0 <= column < size[1]:
                out[:, :, i, j] += features[:, :, row, column] @ kernel[:, :, a, b].T
    return out


def contrast_normed(features: np.ndarray) -> np.ndarray:
    """Normalise local contrast by Jarrett et al. 2009, s2.1; 9x9, deviation a quarter of it."""
    n, channels, height, width = features.shape
    centred = np.zeros_like(features)
    sigma = np.zeros((n, height, width))
    for i, j in np.ndindex(height, width):
        w = _gaussian(i, j, height, width)
        mean = (features * w).sum(axis=(1, 2, 3)) / channels
        centred[:, :, i, j] = features[:, :, i, j] - mean[:, None]
    for i, j in np.ndindex(height, width):
        w = _gaussian(i, j, height, width)
        sigma[:, i, j] = np.sqrt((centred**2 * w).sum(axis=(1, 2, 3)) / channels)
    floor = sigma.mean(axis=(1, 2), keepdims=True)
    return centred / np.maximum(sigma, floor)[:, None]


def _gaussian(i: int, j: int, height: int, width: int) -> np.ndarray:
    """Give weights over the map for the pixel i, j; they sum to 1 over what is inside."""
    w = np.zeros((height, width))
    for a, b in np.ndindex(height, width):
        if abs(a - i) <= 4 and abs(b - j) <= 4:
            w[a, b] = math.exp(-((a - i) ** 2 + (b - j) ** 2) / (2 * 2.25**2))
    return w / w.sum()


def _starts(size: tuple[int, int], window: tuple[int, int], strides: tuple[int, int]) -> list:
    """Give where each window starts: the whole row of them stands in the middle of the map."""
    starts = []
    for s, k, t in zip(size, window, strides, strict=True):
        number = math.ceil(s / t)
        covered = (number - 1) * t + k
        first = -(max(covered - s, 0) // 2)
        starts.append([first + t * i for i in range(number)])
    return starts


def _windows(
    size: tuple[int, int], window: tuple[int, int], strides: tuple[int, int]
) -> Iterator[tuple[tuple[int, int], tuple[slice, slice]]]:
    starts = _starts(size, window, strides)
    for (i, top), (j, left) in itertools.product(enumerate(starts[0]), enumerate(starts[1])):
        rows = slice(max(top, 0), top + window[0])
        columns = slice(max(left, 0), left + window[1])
        yield (i, j), (rows, columns)
