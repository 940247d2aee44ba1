"""A labelled set of images, split for training, validation and one test."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class LabelledImages:
    """N images with their classes.

    images: (N, channels, height, width) float32. labels: (N,) int64, from 0.
    """

    images: NDArray[np.float32]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class TrainingData:
    """All that a child may see during a search: the images to train on and to validate on."""

    train: LabelledImages
    validation: LabelledImages
    num_classes: int

    @property
    def num_channels(self) -> int:
        return int(self.train.images.shape[1])


@dataclass(frozen=True)
class ImageData:
    """A data set: what a search may see, and apart from it what the winner is tested on, once."""

    search: TrainingData
    test: LabelledImages
