"""What becomes of stored images before a network sees them, as the text of a method."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from child.data.images import ImageShape, TrainingData
from child.data.whitening import Whitening
from child.images.augmentation import AugmentationSettings
from child.weights import Weights


@dataclass(frozen=True)
class Preparation:
    """What `child.images.augmentation.Augmentation.evaluation` does, written down.

    brightest: the largest value that a pixel had in training, such as 255.
    margin: pixels by which images are enlarged on each side, and then cropped again; 0 for none.
    """

    shape: ImageShape
    whitening: Whitening
    brightest: int
    margin: int

    @classmethod
    def of(cls, data: TrainingData, augmentation: AugmentationSettings) -> Preparation:
        """Give what is done to the images of a data set."""
        margin = augmentation.margin if augmentation.crop == "upsample" else 0
        brightest = int(data.train.images.max())
        # scikit-learn's digits have 16; those of 8 bits may have none that is quite white.
        return cls(data.shape, data.whitening, 255 if brightest > 16 else brightest, margin)

    @property
    def buffers(self) -> Weights:
        """What is too much to be written as numbers, by the names of the model's buffers."""
        if self.whitening.matrix is None:
            return {}
        return {"mean": self.whitening.mean, "decorrelation": self.whitening.matrix}

    @property
    def in_words(self) -> str:
        """What is done to them, for people: the end of a sentence."""
        means, deviations = (_listed(v) for v in (self.whitening.mean, self._deviation))
        if self.whitening.matrix is not None:
            text = (
                "the mean over the training images is subtracted from each value, the result is "
                f"divided by the deviation of its channel ({deviations}), and correlations between "
                "values are removed (ZCA)"
            )
        elif not self.whitening.mean.any():
            text = f"each value is divided by {self._deviation.flat[0]!s}"
        else:
            text = (
                f"the mean of its channel over the training images ({means}) is subtracted from "
                f"each value, and the result divided by the deviation ({deviations})"
            )
        if self.margin:
            height, width = self._enlarged
            text += (
                f"; then the images are enlarged to {height}x{width} pixels (bilinear), of which "
                "the middle is taken"
            )
        return text

    def init_lines(self) -> list[str]:
        """Give the statements of `__init__` that make the buffers."""
        return [
            f'self.register_buffer("{name}", torch.zeros({", ".join(map(str, values.shape))}))'
            for name, values in self.buffers.items()
        ]

    def method(self) -> str:
        """Give the text of the method."""
        *lines, last = [*self._whitening_lines(), *self._enlarging_lines()]
        lines.append(last.replace("images = ", "return ", 1))
        body = "".join(f"        {line}\n" for line in lines)
        channels, height, width = self.shape
        return (
            "    def prepare(self, images: Tensor) -> Tensor:\n"
            f'        """Give what `forward` takes of images (N, {channels}, {height}, {width}), '
            f'values from 0 to {self.brightest}."""\n'
            f"{body}"
        )

    def _whitening_lines(self) -> list[str]:
        deviation = _assignment("deviation", self._deviation)
        if self.whitening.matrix is not None:
            return [
                "images = images.float()",
                deviation,
                "images = (images - self.mean) / deviation",
                "images = (images.flatten(1) @ self.decorrelation).view_as(images)",
            ]
        if not self.whitening.mean.any():
            return [f"images = images.float() / {self._deviation.flat[0]!s}"]
        mean = _assignment("mean", self.whitening.mean)
        return ["images = images.float()", mean, deviation, "images = (images - mean) / deviation"]

    def _enlarging_lines(self) -> list[str]:
        if not self.margin:
            return []
        _, height, width = self.shape
        rows, columns = (f"{self.margin}:{self.margin + side}" for side in (height, width))
        return [
            f'images = F.interpolate(images, {self._enlarged}, mode="bilinear")',
            f"images = images[:, :, {rows}, {columns}]  # the middle",
        ]

    @property
    def _deviation(self) -> NDArray[np.float32]:
        return (1 / self.whitening.scale.astype(np.float64)).astype(np.float32)

    @property
    def _enlarged(self) -> tuple[int, int]:
        return self.shape.height + 2 * self.margin, self.shape.width + 2 * self.margin


def _listed(values: NDArray[np.float32]) -> str:
    return ", ".join(str(value) for value in values.reshape(-1))


def _assignment(name: str, values: NDArray[np.float32]) -> str:
    if values.size == 1:
        return f"{name} = {_listed(values)}"
    return f"{name} = images.new_tensor([{_listed(values)}]).view(-1, 1, 1)"
