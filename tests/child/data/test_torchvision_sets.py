from __future__ import annotations

import gzip
import os
from pathlib import Path

import numpy as np
import pytest

from child.data.benchmark import BenchmarkSettings
from child.data.errors import DataCorrupt, DataMissing, DownloadFailed
from child.data.image_set import IMAGE_SETS
from child.data.torchvision_sets import load_set

NAMES = sorted(IMAGE_SETS)


def write(files, folder):
    for path, content in files.items():
        place = Path(folder, path)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)


def flat(files):
    return {Path(path).name: content for path, content in files.items()}


def load(name, folder, *, may_download=False):
    return load_set(IMAGE_SETS[name], folder, may_download=may_download)


def assert_is(loaded, made):
    for part, (images, labels) in zip(loaded, (made.train, made.test), strict=True):
        np.testing.assert_array_equal(part.images, images)
        np.testing.assert_array_equal(part.labels, labels)
        assert part.images.dtype == np.uint8
        assert part.labels.dtype == np.int64


def everything_in(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "lie",
    [lambda made: made.published, lambda made: flat(made.published), lambda made: made.unpacked],
    ids=["published", "published and flat", "unpacked"],
)
def test_set_is_read_as_it_was_made(make_set, tmp_path, name, lie):
    made = make_set(name)
    write(lie(made), tmp_path)

    assert_is(load(name, tmp_path), made)


@pytest.mark.parametrize("name", ["mnist", "cifar10", "cifar100", "svhn"])
def test_unpacked_files_without_their_folder_are_read(make_set, tmp_path, name):
    made = make_set(name)
    write(flat(made.unpacked), tmp_path)

    assert_is(load(name, tmp_path), made)


def test_unpacked_mnist_without_its_folder_is_not_taken_for_fashion(make_set, tmp_path):
    make_set("fashion-mnist")
    write(flat(make_set("mnist").unpacked), tmp_path)

    with pytest.raises(DataMissing):
        load("fashion-mnist", tmp_path)


@pytest.mark.parametrize("name", NAMES)
def test_reading_a_set_leaves_its_folder_as_it_was(make_set, tmp_path, name):
    write(make_set(name).published, tmp_path)
    before = everything_in(tmp_path)

    load(name, tmp_path, may_download=True)

    assert everything_in(tmp_path) == before


def test_mnist_that_somebody_packed_again_is_read(make_set, tmp_path):
    made = make_set("mnist")
    again = {
        path: gzip.compress(gzip.decompress(content), compresslevel=1, mtime=1)
        for path, content in made.published.items()
    }
    assert again != made.published
    write(again, tmp_path)

    assert_is(load("mnist", tmp_path), made)


def test_mnist_is_not_taken_for_fashion(make_set, tmp_path):
    make_set("fashion-mnist")
    write(flat(make_set("mnist").published), tmp_path)

    with pytest.raises(DataCorrupt, match=r"\n  train-images-idx3-ubyte\.gz \(has the MD5"):
        load("fashion-mnist", tmp_path)


@pytest.mark.parametrize("name", NAMES)
def test_missing_files_are_named_with_folder_and_origin(make_set, tmp_path, name):
    made = make_set(name)

    with pytest.raises(DataMissing) as error:
        load(name, tmp_path)

    lines = [f"data.folder={tmp_path}: must hold the files of {IMAGE_SETS[name].class_name}"]
    lines += [f"  {path} (missing)" for path in made.published]
    lines += ["no download: data.download=false"]
    lines += [f"get what is missing or broken from {IMAGE_SETS[name].page} and put it there"]
    assert str(error.value).splitlines() == lines


@pytest.mark.parametrize("name", NAMES)
def test_every_published_file_that_is_cut_short_is_named(make_set, tmp_path, name):
    made = make_set(name)
    for path, content in made.published.items():
        write(made.published | {path: content[:-1]}, tmp_path)

        with pytest.raises(DataCorrupt) as error:
            load(name, tmp_path)

        named = [other for other in made.published if f"{other} (" in str(error.value)]
        assert named == [path]


@pytest.mark.parametrize("name", NAMES)
def test_every_unpacked_file_that_is_cut_short_is_named(make_set, tmp_path, name):
    made = make_set(name)
    for path, content in made.unpacked.items():
        write(made.unpacked | {path: content[:-1]}, tmp_path)

        with pytest.raises(DataCorrupt) as error:
            load(name, tmp_path)

        named = [other for other in made.unpacked if f"{other} (" in str(error.value)]
        assert named == [path]


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "cifar10", "cifar100"])
def test_published_files_stand_in_for_an_unpacked_one_that_is_cut_short(make_set, tmp_path, name):
    made = make_set(name)
    for path, content in made.unpacked.items():
        write(made.published | made.unpacked | {path: content[:-1]}, tmp_path)

        assert_is(load(name, tmp_path), made)


