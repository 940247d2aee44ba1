"""Sets of images as torchvision reads them, their files found, downloaded or asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from child.data.download import download
from child.data.errors import DataCorrupt, DataMissing, DownloadFailed
from child.data.image_set import ImageSet
from child.data.images import LabelledImages
from child.data.published_file import Finding, PublishedFile
from child.data.torchvision_files import SetFiles, files_of, lay_out, unpack
from child.data.torchvision_import import import_datasets


def load_set(
    image_set: ImageSet, folder: Path, *, may_download: bool
) -> tuple[LabelledImages, LabelledImages]:
    """Load the images to train on, and those to test on.

    Unpacked files are read where they lie. Published ones are unpacked for the moment to where
    temporary files go: nothing is ever left half unpacked, and the folder may be one that nobody
    can write to. All files are checked; those of CIFAR, which are
    pickles, are not opened without the checksums that torchvision knows.

    Args:
        folder: where torchvision has files further down, they may also lie directly in it.
        may_download: whether files that are missing or not whole are downloaded to the folder.

    Raises:
        DataMissing: files are not there, and were not to be downloaded.
        DataCorrupt: files are there, but not whole, and likewise.
        DownloadFailed: files are not there, or not whole, and could not be downloaded.
    """
    dataset = getattr(import_datasets(), image_set.class_name)
    files = files_of(image_set, dataset)
    if not (_are_whole(files.unpacked, folder) or _are_whole(files.published, folder)):
        if not may_download:
            raise _refusal(image_set, folder, files)
        try:
            download(files.published, folder)
        except DownloadFailed as failure:
            wanted = _wanted(image_set, folder, files, str(failure))
            raise DownloadFailed(wanted) from failure
    with TemporaryDirectory(prefix="nasrl-") as temporary:
        bring = lay_out if _are_whole(files.unpacked, folder) else unpack
        bring(files, folder, Path(temporary))
        return _read(image_set, dataset, Path(temporary), folder)


def _are_whole(files: Sequence[PublishedFile], folder: Path) -> bool:
    return all(file.look(folder).is_whole for file in files)


def _read(
    image_set: ImageSet, dataset: Any, root: Path, folder: Path
) -> tuple[LabelledImages, LabelledImages]:
    """Read the files below root, which are those in the folder."""
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
            f"data.folder={folder}: the files of {image_set.class_name} must be those of "
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


def _refusal(image_set: ImageSet, folder: Path, files: SetFiles) -> DataMissing | DataCorrupt:
    flawed = [finding for way in _flawed(folder, files) for finding in way]
    error = DataMissing if all(finding.is_missing for finding in flawed) else DataCorrupt
    return error(_wanted(image_set, folder, files, "no download: data.download=false"))


def _wanted(image_set: ImageSet, folder: Path, files: SetFiles, failure: str) -> str:
    """Say which files are missing or not whole, and what to do about it."""
    ways = (
        "\n".join(f"  {place.relative_to(folder)} ({flaw})" for place, flaw in way)
        for way in _flawed(folder, files)
    )
    return "\n".join(
        [
            f"data.folder={folder}: must hold the files of {image_set.class_name}",
            "\nor\n".join(ways),
            failure,
            f"get what is missing or broken from {image_set.page} and put it there",
        ]
    )


def _flawed(folder: Path, files: SetFiles) -> list[list[Finding]]:
    """Give what is not whole of the published files and, where one is there, of the unpacked."""
    ways = [[file.look(folder) for file in files.published]]
    unpacked = [file.look(folder) for file in files.unpacked]
    if files.unpacked is not files.published and not all(f.is_missing for f in unpacked):
        ways.append(unpacked)
    return [[finding for finding in way if not finding.is_whole] for way in ways]
