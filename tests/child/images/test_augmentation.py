from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch.nn import functional

from child.data.images import ImageShape
from child.data.whitening import Whitening
from child.images.augmentation import Augmentation, AugmentationSettings
from child.resident import resident

CPU = torch.device("cpu")
SHAPE = ImageShape(3, 6, 8)  # not square, so that rows and columns are told apart
MARGIN = 2
PLAIN = Whitening(np.zeros((3, 1, 1), np.float32), np.ones((3, 1, 1), np.float32))


@pytest.fixture
def images():
    """Twenty images, as they are stored."""
    return np.random.default_rng(0).integers(0, 256, (20, *SHAPE), dtype=np.uint8)


def augmentation(whitening=PLAIN, **settings):
    return Augmentation(
        AugmentationSettings(**{"margin": MARGIN} | settings), whitening, SHAPE, CPU
    )


def views(images, draws, channels_height_width=SHAPE):
    """Crop and flip enlarged images one by one, as `draw` describes it."""
    _, height, width = channels_height_width
    crops = [
        image[:, top : top + height, left : left + width][:, :, :: -1 if flip else 1]
        for image, (top, left, flip) in zip(images, draws.tolist(), strict=True)
    ]
    return np.stack(crops)


def test_settings_by_default_are_those_of_the_paper():
    assert AugmentationSettings().model_dump() == {"crop": "upsample", "margin": 4, "flip": True}


@pytest.mark.parametrize("settings", [{"margin": 0}, {"crop": "random"}, {"flips": True}])
def test_settings_that_are_not_known_are_refused(settings):
    with pytest.raises(ValidationError, match=next(iter(settings))):
        AugmentationSettings(**settings)


# --- What varies, and how much.


@pytest.mark.parametrize("crop", ["upsample", "pad"])
def test_crops_begin_at_every_place_within_the_margins_and_half_are_flipped(crop):
    torch.manual_seed(0)

    tops, lefts, flips = augmentation(crop=crop).draw(5000).T

    for corners in (tops, lefts):
        counts = corners.bincount(minlength=2 * MARGIN + 1)
        assert len(counts) == 2 * MARGIN + 1
        # 1000 each are expected, with a standard deviation of 28.
        assert (counts - 1000).abs().max() < 150
    assert set(flips.tolist()) == {0, 1}
    assert 2300 < flips.sum() < 2700
    together = torch.stack([tops, lefts, flips]).double().corrcoef()
    assert (together - torch.eye(3)).abs().max() < 0.06


def test_nothing_varies_that_is_not_asked_for():
    assert not augmentation(crop="none", flip=False).draw(100).any()
    assert not augmentation(crop="none").draw(100)[:, :2].any()
    assert not augmentation(flip=False).draw(100)[:, 2].any()


def test_images_vary_by_torch_s_generator_alone():
    given = augmentation()
    torch.manual_seed(5)
    one = given.draw(50)
    other = given.draw(50)
    torch.manual_seed(5)

    assert torch.equal(given.draw(50), one)
    assert (other != one).any(dim=0).all()


# --- What a network sees.


def test_padded_images_are_cropped_and_flipped_as_drawn(images):
    given = augmentation(crop="pad")
    draws = given.draw(len(images))

    seen = given.training(torch.from_numpy(images), draws)

    padded = np.pad(images, [(0, 0), (0, 0), (MARGIN, MARGIN), (MARGIN, MARGIN)])
    np.testing.assert_array_equal(seen, views(padded, draws))
    assert seen.dtype == torch.float32


def test_upsampled_images_are_cropped_and_flipped_as_drawn(images):
    given = augmentation(crop="upsample")
    draws = given.draw(len(images))

    seen = given.training(torch.from_numpy(images), draws)

    upsampled = [
        functional.interpolate(torch.from_numpy(image[None]).float(), (10, 12), mode="bilinear")[0]
        for image in images
    ]
    np.testing.assert_array_equal(seen, views(np.stack(upsampled), draws))


