from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from pydantic import TypeAdapter, ValidationError

from child.data.settings import DataSettings
from child.data.whitening import Whitening

READER = TypeAdapter(DataSettings)


@pytest.fixture(params=["digits", "cifar10", "folder"])
def settings(request, make_set, tmp_path):
    """Settings of every kind, of data that can be loaded."""
    for path, content in make_set("cifar10").unpacked.items():
        place = tmp_path / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    generator = np.random.default_rng(0)
    for part, number in (("train", 20), ("test", 6)):
        for index in range(number):
            place = tmp_path / "pets" / part / ("cat", "dog")[index % 2] / f"{index}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            pixels = generator.integers(0, 256, (9, 6, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(place)
    given = {
        "digits": {"name": "digits"},
        "cifar10": {"name": "cifar10", "folder": str(tmp_path), "download": False},
        "folder": {"name": "folder", "path": str(tmp_path / "pets"), "height": 9, "width": 6},
    }
    return READER.validate_python(given[request.param] | {"num_validation": 7})


def test_settings_tell_before_loading_what_is_loaded(settings):
    data = settings.load()

    assert settings.shape == data.search.shape
    assert settings.num_classes == data.search.num_classes
    assert len(settings.class_names) == settings.num_classes
    assert settings.num_validation == len(data.search.validation) == 7
    assert settings.num_test_images == len(data.test)


def test_no_image_is_in_two_parts(settings):
    data = settings.load()

    parts = [data.search.train, data.search.validation, data.test]
    keys = [image.tobytes() for part in parts for image in part.images]
    assert len(set(keys)) == len(keys)


def test_images_are_stored_as_uint8_and_labels_as_int64(settings):
    data = settings.load()

    for part in (data.search.train, data.search.validation, data.test):
        assert part.images.dtype == np.uint8
        assert part.images.flags.c_contiguous
        assert part.labels.dtype == np.int64
        assert set(part.labels.tolist()) <= set(range(data.search.num_classes))


@pytest.mark.parametrize("kind", ["none", "channel"])
def test_whitening_is_measured_on_the_images_to_train_on(settings, kind):
    data = settings.model_copy(update={"whitening": kind}).load()

    expected = Whitening.measure(kind, data.search.train.images)
    np.testing.assert_array_equal(data.search.whitening.mean, expected.mean)
    np.testing.assert_array_equal(data.search.whitening.scale, expected.scale)


def test_settings_loaded_twice_give_the_same_images_in_the_same_order(settings):
    one, other = settings.load(), settings.load()

    for part in ("train", "validation"):
        first, second = getattr(one.search, part), getattr(other.search, part)
        np.testing.assert_array_equal(first.images, second.images)
        np.testing.assert_array_equal(first.labels, second.labels)
    np.testing.assert_array_equal(one.test.images, other.test.images)


def test_settings_written_down_are_read_as_they_were(settings):
    assert READER.validate_python(settings.model_dump(mode="json")) == settings


def test_settings_cannot_be_changed(settings):
    with pytest.raises(ValidationError, match="frozen"):
        settings.num_validation = 8


def test_name_that_nobody_knows_is_refused_with_those_that_are_known():
    with pytest.raises(ValidationError, match=r"'digits', 'mnist', .*'svhn', 'folder'"):
        READER.validate_python({"name": "imagenet"})
