from __future__ import annotations

import gc
import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from support.networks import (
    UNCHANGED,
    Builder,
    Linear,
    image_trainer,
    images_of,
    settings_of,
    white,
)
from torch import nn

from child.data.images import LabelledImages
from child.images.augmentation import AugmentationSettings
from child.images.passes import ImagePasses
from child.schedule import LearningRateSchedule

CPU = torch.device("cpu")


@pytest.fixture
def data():
    return images_of([0, 1] * 5)


def train(settings, data, build=Linear, seed=7, **given):
    """Train a child and give it."""
    builder = Builder(build)
    result = image_trainer(settings, data).train(builder, seed, **given)
    assert result.state == "completed"
    return builder.children[0]


def rows_of(tensors):
    """Give images as a list of tuples of their four pixels."""
    return [tuple(row) for row in torch.cat(tensors).flatten(1).tolist()]


def labels_of(data):
    """Give the label of each image, by its whitened pixels."""
    rows = rows_of([torch.from_numpy(white(data.train.images))])
    return dict(zip(rows, data.train.labels.tolist(), strict=True))


# --- What a network sees.


def test_network_meets_every_image_once_an_epoch_in_an_order_of_the_seed(data):
    met = [rows_of(train(settings_of(), data, seed=seed).trained_on) for seed in (3, 4)]

    orders = [order for rows in met for order in (rows[:10], rows[10:])]
    every = sorted(map(tuple, white(data.train.images).reshape(-1, 4).tolist()))
    assert [sorted(order) for order in orders] == [every] * 4
    assert len({tuple(order) for order in orders}) == 4


def test_images_vary_in_training_and_are_cropped_at_the_centre_in_validation(data):
    settings = settings_of(
        num_epochs=20, augmentation=AugmentationSettings(crop="pad", margin=1, flip=True)
    )

    child = train(settings, data)

    padded = np.pad(white(data.train.images)[:, 0], [(0, 0), (1, 1), (1, 1)])
    views = {
        tuple(image[top : top + 2, left : left + 2][:, ::step].flatten().tolist())
        for image, top, left, step in itertools.product(padded, range(3), range(3), (1, -1))
    }
    met = rows_of(child.trained_on)
    # Of each of the 10 images 18 views; 200 are drawn.
    assert set(met) <= views
    assert len(set(met)) > 80
    as_stored = [tuple(row) for row in white(data.train.images).reshape(-1, 4).tolist()]
    assert rows_of(child.validated_on) == as_stored * 20


def test_child_with_another_seed_meets_other_views(data):
    settings = settings_of(num_epochs=1, augmentation=AugmentationSettings(margin=1))

    one, again, other = (rows_of(train(settings, data, seed=n).trained_on) for n in (3, 3, 4))

    assert again == one
    assert sorted(other) != sorted(one)


def test_child_is_trained_in_training_mode_and_validated_in_evaluation_mode(data):
    child = train(settings_of(), data)

    modes = [(True, 4, True), (True, 4, True), (True, 2, True), (False, 10, False)]
    assert [call[:3] for call in child.calls] == modes * 2


def test_image_that_would_be_alone_in_a_step_joins_the_one_before(data):
    nine = LabelledImages(data.train.images[:9], data.train.labels[:9])
    passes = ImagePasses(settings_of(), replace(data, train=nine), CPU)
    learner = passes.learner(Linear())

    passes.train(learner, 0.1, before_step=lambda: None)

    assert [call[1] for call in learner.network.calls] == [4, 5]
    assert len(set(rows_of(learner.network.trained_on))) == 9


def test_single_image_is_trained_on(data):
    one = LabelledImages(data.train.images[:1], data.train.labels[:1])
    passes = ImagePasses(settings_of(), replace(data, train=one), CPU)
    learner = passes.learner(Linear())

    passes.train(learner, 0.1, before_step=lambda: None)

    assert [call[1] for call in learner.network.calls] == [1]


# --- What a step does.


