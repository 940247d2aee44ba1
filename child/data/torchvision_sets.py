"""Sets of images as torchvision reads them, their files found, downloaded or asked for."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from child.data.download import DownloadFailed, download
from child.data.errors import DataCorrupt, DataError, DataMissing
from child.data.image_set import ImageSet
from child.data.images import LabelledImages
from child.data.torchvision_files import SetFiles, files_of, unpack
from child.data.torchvision_import import import_datasets


def load_set(
    image_set: ImageSet, folder: Path, *, may_download: bool
) -> tuple[LabelledImages, LabelledImages]:
    """Load the images to train on, and those to test on.

    Files that lie in the folder as torchvision unpacks them are read there. Published ones are
    unpacked for the moment to where temporary files go: nothing is ever left half unpacked, and the
    folder may be one that nobody can write to. All files are checked; those of CIFAR, which are
    pickles, are not opened without the checksums that torchvision knows.

    Args:
        folder: published files also lie directly in it where torchvision has them further down.
        may_download: whether files that are missing or not whole are downloaded to the folder.

    Raises:
        DataMissing: files are not there, and were not downloaded.
        DataCorrupt: files are there, but not whole, and were not downloaded.
    """
    dataset = getattr(import_datasets(), image_set.class_name)
    files = files_of(image_set, dataset)
    if not (_are_unpacked(files, folder) or _are_published(files, folder)):
        try:
            if not may_download:
                raise DownloadFailed("download=false")
            download(files.published, folder)
        except DownloadFailed as failure:
            raise _refusal(image_set, folder, files, failure) from failure
    if _are_unpacked(files, folder):
        return _read(image_set, dataset, folder)
    with TemporaryDirectory(prefix="nasrl-") as temporary:
        unpack(files, folder, Path(temporary))
        return _read(image_set, dataset, Path(temporary))


def _are_unpacked(files: SetFiles, folder: Path) -> bool:
    return all(file.judge(folder / file.path).is_whole for file in files.unpacked)


def _are_published(files: SetFiles, folder: Path) -> bool:
    return all(file.look(folder).is_whole for file in files.published)


def _read(image_set: ImageSet, dataset: Any, root: Path) -> tuple[LabelledImages, LabelledImages]:
    try:
        if image_set.format == "mat":
            train, test = (dataset(root, split=split) for split in ("train", "test"))
        else:
            train, test = (dataset(root, train=split) for split in (True, False))
        return (
            _labelled(image_set, train, image_set.num_train),
            _labelled(image_set, test, image_set.num_test),
        )
    # All that torchvision says of unpacked files of MNIST with the right size and a wrong content.
    except (RuntimeError, ValueError, TypeError, LookupError, AssertionError) as error:
        raise DataCorrupt(
            f"folder={root}: the files of {image_set.class_name} must be those of "
            f"{image_set.page}; they cannot be read ({error}); remove them"
        ) from error


def _labelled(image_set: ImageSet, part: Any, num_images: int) -> LabelledImages:
    images = np.asarray(part.data)
    match image_set.format:
        case "idx":
            images = images[:, np.newaxis]
        case "batches":
            images = images.transpose(0, 3, 1, 2)
    labels = np.asarray(part.labels if image_set.format == "mat" else part.targets, np.int64)
    if images.shape != (num_images, *image_set.shape) or labels.shape != (num_images,):
        raise ValueError(f"images of shape {images.shape}, labels of shape {labels.shape}")
    if labels.min() < 0 or labels.max() >= image_set.num_classes:
        raise ValueError(f"labels from {labels.min()} to {labels.max()}")
    return LabelledImages(images, labels)


def _refusal(
    image_set: ImageSet, folder: Path, files: SetFiles, failure: DownloadFailed
) -> DataError:
    """Say which files are missing or not whole, and what to do about it."""
    ways = [[file.look(folder) for file in files.published]]
    unpacked = [file.judge(folder / file.path) for file in files.unpacked]
    if files.unpacked is not files.published and not all(f.is_missing for f in unpacked):
        ways.append(unpacked)
    flawed = [[finding for finding in way if not finding.is_whole] for way in ways]
    wanted = ", or ".join(
        ", ".join(f"{place.relative_to(folder)} ({flaw})" for place, flaw in way) for way in flawed
    )
    error = DataMissing if all(f.is_missing for way in flawed for f in way) else DataCorrupt
    return error(
        f"folder={folder}: must hold {wanted}; {failure}; get what is missing or broken from "
        f"{image_set.page} and put it there"
    )
