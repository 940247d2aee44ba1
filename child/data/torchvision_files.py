"""The files of a set that torchvision reads: names, checksums and addresses as it knows them."""

from __future__ import annotations

import gzip
import shutil
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

from child.data.image_set import ImageSet
from child.data.published_file import PublishedFile


class SetFiles(NamedTuple):
    """The files of a set, as they are published and as torchvision reads them once unpacked.

    idx: each published file, a .gz, holds one of the others, in the same order.
    batches: one published file, a .tar.gz, holds all others.
    mat: nothing is packed; the two are the same.
    """

    published: Sequence[PublishedFile]
    unpacked: Sequence[PublishedFile]


def files_of(image_set: ImageSet, dataset: Any) -> SetFiles:
    """Give the files of a set. dataset: its class in torchvision."""
    match image_set.format:
        case "idx":
            return _idx_files(image_set, dataset)
        case "batches":
            archive = PublishedFile(Path(dataset.filename), dataset.tgz_md5, urls=(dataset.url,))
            names = [*dataset.train_list, *dataset.test_list]
            names.append((dataset.meta["filename"], dataset.meta["md5"]))
            folder = Path(dataset.base_folder)
            return SetFiles([archive], [PublishedFile(folder / name, md5) for name, md5 in names])
        case "mat":
            splits = (dataset.split_list[split] for split in ("train", "test"))
            files = [PublishedFile(Path(name), md5, urls=(url,)) for url, name, md5 in splits]
            return SetFiles(files, files)


def lay_out(files: SetFiles, folder: Path, root: Path) -> None:
    """Lay the unpacked files, which lie whole in the folder, to where torchvision has them."""
    for file in files.unpacked:
        place = root / file.path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(file.look(folder).place.absolute())


def unpack(files: SetFiles, folder: Path, root: Path) -> None:
    """Unpack the published files of idx or batches, which lie whole in the folder, below root."""
    for name, content in _contents(files, folder):
        place = root / name
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.open("wb") as file:
            shutil.copyfileobj(content, file)


def _contents(files: SetFiles, folder: Path) -> Iterator[tuple[Path, IO[bytes]]]:
    if len(files.published) == 1:
        with tarfile.open(files.published[0].look(folder).place) as archive:
            for file in files.unpacked:
                # A folder would have no content; these are files, or the checksum was another.
                yield file.path, cast(IO[bytes], archive.extractfile(file.path.as_posix()))
    else:
        for packed, file in zip(files.published, files.unpacked, strict=True):
            with gzip.open(packed.look(folder).place) as content:
                yield file.path, cast(IO[bytes], content)


def _idx_files(image_set: ImageSet, dataset: Any) -> SetFiles:
    # MNIST and Fashion-MNIST have the same names: each has a folder of its own.
    raw = Path(dataset.__name__, "raw")
    pixels = image_set.shape.height * image_set.shape.width
    # What is cut short shows by its size also where there are no checksums: a header, and a number
    # of bytes for every image and every label.
    sizes = [
        size
        for num_images in (image_set.num_train, image_set.num_test)
        for size in (16 + num_images * pixels, 8 + num_images)
    ]
    md5s = image_set.unpacked_md5 or [None] * len(sizes)
    published, unpacked = [], []
    for (name, md5), size, unpacked_md5 in zip(dataset.resources, sizes, md5s, strict=True):
        urls = tuple(site + name for site in dataset.mirrors)
        published.append(PublishedFile(raw / name, md5, unpacked_md5=unpacked_md5, urls=urls))
        unpacked.append(PublishedFile(raw / Path(name).stem, unpacked_md5, num_bytes=size))
    return SetFiles(published, unpacked)
