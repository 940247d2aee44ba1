"""A labelled set of images, split for training, validation and one test."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from child.data.whitening import Whitening, WhiteningKind


class ImageShape(NamedTuple):
    """Of one image; height and width in pixels."""

    channels: int
    height: int
    width: int


@dataclass(frozen=True)
class LabelledImages:
    """N images with their classes.

    images: (N, channels, height, width) uint8, as they are stored. labels: (N,) int64, from 0.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: NDArray[np.int64]) -> Self:
        """Give a copy of some of the images, in the order of the indices."""
        return type(self)(np.ascontiguousarray(self.images[indices]), self.labels[indices])


@dataclass(frozen=True)
class TrainingData:
    """All that a child may see during a search: the images to train on and to validate on.

    whitening: what becomes of every image before a network sees it; measured on `train` alone.
    """

    train: LabelledImages
    validation: LabelledImages
    num_classes: int
    whitening: Whitening

    @property
    def shape(self) -> ImageShape:
        return ImageShape(*self.train.images.shape[1:])

    def with_validation(self) -> Self:
        """Give data whose images to train on are all of these, those to validate on the last.

        The whitening stays as it was measured.
        """
        parts = self.train, self.validation
        images = np.concatenate([part.images for part in parts])
        labels = np.concatenate([part.labels for part in parts])
        return replace(self, train=LabelledImages(images, labels))


@dataclass(frozen=True)
class ImageData:
    """A data set: what a search may see, and apart from it what the winner is tested on, once."""

    search: TrainingData
    test: LabelledImages

    @classmethod
    def assemble(
        cls,
        train: LabelledImages,
        validation: LabelledImages,
        test: LabelledImages,
        num_classes: int,
        whitening: WhiteningKind,
    ) -> Self:
        """Put the parts together, and measure the whitening on those to train on."""
        measured = Whitening.measure(whitening, train.images)
        return cls(TrainingData(train, validation, num_classes, measured), test)
