"""scikit-learn's 1,797 handwritten digits, 8x8 pixels, which come with the library."""

from __future__ import annotations

from typing import Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from child.data.images import ImageData, LabelledImages, TrainingData

NUM_IMAGES = 1797


class DigitsSettings(BaseModel):
    """How the digits are split. What is neither validation nor test is trained on."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    name: Literal["digits"] = "digits"
    num_validation: int = Field(297, ge=1, lt=NUM_IMAGES)
    num_test: int = Field(300, ge=1, lt=NUM_IMAGES)
    split_seed: int = Field(0, ge=0, lt=2**63, description="Which images go where.")

    @property
    def num_train(self) -> int:
        """Images to train on."""
        return NUM_IMAGES - self.num_validation - self.num_test

    def load(self) -> ImageData:
        """Load and split the images; what every settings of a data set can do."""
        return load_digits(self)

    @model_validator(mode="after")
    def _leaves_some_to_train(self) -> Self:
        if self.num_train < 1:
            raise ValueError(
                f"num_validation={self.num_validation} and num_test={self.num_test}: must leave "
                f"some of the {NUM_IMAGES} images to train on"
            )
        return self


def load_digits(settings: DigitsSettings) -> ImageData:
    """Load and split the digits; pixels get mean 0 and variance 1 over the training images."""
    from sklearn.datasets import load_digits as load  # slow to import; only who trains needs it

    pixels, labels = load(return_X_y=True)
    order = np.random.Generator(np.random.PCG64(settings.split_seed)).permutation(NUM_IMAGES)
    images = pixels.astype(np.float32).reshape(-1, 1, 8, 8)[order]
    labels = labels.astype(np.int64)[order]
    num_train = settings.num_train
    images = (images - images[:num_train].mean()) / images[:num_train].std()

    def part(start: int, stop: int) -> LabelledImages:
        return LabelledImages(images[start:stop], labels[start:stop])

    return ImageData(
        search=TrainingData(
            train=part(0, num_train),
            validation=part(num_train, num_train + settings.num_validation),
            num_classes=10,
        ),
        test=part(num_train + settings.num_validation, NUM_IMAGES),
    )
