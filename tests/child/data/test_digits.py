from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from pydantic import ValidationError
from sklearn.datasets import load_digits as load_from_sklearn

from child.data.digits import DigitsSettings, load_digits


@pytest.fixture(scope="module")
def digits():
    return load_digits(DigitsSettings())


def parts(data):
    return [data.search.train, data.search.validation, data.test]


def pixels(part):
    return part.images.reshape(len(part), 64)


def counted(images, labels):
    """Count the labelled images, so that sets of them can be compared whatever their order."""
    return Counter(
        (tuple(i), label) for i, label in zip(images.tolist(), labels.tolist(), strict=True)
    )


def test_digits_by_default_are_1200_to_train_297_to_validate_300_to_test(digits):
    assert [len(part) for part in parts(digits)] == [1200, 297, 300]


def test_digits_are_split_as_the_settings_say():
    data = load_digits(DigitsSettings(num_validation=10, num_test=7))

    assert [len(part) for part in parts(data)] == [1780, 10, 7]


@pytest.mark.parametrize(
    "settings",
    [DigitsSettings(), DigitsSettings(num_validation=500, num_test=1, split_seed=5)],
    ids=["default", "other"],
)
def test_digits_of_all_parts_are_those_of_scikit_learn_each_once(settings):
    data = load_digits(settings)

    images, labels = load_from_sklearn(return_X_y=True)
    found = counted(
        np.concatenate([pixels(part) for part in parts(data)]),
        np.concatenate([part.labels for part in parts(data)]),
    )
    assert found == counted(images.astype(int), labels)


def test_digits_are_images_of_one_channel_with_classes_from_0_to_9(digits):
    assert digits.search.shape == (1, 8, 8)
    assert digits.search.num_classes == 10
    for part in parts(digits):
        assert part.images.shape == (len(part), 1, 8, 8)
        assert part.images.dtype == np.uint8
        assert part.labels.shape == (len(part),)
        assert part.labels.dtype == np.int64
        assert set(part.labels.tolist()) == set(range(10))


def test_digits_have_mean_0_and_variance_1_over_the_images_to_train_on(digits):
    whitening = digits.search.whitening
    white = (digits.search.train.images - whitening.mean.astype(np.float64)) * whitening.scale

    assert white.mean() == pytest.approx(0, abs=1e-6)
    assert white.var() == pytest.approx(1, abs=1e-6)


def test_digits_are_split_in_the_order_that_seed_0_has_always_drawn(digits):
    images, labels = load_from_sklearn(return_X_y=True)
    order = np.random.Generator(np.random.PCG64(0)).permutation(1797)

    found = np.concatenate([pixels(part) for part in parts(digits)])
    np.testing.assert_array_equal(found, images[order])
    assert digits.search.train.labels.tolist() == labels[order[:1200]].tolist()
    assert digits.test.labels.tolist() == labels[order[1497:]].tolist()


def test_digits_with_the_same_seed_are_split_the_same_way(digits):
    again = load_digits(DigitsSettings())

    for one, other in zip(parts(digits), parts(again), strict=True):
        np.testing.assert_array_equal(one.images, other.images)
        np.testing.assert_array_equal(one.labels, other.labels)


def test_digits_with_another_seed_are_split_another_way(digits):
    other = load_digits(DigitsSettings(split_seed=1))

    held_out, others = (
        counted(np.concatenate([pixels(data.search.validation), pixels(data.test)]), np.zeros(597))
        for data in (digits, other)
    )
    # By chance a third of the images are held out both times: 198, standard deviation 9.4.
    assert 140 < (held_out & others).total() < 260


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"num_validation": 1497, "num_test": 300},
            "num_validation=1497 and num_test=300: must leave two or more of the 1797 images",
        ),
        ({"num_validation": 0}, "num_validation"),
        ({"num_test": 0}, "num_test"),
        ({"split_seed": -1}, "split_seed"),
        ({"name": "letters"}, "name"),
        ({"whitening": "pca"}, "whitening"),
        ({"validation": 3}, "validation\n.*not permitted"),
    ],
)
def test_settings_that_make_no_split_are_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        DigitsSettings(**settings)


def test_settings_that_leave_two_images_to_train_on_are_taken():
    assert DigitsSettings(num_validation=1495, num_test=300).num_validation == 1495
