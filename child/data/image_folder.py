"""A data set of one's own: a folder of images with a folder in it for each class."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from child.data.errors import DataMissing
from child.data.image_files import ImageFiles, class_names
from child.data.images import ImageData, ImageShape
from child.data.location import FolderPath
from child.data.split import SplitSeed, draw
from child.data.whitening import MAX_ZCA_VALUES, WhiteningKind


class FolderSettings(BaseModel):
    """Which folder, how its images are read, and how they are split.

    It holds either `train/<class>/*` and `test/<class>/*`, or `<class>/*`, of which the images to
    test on are drawn. Validation images are drawn from the rest; what is left is trained on. The
    classes are the names of the folders, sorted. Nothing is looked at before it is needed: settings
    can be read where the folder is not.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    name: Literal["folder"]
    path: FolderPath = Field(description="The folder: train/CLASS/* and test/CLASS/*, or CLASS/*.")
    height: int = Field(ge=1, le=4096, description="Of all images, in pixels; they are resized.")
    width: int = Field(ge=1, le=4096, description="Of all images, in pixels; they are resized.")
    num_channels: Literal[1, 3] = Field(
        3, description="1: gray, 3: in color; images are converted."
    )
    num_validation: int = Field(
        ge=1, description="Images that rewards are measured on, drawn from those to train on."
    )
    num_test: int | None = Field(
        None,
        ge=1,
        description="Images that the best network is tested on, once; null: all in test/. Must be "
        "given where there is no test/.",
    )
    split_seed: SplitSeed = 0
    whitening: WhiteningKind = "channel"

    @property
    def shape(self) -> ImageShape:
        return ImageShape(self.num_channels, self.height, self.width)

    @property
    def num_classes(self) -> int:
        """The number of folders that are classes.

        Raises:
            DataMissing: no such folder, fewer than two classes, or not the same in train and test.
        """
        return len(self._classes())

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of these folders, in the order of the labels."""
        return tuple(self._classes())

    @property
    def num_train_images(self) -> None:
        """Not known before the images are counted."""

    @property
    def num_test_images(self) -> int:
        """The number in the settings or, where there is none, of files in test/.

        Raises:
            DataMissing: neither is there.
        """
        return self.num_test or len(self._test_files())

    def load(self) -> ImageData:
        """Read and split the images.

        Raises:
            DataMissing: a folder, a class or enough images are missing.
            DataCorrupt: a file is no image.
        """
        classes = self._classes()
        if self._has_test_folder:
            found = self._test_files()
            test, _ = self._draw(found, self.num_test or len(found), "num_test")
            pool = ImageFiles.find(Path(self.path, "train"), classes)
        else:
            found = ImageFiles.find(Path(self.path), classes)
            test, pool = self._draw(found, self.num_test_images, "num_test")
        validation, train = self._draw(pool, self.num_validation, "num_validation", to_leave=2)
        return ImageData.assemble(
            train.read(self.shape),
            validation.read(self.shape),
            test.read(self.shape),
            len(classes),
            self.whitening,
        )

    @model_validator(mode="after")
    def _images_can_be_whitened(self) -> Self:
        size = prod(self.shape)
        if self.whitening == "zca" and size > MAX_ZCA_VALUES:
            raise ValueError(
                f"whitening='zca' and images of {self.height} x {self.width} pixels, "
                f"num_channels={self.num_channels}: must have at most {MAX_ZCA_VALUES} values, not "
                f"{size}; its matrices would fill the memory"
            )
        return self

    @property
    def _has_test_folder(self) -> bool:
        return all(Path(self.path, part).is_dir() for part in ("train", "test"))

    def _classes(self) -> list[str]:
        root = Path(self.path)
        if not root.exists():
            raise DataMissing(
                f"data.path={root}: does not exist; must be a folder with a folder in it for each "
                "class"
            )
        parts = [root / "train", root / "test"] if self._has_test_folder else [root]
        names = [class_names(part) for part in parts]
        if names[0] != names[-1]:
            differing = sorted(set(names[0]) ^ set(names[-1]))
            raise DataMissing(
                f"data.path={root}: train and test must hold the same classes; only one of them "
                f"has {', '.join(differing)}"
            )
        if len(names[0]) < 2:
            raise DataMissing(
                f"data.path={root}: must hold two classes or more, has {names[0][0]} only"
            )
        return names[0]

    def _test_files(self) -> ImageFiles:
        if not self._has_test_folder:
            raise DataMissing(
                f"data.path={self.path}: must have the folders train and test where data.num_test "
                "is not given; give it, to draw so many images to test on"
            )
        return ImageFiles.find(Path(self.path, "test"), self._classes())

    def _draw(
        self, files: ImageFiles, size: int, key: str, *, to_leave: int = 0
    ) -> tuple[ImageFiles, ImageFiles]:
        """Draw some of the files; give them and the rest."""
        most = len(files) - to_leave
        if size > most:
            raise DataMissing(
                f"data.{key}={size}: must be at most {most}, of the {len(files)} images that are "
                f"there for it in {self.path}"
            )
        drawn, rest = draw(len(files), [size, len(files) - size], self.split_seed)
        return files.take(drawn), files.take(rest)
