"""Whitening: what is done to the pixels of every image before a network sees them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

logger = logging.getLogger(__name__)

WhiteningKind = Annotated[
    Literal["none", "channel", "zca"],
    Field(
        description="What is done to the pixels. channel: every color gets the mean 0 and the "
        "variance 1. zca: their correlations are taken away, too. none: they are divided by 255."
    ),
]

ZCA_EPSILON = 0.01
MAX_ZCA_VALUES = 12_288  # of one image; 3x64x64

_CHUNK_VALUES = 2**23  # read at a time; bounds memory, changes no more than the last bits


@dataclass(frozen=True)
class Whitening:
    """x -> ((x - mean) * scale) @ matrix, with x one image, flattened for the product.

    mean, scale: float32 that broadcast to (channels, height, width).
    matrix: (D, D) float32 with D = channels * height * width, symmetric; None is the identity.
    """

    mean: NDArray[np.float32]
    scale: NDArray[np.float32]
    matrix: NDArray[np.float32] | None = None

    @classmethod
    def measure(cls, kind: WhiteningKind, images: NDArray[np.uint8]) -> Self:
        """Measure on images what turns them, and others like them, white.

        none: pixels from 0 to 1, x / 255; nothing is measured.
        channel: every channel gets mean 0 and variance 1 over all pixels of all images. One that
            is constant gets 0.
        zca: every value of an image gets mean 0 over the images, each channel variance 1, and then
            the values lose their correlations with matrix = U diag((s + epsilon) ** -0.5) U', where
            U diag(s) U' is their covariance. Directions with a variance s far above epsilon =
            0.01 get variance 1; those below, which are mostly noise, are not blown up. The time it
            takes grows with D ** 3: a minute or two for 45,000 images of 3x32x32.

        Args:
            images: (N, channels, height, width), N > 0; the images to train on alone, or
                validation and test leak into the training.

        Raises:
            ValueError: zca of images of more than 12,288 values, whose matrices would take
                gigabytes.

        Source: Zoph & Le 2017, s4.1 whitens CIFAR-10 without saying how: open. ZCA is that of
        Krizhevsky 2009 (Learning Multiple Layers of Features from Tiny Images, appendix A);
        epsilon is what Coates & Ng 2012 (Learning Feature Representations with K-means) begin
        with for the largest of their patches of unit variance, 16x16.
        """
        num_channels = images.shape[1]
        if kind == "none":
            return cls(
                np.zeros((num_channels, 1, 1), np.float32),
                np.full((num_channels, 1, 1), 1 / 255, np.float32),
            )
        mean, scale = _standardization(images)
        if kind == "channel":
            return cls(mean.astype(np.float32), scale.astype(np.float32))
        num_values = prod(images.shape[1:])
        if num_values > MAX_ZCA_VALUES:
            raise ValueError(
                f"whitening='zca' of images of {num_values} values: must have at most "
                f"{MAX_ZCA_VALUES}; its covariance would fill the memory; make the images smaller, "
                "or use whitening='channel'"
            )
        logger.info("measuring the correlations of %d values in %d images", num_values, len(images))
        total = sum(chunk.sum(axis=0, dtype=np.int64) for chunk in _chunks(images))
        mean = total / len(images)  # (channels, height, width)
        matrix = _decorrelation(images, mean, scale)
        return cls(mean.astype(np.float32), scale.astype(np.float32), matrix.astype(np.float32))


def _standardization(
    images: NDArray[np.uint8],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Give mean and 1 / standard deviation of each channel, each (channels, 1, 1)."""
    levels = np.arange(256.0)
    means, scales = [], []
    for channel in range(images.shape[1]):
        # From how often each of the 256 gray levels comes: exact, whatever the number of pixels.
        counts = np.zeros(256, np.int64)
        for chunk in _chunks(images):
            counts += np.bincount(chunk[:, channel].reshape(-1), minlength=256)
        mean = np.average(levels, weights=counts)
        deviation = np.sqrt(np.average((levels - mean) ** 2, weights=counts))
        means.append(mean)
        scales.append(1 / deviation if deviation else 1.0)
    return np.reshape(means, (-1, 1, 1)), np.reshape(scales, (-1, 1, 1))


def _decorrelation(
    images: NDArray[np.uint8], mean: NDArray[np.float64], scale: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Give the (D, D) matrix of ZCA for images of which mean and scale are known."""
    covariance = np.zeros((mean.size, mean.size))
    for chunk in _chunks(images):
        rows = ((chunk - mean) * scale).reshape(len(chunk), -1)
        covariance += rows.T @ rows
    covariance /= len(images)
    variances, directions = np.linalg.eigh(covariance)
    half = directions * (variances + ZCA_EPSILON) ** -0.25
    return half @ half.T  # of a matrix with its own transpose: symmetric to the last bit


def _chunks(images: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    step = max(1, _CHUNK_VALUES // prod(images.shape[1:]))
    return (images[start : start + step] for start in range(0, len(images), step))
