"""Files of images, sorted into a folder for each class, and read in one size."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from child.data.errors import DataCorrupt, DataMissing
from child.data.images import ImageShape, LabelledImages


def class_names(folder: Path) -> list[str]:
    """Give the names of the folders in a folder, sorted; hidden ones (.name) do not count.

    Raises:
        DataMissing: there are none, or no such folder.
    """
    if folder.is_dir():
        names = [path.name for path in folder.iterdir() if path.is_dir() and not _is_hidden(path)]
        if names:
            return sorted(names)
    raise DataMissing(f"{folder}: must be a folder with a folder in it for each class")


@dataclass(frozen=True)
class ImageFiles:
    """N files of images with their classes; labels: (N,) int64, places in the list of classes."""

    paths: tuple[Path, ...]
    labels: NDArray[np.int64]

    @classmethod
    def find(cls, folder: Path, classes: list[str]) -> Self:
        """Find the files of each class, at any depth, sorted; hidden ones (.name) do not count.

        Raises:
            DataMissing: a class has none.
        """
        paths: list[Path] = []
        labels: list[int] = []
        for label, name in enumerate(classes):
            found = sorted(
                path
                for path in (folder / name).rglob("*")
                if path.is_file() and not _is_hidden(path)
            )
            if not found:
                raise DataMissing(
                    f"{folder / name}: must hold an image or more; a class without any cannot be "
                    "learned; put some there, or remove the folder"
                )
            paths += found
            labels += [label] * len(found)
        return cls(tuple(paths), np.array(labels, np.int64))

    def __len__(self) -> int:
        return len(self.paths)

    def take(self, indices: NDArray[np.int64]) -> Self:
        """Give some of the files, in the order of the indices."""
        return type(self)(tuple(self.paths[index] for index in indices), self.labels[indices])

    def read(self, shape: ImageShape) -> LabelledImages:
        """Read the images, each brought to the shape.

        Of each the largest part around its centre that has the proportions asked for is resized
        to it: bilinear, and antialiased where it becomes smaller. Transparency is dropped.

        Raises:
            DataCorrupt: a file is no image, or one of more than 8 bits a channel.
        """
        images = np.empty((len(self), *shape), np.uint8)
        # Threads are enough: Pillow lets others run while it decodes.
        with ThreadPoolExecutor() as pool:
            for index, image in enumerate(pool.map(partial(_read, shape=shape), self.paths)):
                images[index] = image
        return LabelledImages(images, self.labels)


def _read(path: Path, shape: ImageShape) -> NDArray[np.uint8]:
    """Read one image, (channels, height, width)."""
    try:
        with Image.open(path) as stored:
            if stored.mode.startswith(("I", "F")):
                raise ValueError(f"Pillow's mode {stored.mode}")
            image = ImageOps.exif_transpose(stored)  # as cameras mean it to be held
            if "transparency" in image.info:
                image = image.convert("RGBA")
            image = image.convert("L" if shape.channels == 1 else "RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataCorrupt(
            f"{path}: must be an image of 8 bits a channel; it cannot be read ({error}); replace "
            "or remove it"
        ) from error
    fitted = ImageOps.fit(image, (shape.width, shape.height), Image.Resampling.BILINEAR)
    pixels = np.asarray(fitted).reshape(shape.height, shape.width, shape.channels)
    return pixels.transpose(2, 0, 1)


def _is_hidden(path: Path) -> bool:
    return path.name.startswith(".")
