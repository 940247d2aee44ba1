from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from child.data.errors import DataCorrupt, DataMissing
from child.data.image_folder import FolderSettings


def paint(path, level, size=(8, 8), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, (level,) * len(mode) if len(mode) > 1 else level).save(path)


@pytest.fixture
def flat(tmp_path):
    """Two classes of ten images each, every one of a gray level of its own."""
    for number in range(10):
        paint(tmp_path / "flat" / "cat" / f"{number}.png", 10 + number)
        paint(tmp_path / "flat" / "dog" / f"{number}.png", 100 + number)
    return tmp_path / "flat"


@pytest.fixture
def split(tmp_path):
    """Two classes, with eight images each to train on and two to test on."""
    for number in range(8):
        paint(tmp_path / "split" / "train" / "cat" / f"{number}.png", 10 + number)
        paint(tmp_path / "split" / "train" / "dog" / f"{number}.png", 100 + number)
    for number in range(2):
        paint(tmp_path / "split" / "test" / "cat" / f"{number}.png", 50 + number)
        paint(tmp_path / "split" / "test" / "dog" / f"{number}.png", 150 + number)
    return tmp_path / "split"


def settings(path, **others):
    given = {"height": 4, "width": 4, "num_validation": 5} | others
    return FolderSettings(name="folder", path=str(path), **given)


def levels(part):
    """Give the gray level of each image, with its label."""
    return {int(i[0, 0, 0]): int(n) for i, n in zip(part.images, part.labels, strict=True)}


FLAT = {10 + n: 0 for n in range(10)} | {100 + n: 1 for n in range(10)}


def test_folder_of_classes_is_split_by_the_seed(flat):
    data = settings(flat, num_test=3).load()

    parts = [levels(part) for part in (data.search.train, data.search.validation, data.test)]
    assert [len(part) for part in parts] == [12, 5, 3]
    assert parts[0] | parts[1] | parts[2] == FLAT


def test_other_seed_splits_another_way(flat):
    one, other = (settings(flat, num_test=5, split_seed=seed).load() for seed in (0, 1))

    assert levels(one.test) != levels(other.test)
    assert levels(one.search.validation) != levels(other.search.validation)


def test_same_seed_splits_the_same_way(flat):
    one, other = (settings(flat, num_test=5).load() for _ in range(2))

    np.testing.assert_array_equal(one.search.train.images, other.search.train.images)


def test_folder_with_train_and_test_keeps_them_apart(split):
    data = settings(split).load()

    assert levels(data.test) == {50: 0, 51: 0, 150: 1, 151: 1}
    assert levels(data.search.train) | levels(data.search.validation) == (
        {10 + n: 0 for n in range(8)} | {100 + n: 1 for n in range(8)}
    )
    assert len(data.search.validation) == 5


def test_few_of_the_images_in_test_are_drawn(split):
    data = settings(split, num_test=3).load()

    assert len(data.test) == 3
    assert levels(data.test).keys() < {50, 51, 150, 151}


def test_classes_are_numbered_in_the_order_of_their_names(flat):
    (flat / "dog").rename(flat / "ant")

    data = settings(flat, num_test=3).load()

    assert all((level < 100) == (label == 1) for level, label in levels(data.search.train).items())


def test_images_deeper_in_the_folder_of_a_class_belong_to_it(flat):
    shutil.copytree(flat / "cat", flat / "cat" / "more")

    assert len(settings(flat, num_test=3).load().search.train) == 22


def test_hidden_files_and_folders_do_not_count(flat):
    (flat / ".cache").mkdir()
    (flat / "cat" / ".DS_Store").write_text("no image")

    data = settings(flat, num_test=3).load()

    assert data.search.num_classes == 2
    assert len(data.search.train) == 12


def test_files_beside_the_classes_do_not_count(flat):
    (flat / "README").write_text("no image")

    assert settings(flat, num_test=3).num_classes == 2
    assert settings(flat, num_test=3).class_names == ("cat", "dog")


def test_image_is_resized_and_cut_to_its_middle(tmp_path):
    wide = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 60)).astype(np.uint8))
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for number in range(2):
            wide.save(tmp_path / name / f"{number}.png")

    data = settings(
        tmp_path, height=5, width=5, num_channels=1, num_validation=1, num_test=1
    ).load()

    middle = wide.resize((15, 5), Image.Resampling.BILINEAR).crop((5, 0, 10, 5))
    np.testing.assert_array_equal(data.search.train.images[0, 0], np.asarray(middle))


def test_image_that_becomes_smaller_is_averaged_not_sampled(tmp_path):
    # Stripes of one pixel: a resize that only picks pixels would find black or white.
    pixels = np.tile(np.array([0, 255], np.uint8), (64, 32))
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for number in range(2):
            Image.fromarray(pixels).save(tmp_path / name / f"{number}.png")

    data = settings(
        tmp_path, height=8, width=8, num_channels=1, num_validation=1, num_test=1
    ).load()

    assert abs(data.search.train.images[..., 2:6].astype(int) - 127).max() < 12


