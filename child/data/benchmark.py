"""The image sets that methods are compared on: MNIST, Fashion-MNIST, CIFAR and SVHN."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from child.data.image_set import IMAGE_SETS
from child.data.images import ImageData, ImageShape
from child.data.location import FolderPath
from child.data.split import SplitSeed, draw
from child.data.torchvision_sets import load_set
from child.data.whitening import WhiteningKind


class BenchmarkSettings(BaseModel):
    """Which set, where its files are, and how it is split.

    Validation images are drawn from the set's training images, and those to train on from the rest;
    the test images are the set's own. The defaults are those of Zoph & Le 2017, s4.1.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    name: Literal["mnist", "fashion-mnist", "cifar10", "cifar100", "svhn"]
    folder: FolderPath = Field(
        "~/.cache/nasrl/data",
        description="Where the files are: as published, or unpacked as torchvision does it.",
    )
    download: bool = Field(True, description="Whether files that are missing there are brought.")
    num_validation: int = Field(
        5000,
        ge=1,
        description="Images that rewards are measured on, drawn from the training images; s4.1.",
    )
    num_train: int | None = Field(
        None, ge=2, description="Images to train on, drawn from the rest; null: all of it."
    )
    num_test: int | None = Field(
        None,
        ge=1,
        description="Images that the best network is tested on, once, drawn from the set's own; "
        "null: all of them.",
    )
    split_seed: SplitSeed = 0
    whitening: WhiteningKind = "channel"

    @property
    def shape(self) -> ImageShape:
        return IMAGE_SETS[self.name].shape

    @property
    def num_classes(self) -> int:
        return IMAGE_SETS[self.name].num_classes

    @property
    def class_names(self) -> tuple[str, ...]:
        return IMAGE_SETS[self.name].class_names

    @property
    def num_train_images(self) -> int:
        return self.num_train or IMAGE_SETS[self.name].num_train - self.num_validation

    @property
    def num_test_images(self) -> int:
        return self.num_test or IMAGE_SETS[self.name].num_test

    def load(self) -> ImageData:
        """Find the files, download them if need be and allowed, and split the images.

        Raises:
            DataMissing, DataCorrupt: files are missing or not whole, and could not be downloaded.
        """
        whole_train, whole_test = load_set(
            IMAGE_SETS[self.name], Path(self.folder), may_download=self.download
        )
        num_train = self.num_train or len(whole_train) - self.num_validation
        # Validation comes first: it is the same however much of the rest is trained on.
        validation, train = draw(
            len(whole_train), [self.num_validation, num_train], self.split_seed
        )
        # Drawn also from the test images, whose order is not always random: MNIST's first half is
        # the easier one.
        (test,) = draw(len(whole_test), [self.num_test_images], self.split_seed)
        return ImageData.assemble(
            whole_train.take(train),
            whole_train.take(validation),
            whole_test.take(test),
            self.num_classes,
            self.whitening,
        )

    @model_validator(mode="after")
    def _set_is_large_enough(self) -> Self:
        there = IMAGE_SETS[self.name]
        if self.num_validation + (self.num_train or 2) > there.num_train:
            raise ValueError(
                f"num_validation={self.num_validation} and num_train={self.num_train}: must fit "
                f"into the {there.num_train} training images of {self.name}, with two or more to "
                "train on"
            )
        if self.num_test_images > there.num_test:
            raise ValueError(
                f"num_test={self.num_test}: must be at most {there.num_test}, the test images of "
                f"{self.name}"
            )
        return self
