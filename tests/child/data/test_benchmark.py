from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from child.data.benchmark import BenchmarkSettings
from child.data.image_set import IMAGE_SETS


@pytest.fixture
def lay(make_set, tmp_path):
    """Make up a set of 30 images to train on and 12 to test on, and lay its files into a folder."""

    def lay(name):
        for path, content in make_set(name).unpacked.items():
            place = tmp_path / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
        return str(tmp_path)

    return lay


@pytest.fixture
def load(lay):
    """Load a made-up MNIST."""
    folder = lay("mnist")

    def load(**settings):
        return BenchmarkSettings(name="mnist", folder=folder, download=False, **settings).load()

    return load


def keys(part):
    """Tell the images of a part apart, in their order."""
    return [image.tobytes() for image in part.images]


def test_set_by_default_is_split_as_the_paper_does_it():
    settings = BenchmarkSettings(name="cifar10")

    assert settings.num_validation == 5000
    assert settings.num_train is None
    assert settings.num_test_images == 10_000


def test_all_that_is_not_validated_on_is_trained_on(load, make_set):
    data = load(num_validation=10)

    assert (len(data.search.train), len(data.search.validation), len(data.test)) == (20, 10, 12)
    images, labels = make_set("mnist").train
    together = keys(data.search.train) + keys(data.search.validation)
    assert sorted(together) == sorted(image.tobytes() for image in images)
    label_of = {i.tobytes(): label for i, label in zip(images, labels, strict=True)}
    found = np.concatenate([data.search.train.labels, data.search.validation.labels])
    assert [label_of[key] for key in together] == found.tolist()


def test_images_to_test_on_are_the_set_s_own(load, make_set):
    images, _ = make_set("mnist").test

    assert sorted(keys(load(num_validation=10).test)) == sorted(i.tobytes() for i in images)


def test_reduced_set_validates_on_the_same_images(load):
    whole, reduced = load(num_validation=10), load(num_validation=10, num_train=7)

    assert keys(reduced.search.validation) == keys(whole.search.validation)
    assert keys(reduced.search.train) == keys(whole.search.train)[:7]


def test_reduced_set_tests_on_images_drawn_by_the_seed(load, make_set):
    few = [
        set(keys(load(num_validation=10, num_test=5, split_seed=seed).test)) for seed in range(2)
    ]
    images, _ = make_set("mnist").test

    assert [len(part) for part in few] == [5, 5]
    assert few[0] != few[1]
    assert few[0] | few[1] <= {image.tobytes() for image in images}
    assert {image.tobytes() for image in images[:5]} not in few


def test_other_seed_validates_on_other_images(load):
    one, other = (load(num_validation=10, split_seed=seed).search.validation for seed in (0, 1))

    assert set(keys(one)) != set(keys(other))


@pytest.mark.parametrize("name", sorted(IMAGE_SETS))
def test_images_lie_one_behind_the_other_in_memory(lay, name):
    settings = BenchmarkSettings(name=name, folder=lay(name), download=False, num_validation=10)

    data = settings.load()

    for part in (data.search.train, data.search.validation, data.test):
        assert part.images.flags.c_contiguous


def test_folder_begins_at_the_home_folder_by_default(monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")

    assert BenchmarkSettings(name="svhn").folder == "/home/somebody/.cache/nasrl/data"


def test_folder_means_the_same_after_the_working_folder_has_changed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    settings = BenchmarkSettings(name="svhn", folder="sets")

    assert settings.folder == str(tmp_path / "sets")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"num_validation": 50_000},
            "num_validation=50000 and num_train=None: must fit into the 50000 training images of "
            "cifar10",
        ),
        (
            {"num_validation": 5000, "num_train": 45_001},
            "num_validation=5000 and num_train=45001: must fit into the 50000",
        ),
        ({"num_test": 10_001}, "num_test=10001: must be at most 10000, the test images of cifar10"),
        ({"num_test": 0}, "num_test\n"),
        ({"num_train": 0}, "num_train\n"),
        ({"num_validation": 0}, "num_validation\n"),
        ({"split_seed": -1}, "split_seed\n"),
        ({"whitening": "pca"}, "whitening\n"),
        ({"folder": ""}, "folder\n"),
        ({"folder": "~nobody-of-that-name/x"}, "must begin with / where ~ is nobody's home folder"),
        ({"num_trains": 3}, "num_trains\n.*not permitted"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        BenchmarkSettings(name="cifar10", **settings)


def test_set_that_nobody_knows_is_refused():
    with pytest.raises(ValidationError, match="Input should be 'mnist', 'fashion-mnist', "):
        BenchmarkSettings(name="cifar11")


def test_settings_that_use_a_set_up_are_taken():
    settings = BenchmarkSettings(
        name="cifar10", num_validation=5000, num_train=45_000, num_test=10_000
    )

    assert settings.num_test_images == 10_000


@pytest.mark.parametrize("name", sorted(IMAGE_SETS))
def test_every_set_can_be_named(name):
    settings = BenchmarkSettings(name=name)

    assert Path(settings.folder).is_absolute()
    assert settings.shape == IMAGE_SETS[name].shape
