from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg

from child.data import whitening
from child.data.whitening import Whitening

SHAPE = (3, 2, 3)


@pytest.fixture
def images():
    """Images whose neighbouring values are correlated, and whose channels differ in scale."""
    generator = np.random.default_rng(1)
    values = generator.normal(size=(4000, 18)) @ (np.eye(18) + 0.4 * np.eye(18, k=1))
    channels = values.reshape(-1, *SHAPE) * np.reshape([10, 20, 30], (3, 1, 1)) + 120
    return channels.clip(0, 255).round().astype(np.uint8)


def whitened(measured, images):
    """Apply a whitening by its definition; (N, D), one image a row."""
    centred = images.astype(np.float64) - measured.mean
    rows = (centred * measured.scale).reshape(len(images), -1)
    return rows if measured.matrix is None else rows @ measured.matrix


def test_none_maps_black_to_0_and_white_to_1():
    images = np.array([0, 51, 255], np.uint8).reshape(1, 1, 1, 3)

    measured = Whitening.measure("none", images)

    np.testing.assert_allclose(whitened(measured, images), [[0, 0.2, 1]], rtol=1e-6)


def test_channel_gives_every_channel_mean_0_and_variance_1(images):
    rows = whitened(Whitening.measure("channel", images), images).reshape(-1, *SHAPE)

    np.testing.assert_allclose(rows.mean(axis=(0, 2, 3)), 0, atol=1e-6)
    np.testing.assert_allclose(rows.var(axis=(0, 2, 3)), 1, atol=1e-6)


def test_channel_keeps_the_differences_of_values_within_a_channel(images):
    measured = Whitening.measure("channel", images)

    assert measured.mean.shape == measured.scale.shape == (3, 1, 1)
    assert measured.matrix is None


@pytest.mark.parametrize("kind", ["channel", "zca"])
def test_constant_channel_becomes_0(images, kind):
    images[:, 1] = 77

    measured = Whitening.measure(kind, images)

    rows = whitened(measured, images).reshape(-1, *SHAPE)
    assert np.isfinite(rows).all()
    np.testing.assert_allclose(rows[:, 1], 0, atol=1e-6)


def test_zca_is_the_inverse_root_of_the_covariance_and_epsilon(images):
    measured = Whitening.measure("zca", images)

    rows = images.reshape(len(images), -1).astype(np.float64)
    deviations = images.astype(np.float64).std(axis=(0, 2, 3)).repeat(6)
    covariance = np.cov(rows / deviations, rowvar=False, bias=True)
    expected = scipy.linalg.inv(scipy.linalg.sqrtm(covariance + 0.01 * np.eye(18)))
    np.testing.assert_allclose(measured.matrix, expected, rtol=1e-4, atol=1e-5)


def test_zca_gives_every_value_mean_0_and_takes_the_correlations_away(images):
    rows = whitened(Whitening.measure("zca", images), images)

    np.testing.assert_allclose(rows.mean(axis=0), 0, atol=1e-5)
    # Not 1 on the diagonal but s / (s + 0.01), for a variance s.
    np.testing.assert_allclose(np.cov(rows, rowvar=False), np.eye(18), atol=0.04)


def test_zca_does_not_blow_up_what_hardly_varies(images):
    images[:, 0, 0, 0] = images[:, 0, 0, 1]

    measured = Whitening.measure("zca", images)

    assert np.linalg.norm(measured.matrix, ord=2) <= 0.01**-0.5 + 1e-4


def test_zca_matrix_is_symmetric(images):
    matrix = Whitening.measure("zca", images).matrix

    np.testing.assert_array_equal(matrix, matrix.T)


@pytest.mark.parametrize("kind", ["none", "channel", "zca"])
def test_what_is_measured_is_float32_and_fits_the_images(images, kind):
    measured = Whitening.measure(kind, images)

    assert np.broadcast_shapes(measured.mean.shape, measured.scale.shape, SHAPE) == SHAPE
    assert measured.mean.dtype == measured.scale.dtype == np.float32
    assert measured.matrix is None or measured.matrix.dtype == np.float32


@pytest.mark.parametrize("kind", ["channel", "zca"])
@pytest.mark.parametrize("chunk_values", [1, 18 * 7, 18 * 4000])
def test_chunks_change_nothing_that_is_measured(images, monkeypatch, kind, chunk_values):
    whole = Whitening.measure(kind, images)
    monkeypatch.setattr(whitening, "_CHUNK_VALUES", chunk_values)

    measured = Whitening.measure(kind, images)

    np.testing.assert_array_equal(measured.mean, whole.mean)
    np.testing.assert_array_equal(measured.scale, whole.scale)
    np.testing.assert_allclose(
        whitened(measured, images[:9]), whitened(whole, images[:9]), rtol=1e-4, atol=1e-5
    )


def test_zca_of_images_that_are_too_large_is_refused(images, monkeypatch):
    monkeypatch.setattr(whitening, "MAX_ZCA_VALUES", 17)

    with pytest.raises(ValueError, match="images of 18 values: must have at most 17"):
        Whitening.measure("zca", images)