def test_images_are_flipped_alone_where_crops_are_off(images):
    given = augmentation(crop="none")
    draws = given.draw(len(images))

    seen = given.training(torch.from_numpy(images), draws)

    np.testing.assert_array_equal(seen, views(images, draws))
    assert 0 < draws[:, 2].sum() < len(images)


def test_images_are_whitened_alone_where_nothing_varies(images):
    given = augmentation(crop="none", flip=False)

    seen = given.training(torch.from_numpy(images), given.draw(len(images)))

    np.testing.assert_array_equal(seen, images)


def test_upsampling_keeps_a_slope_and_its_ends():
    # Bilinear, pixels as areas: 8 pixels become 12, so new pixel j lies at (j + 1/2) * 8/12 - 1/2.
    slope = np.broadcast_to(10 * np.arange(8, dtype=np.uint8), (1, *SHAPE)).copy()
    given = augmentation(crop="upsample", flip=False)

    left = given.training(torch.from_numpy(slope), torch.tensor([[0, 0, 0]]))
    right = given.training(torch.from_numpy(slope), torch.tensor([[4, 4, 0]]))

    expected = np.clip(10 * ((np.arange(12) + 0.5) * 8 / 12 - 0.5), 0, 70)
    np.testing.assert_allclose(left[0, 0, 0], expected[:8], rtol=1e-5)
    np.testing.assert_allclose(right[0, 2, 5], expected[4:], rtol=1e-5)


def test_evaluation_takes_the_centre_of_the_upsampled_image(images):
    seen = augmentation(crop="upsample").evaluation(torch.from_numpy(images))

    larger = functional.interpolate(torch.from_numpy(images).float(), (10, 12), mode="bilinear")
    np.testing.assert_array_equal(seen, larger[:, :, 2:8, 2:10])


@pytest.mark.parametrize("crop", ["pad", "none"])
def test_evaluation_takes_the_image_itself_where_crops_keep_its_size(images, crop):
    seen = augmentation(crop=crop).evaluation(torch.from_numpy(images))

    np.testing.assert_array_equal(seen, images)


# --- Whitening.


@pytest.fixture
def white():
    """A whitening of which nothing is trivial."""
    random = np.random.default_rng(1)
    size = 3 * 6 * 8
    matrix = random.standard_normal((size, size)) / np.sqrt(size)
    return Whitening(
        random.uniform(0, 255, SHAPE).astype(np.float32),
        random.uniform(0.5, 2, (3, 1, 1)).astype(np.float32),
        (matrix + matrix.T).astype(np.float32),
    )


def whitened(white, images):
    rows = ((images.astype(np.float64) - white.mean) * white.scale).reshape(len(images), -1)
    return (rows @ white.matrix.astype(np.float64)).reshape(images.shape)


def test_images_are_whitened_as_it_was_measured(images, white):
    given = augmentation(white, crop="none", flip=False)

    trained_on = given.training(torch.from_numpy(images), given.draw(len(images)))
    validated_on = given.evaluation(torch.from_numpy(images))

    expected = whitened(white, images)
    np.testing.assert_allclose(trained_on, expected, atol=1e-3 * np.abs(expected).max())
    assert torch.equal(validated_on, trained_on)


def test_images_are_whitened_before_they_are_padded_and_flipped(images, white):
    given = augmentation(white, crop="pad")
    draws = given.draw(len(images))

    seen = given.training(torch.from_numpy(images), draws)

    padding = [(0, 0), (0, 0), (MARGIN, MARGIN), (MARGIN, MARGIN)]
    expected = views(np.pad(whitened(white, images), padding), draws)
    np.testing.assert_allclose(seen, expected, atol=1e-3 * np.abs(expected).max())


def test_images_and_whitening_that_may_not_be_written_to_are_left_alone(images, white):
    before = images.tobytes()
    for array in (images, white.mean, white.scale, white.matrix):
        array.flags.writeable = False
    given = augmentation(white, crop="none")

    tensor = resident(images, CPU)
    given.training(tensor, given.draw(len(images))).zero_()
    given.evaluation(tensor).zero_()

    assert images.tobytes() == before
