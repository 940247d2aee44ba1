"""scikit-learn's 1,797 handwritten digits, 8x8 pixels, which come with the library."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from child.data.images import ImageData, ImageShape, LabelledImages
from child.data.split import SplitSeed, draw
from child.data.whitening import WhiteningKind

NUM_IMAGES = 1797


class DigitsSettings(BaseModel):
    """How the digits are split. What is neither validation nor test is trained on."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    name: Literal["digits"] = "digits"
    num_validation: int = Field(
        297, ge=1, lt=NUM_IMAGES, description="Images that rewards are measured on."
    )
    num_test: int = Field(
        300, ge=1, lt=NUM_IMAGES, description="Images that the best network is tested on, once."
    )
    split_seed: SplitSeed = 0
    whitening: WhiteningKind = "channel"

    @property
    def num_train(self) -> int:
        """Images to train on."""
        return NUM_IMAGES - self.num_validation - self.num_test

    @property
    def num_train_images(self) -> int:
        return self.num_train

    @property
    def num_test_images(self) -> int:
        return self.num_test

    @property
    def shape(self) -> ImageShape:
        return ImageShape(channels=1, height=8, width=8)

    @property
    def num_classes(self) -> int:
        return 10

    @property
    def class_names(self) -> tuple[str, ...]:
        return tuple("0123456789")

    def load(self) -> ImageData:
        return load_digits(self)

    @model_validator(mode="after")
    def _leaves_some_to_train(self) -> Self:
        if self.num_train < 2:  # batch norm has no variance of one
            raise ValueError(
                f"num_validation={self.num_validation} and num_test={self.num_test}: must leave "
                f"two or more of the {NUM_IMAGES} images to train on"
            )
        return self


def load_digits(settings: DigitsSettings) -> ImageData:
    """Load and split the digits; gray goes from 0 to 16, as in scikit-learn."""
    rows = np.loadtxt(_path(), delimiter=",")  # 64 pixels and the label; whole numbers, exact
    images = rows[:, :-1].astype(np.uint8).reshape(-1, *settings.shape)
    digits = LabelledImages(images, rows[:, -1].astype(np.int64))
    sizes = [settings.num_train, settings.num_validation, settings.num_test]
    train, validation, test = map(digits.take, draw(NUM_IMAGES, sizes, settings.split_seed))
    return ImageData.assemble(train, validation, test, settings.num_classes, settings.whitening)


def _path() -> Path:
    """Find the file of the library without importing the library, which takes a second.

    A search of the digits would wait for it before it starts Ray.
    """
    found = find_spec("sklearn")
    assert found is not None, "scikit-learn is installed with nasrl"
    assert found.submodule_search_locations is not None, "it is a package"
    return Path(found.submodule_search_locations[0], "datasets", "data", "digits.csv.gz")