@pytest.mark.parametrize("num_channels", [1, 3])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_images_of_every_mode_get_the_channels_asked_for(flat, num_channels, mode):
    for number in range(10):
        paint(flat / "cat" / f"{number}.png", 10 + number, mode=mode)

    data = settings(flat, num_test=3, num_channels=num_channels, height=3, width=6).load()

    assert data.search.train.images.shape == (12, num_channels, 3, 6)
    assert data.search.train.images.dtype == np.uint8
    assert levels(data.search.train).items() <= FLAT.items()


def test_palette_with_transparency_is_read_without_a_warning(flat):
    image = Image.open(flat / "cat" / "0.png").convert("P")
    image.save(flat / "cat" / "0.png", transparency=bytes([0, 128]))

    settings(flat, num_test=3).load()


def test_image_is_turned_as_its_camera_was_held(tmp_path):
    turned = Image.new("L", (8, 4))
    turned.paste(200, (0, 0, 4, 4))  # the left half, which becomes the upper one
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: to be turned right by 90 degrees
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for number in range(2):
            turned.save(tmp_path / name / f"{number}.png", exif=exif)

    data = settings(
        tmp_path, height=8, width=4, num_channels=1, num_validation=1, num_test=1
    ).load()

    image = data.search.train.images[0, 0]
    assert image[0].tolist() == [200] * 4
    assert image[-1].tolist() == [0] * 4


def cut_short(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def write_text(path):
    path.write_text("no image")


def write_16_bits(path):
    Image.fromarray(np.full((8, 8), 5000, np.uint16)).save(path)


@pytest.mark.parametrize("spoil", [cut_short, write_text, write_16_bits])
def test_file_that_is_no_image_of_8_bits_is_named(flat, spoil):
    spoil(flat / "dog" / "7.png")

    with pytest.raises(DataCorrupt, match=r"/flat/dog/7\.png: must be an image of 8 bits"):
        settings(flat, num_test=3).load()


@pytest.mark.parametrize("part", ["train", "test"])
def test_class_without_images_is_refused(split, part):
    shutil.rmtree(split / part / "cat")
    (split / part / "cat").mkdir()

    with pytest.raises(DataMissing, match=f"/split/{part}/cat: must hold an image or more"):
        settings(split).load()


@pytest.mark.parametrize("part", ["train", "test"])
def test_classes_that_train_and_test_do_not_share_are_named(split, part):
    paint(split / part / "emu" / "0.png", 1)

    with pytest.raises(DataMissing, match="same classes; only one of them has emu"):
        settings(split).load()


def test_single_class_is_refused(flat):
    shutil.rmtree(flat / "dog")

    with pytest.raises(DataMissing, match=r"data\.path=.*: must hold two classes or more, has cat"):
        settings(flat, num_test=3).load()


@pytest.mark.parametrize("make", [Path.mkdir, Path.touch])
def test_folder_without_classes_is_refused(tmp_path, make):
    make(tmp_path / "pets")

    with pytest.raises(DataMissing, match="/pets: must be a folder with a folder in it for each"):
        settings(tmp_path / "pets", num_test=3).load()


def test_folder_that_does_not_exist_is_said_not_to(tmp_path):
    with pytest.raises(DataMissing, match=f"data.path={tmp_path}/pets: does not exist; must be"):
        settings(tmp_path / "pets").load()


def test_folder_without_test_needs_num_test(flat):
    with pytest.raises(
        DataMissing, match=r"must have the folders train and test where data\.num_test"
    ):
        settings(flat).load()


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ({"num_test": 21}, "data.num_test=21: must be at most 20, of the 20 images"),
        ({"num_test": 15}, "data.num_validation=5: must be at most 3, of the 5 images"),
    ],
)
def test_more_images_than_there_are_are_refused(flat, others, message):
    with pytest.raises(DataMissing, match=message):
        settings(flat, **others).load()


def test_more_images_to_test_on_than_in_test_are_refused(split):
    with pytest.raises(DataMissing, match="num_test=5: must be at most 4, of the 4 images"):
        settings(split, num_test=5).load()


def test_two_images_left_to_train_on_are_enough(flat):
    assert len(settings(flat, num_test=13).load().search.train) == 2


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ({"height": 0}, "height\n"),
        ({"width": 5000}, "width\n"),
        ({"num_channels": 2}, "num_channels\n"),
        ({"num_validation": 0}, "num_validation\n"),
        ({"num_test": 0}, "num_test\n"),
        ({"depth": 3}, "depth\n.*not permitted"),
        (
            {"whitening": "zca", "height": 64, "width": 65},
            "whitening='zca' and images of 64 x 65 pixels, num_channels=3: must have at most 12288",
        ),
    ],
)
def test_settings_that_cannot_be_are_refused(tmp_path, others, message):
    with pytest.raises(ValidationError, match=message):
        settings(tmp_path, **others)


def test_settings_can_be_read_where_the_folder_is_not(tmp_path):
    given = settings(tmp_path / "elsewhere", num_test=3, whitening="zca", height=64, width=64)

    assert given.shape == (3, 64, 64)
    assert given.num_test_images == 3