def test_child_is_trained_by_nesterov_momentum_and_weight_decay_at_the_rate_of_the_epoch(data):
    settings = settings_of(
        num_epochs=3, learning_rate=0.2, momentum=0.8, weight_decay=0.05,
        schedule=LearningRateSchedule(milestones=(0.5,), factor=0.25),
    )  # fmt: skip

    child = train(settings, data)

    label_of = labels_of(data)
    weights = child.first.double().numpy()  # (2, 4)
    velocity = np.zeros((2, 4))
    # Three steps an epoch; half of the three epochs lies behind the third alone.
    for rate, batch in zip([0.2] * 6 + [0.05] * 3, child.trained_on, strict=True):
        x = batch.flatten(1).double().numpy()
        labels = [label_of[row] for row in rows_of([batch])]
        odds = np.exp(x @ weights.T)
        errors = odds / odds.sum(axis=1, keepdims=True) - np.eye(2)[labels]
        gradient = errors.T @ x / len(x) + 0.05 * weights
        velocity = 0.8 * velocity + gradient
        weights = weights - rate * (gradient + 0.8 * velocity)
    np.testing.assert_allclose(child.linear.weight.detach(), weights, atol=1e-5)


def test_learning_rate_that_is_given_replaces_that_of_the_settings(data):
    schedule = LearningRateSchedule(milestones=(0.5,))

    given = train(settings_of(schedule=schedule), data, learning_rate=0.02)
    set_ = train(settings_of(schedule=schedule, learning_rate=0.02), data)
    other = train(settings_of(schedule=schedule), data)

    assert torch.equal(given.linear.weight, set_.linear.weight)
    assert not torch.equal(given.linear.weight, other.linear.weight)


def test_loss_is_the_mean_cross_entropy_of_the_images_as_they_were_met(data):
    reports = []

    child = train(settings_of(learning_rate=0.5), data, report=reports.append)

    label_of = labels_of(data)
    losses = []
    for row, logits in zip(
        rows_of(child.trained_on), torch.cat(child.logits).double().numpy(), strict=True
    ):
        odds = np.exp(logits)
        losses.append(-np.log(odds[label_of[row]] / odds.sum()))
    expected = [np.mean(losses[:10]), np.mean(losses[10:])]
    assert [report.loss for report in reports] == pytest.approx(expected, rel=1e-5)


def test_step_is_announced_before_it_is_taken(data):
    passes = ImagePasses(settings_of(), data, CPU)
    learner = passes.learner(Linear())
    steps = []

    passes.train(learner, 0.1, before_step=lambda: steps.append(len(learner.network.calls)))

    assert steps == [0, 1, 2]


# --- Number formats.


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_network_computes_in_the_format_of_the_settings_and_keeps_weights_in_float32(
    data, precision
):
    child = train(settings_of(precision=precision), data)

    assert {call[3] for call in child.calls} == {getattr(torch, precision)}
    assert child.linear.weight.dtype == torch.float32


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_network_in_fewer_bits_ends_near_the_one_in_float32(data, precision):
    # Of many steps float16 may skip the first, whose gradients were scaled up too far.
    child = train(settings_of(num_epochs=30, learning_rate=0.01, precision=precision), data)
    exact = train(settings_of(num_epochs=30, learning_rate=0.01, precision="float32"), data)

    moved = (exact.linear.weight - exact.first).abs().max()
    difference = (child.linear.weight - exact.linear.weight).abs().max()
    assert 0 < difference < 0.1 * moved


# --- Data that belongs to others.


def test_data_that_may_not_be_written_to_is_trained_on_uncopied_and_left_alone(data):
    class Greedy(nn.Linear):
        def forward(self, images):
            return super().forward(images.flatten(1).mul_(2.0))

    for array in (data.train.images, data.train.labels):
        array.flags.writeable = False
    before = data.train.images.tobytes()
    trainer = image_trainer(settings_of(augmentation=UNCHANGED), data)

    trainer.train(lambda: Greedy(4, 2), seed=0)

    assert data.train.images.tobytes() == before
    tensors = [t for t in gc.get_objects() if type(t) is torch.Tensor]
    for array in (data.train.images, data.train.labels):
        held = [t.numpy() for t in tensors if t.shape == array.shape and t.dtype != torch.float32]
        held = [t for t in held if np.array_equal(t, array)]
        assert len(held) == 2, "to train and to validate on"
        assert all(np.shares_memory(t, array) for t in held)