def test_unpacked_file_that_is_missing_among_others_is_named(make_set, tmp_path):
    made = make_set("cifar10")
    write(made.unpacked, tmp_path)
    (tmp_path / "cifar-10-batches-py/data_batch_3").unlink()

    with pytest.raises(
        DataMissing,
        match=r"python\.tar\.gz \(missing\)\nor\n  cifar-10-batches-py/data_batch_3 \(missing\)\n",
    ):
        load("cifar10", tmp_path)


def test_file_of_the_right_size_that_is_something_else_is_corrupt(make_set, tmp_path):
    made = make_set("fashion-mnist")
    path = "FashionMNIST/raw/train-images-idx3-ubyte"
    write(made.unpacked | {path: bytes(len(made.unpacked[path]))}, tmp_path)

    with pytest.raises(DataCorrupt, match=f"data.folder={tmp_path}: the files of FashionMN"):
        load("fashion-mnist", tmp_path)


def test_labels_beyond_the_classes_are_corrupt(make_set, tmp_path):
    made = make_set("fashion-mnist")
    path = "FashionMNIST/raw/train-labels-idx1-ubyte"
    write(made.unpacked | {path: made.unpacked[path][:-1] + b"\x0a"}, tmp_path)

    with pytest.raises(DataCorrupt, match="labels from 0 to 10"):
        load("fashion-mnist", tmp_path)


@pytest.mark.parametrize("name", NAMES)
def test_missing_set_is_downloaded_once(publish, server, tmp_path, capfd, caplog, name):
    made = publish(name)
    caplog.set_level("INFO", "child.data")

    assert_is(load(name, tmp_path / "new", may_download=True), made)
    assert_is(load(name, tmp_path / "new", may_download=True), made)

    assert server.asked == dict.fromkeys(server.files, 1)
    assert [record.getMessage() for record in caplog.records] == [
        f"downloading {server.url}{Path(path).name} to {tmp_path / 'new' / path}"
        for path in made.published
    ]
    assert capfd.readouterr() == ("", "")


def test_only_what_is_missing_is_downloaded(publish, server, tmp_path):
    made = publish("mnist")
    there = dict(list(made.published.items())[:3])
    write(there, tmp_path)

    assert_is(load("mnist", tmp_path, may_download=True), made)

    assert server.asked == {"t10k-labels-idx1-ubyte.gz": 1}


def test_file_that_is_cut_short_is_downloaded_again(publish, tmp_path):
    made = publish("cifar10")
    write({path: content[:-1] for path, content in made.published.items()}, tmp_path)

    assert_is(load("cifar10", tmp_path, may_download=True), made)


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("name", NAMES)
def test_missing_set_without_a_network_is_asked_for(make_set, tmp_path, capfd, name):
    made = make_set(name)

    with pytest.raises(DownloadFailed) as error:
        load(name, tmp_path / "mistyped", may_download=True)

    lines = str(error.value).splitlines()
    missing = [f"  {path} (missing)" for path in made.published]
    assert lines[1 : len(missing) + 2] == [*missing, "no download: Name or service not known"]
    assert all(line.startswith("  http") for line in lines[len(missing) + 2 : -1])
    assert IMAGE_SETS[name].page in lines[-1]
    assert max(map(len, lines)) < 140
    assert capfd.readouterr() == ("", "")
    assert not (tmp_path / "mistyped").exists()


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("name", NAMES)
def test_set_that_is_there_needs_no_network(make_set, tmp_path, name):
    made = make_set(name)
    write(made.published, tmp_path)

    assert_is(load(name, tmp_path, may_download=True), made)


@pytest.fixture(params=NAMES)
def real(request):
    folder = os.environ.get("NASRL_DATA")
    if folder is None:
        pytest.skip("NASRL_DATA names no folder of real sets")
    settings = BenchmarkSettings(name=request.param, folder=folder, download=False)
    try:
        return settings.load()
    except DataMissing as error:
        pytest.skip(str(error))


def test_real_set_has_every_class_in_every_part(real):
    for part in (real.search.train, real.search.validation, real.test):
        assert set(part.labels.tolist()) == set(range(real.search.num_classes))
