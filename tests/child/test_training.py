from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from support.clock import FakeClock
from support.networks import (
    UNCHANGED,
    Builder,
    Doing,
    Exploding,
    Linear,
    build_child,
    image_trainer,
    images_of,
    settings_of,
    white,
)
from torch import nn

from child.data.digits import DigitsSettings, load_digits
from child.images.augmentation import AugmentationSettings
from child.images.training_settings import ImageTrainingSettings
from child.result import EpochReport
from child.schedule import LearningRateSchedule
from child.training import ChildTrainer

SETTINGS = settings_of(batch_size=50, augmentation=AugmentationSettings(margin=1))


@pytest.fixture(scope="module")
def digits():
    # More images to validate on than one batch of the validation holds.
    return load_digits(DigitsSettings(num_validation=700, num_test=600))


@pytest.fixture
def ten_images():
    """Ten images to train on and ten to validate on; all are of class 0."""
    return images_of([0] * 10)


class Scripted(nn.Module):
    """Is right about as many of its validation images, epoch by epoch, as a script says."""

    def __init__(self, num_right):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self._num_right = iter(num_right)

    def forward(self, images):
        logits = torch.zeros(len(images), 2) + self.weight
        if not self.training:
            logits[next(self._num_right) :, 1] = 1.0
        return logits


class NotANumber(nn.Linear):
    """Gives logits that are not numbers."""

    def forward(self, features):
        return super().forward(features) * float("nan")


def without_seconds(result):
    return dataclasses.replace(result, seconds=0.0)


def fraction_right(network, part, whitening):
    """Give the accuracy independently of the trainer: one image at a time, counted by hand."""
    network.eval()
    right = 0
    for image, label in zip(white(part.images, whitening), part.labels, strict=True):
        with torch.no_grad():
            logits = network(torch.from_numpy(image[None]).float())
        right += int(np.argmax(logits.numpy()[0])) == label
    return right / len(part.labels)


# --- A child depends on its network, seed and settings alone.


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("crop", ["upsample", "pad", "none"])
def test_child_trained_again_by_another_trainer_is_the_same_bit_for_bit(digits, crop, precision):
    one, other = Builder(), Builder()
    settings = settings_of(
        batch_size=50, precision=precision, augmentation=AugmentationSettings(crop=crop, margin=1)
    )

    result = image_trainer(settings, digits.search).train(one, seed=3)
    torch.manual_seed(99)
    torch.rand(1000)
    again = image_trainer(settings, digits.search).train(other, seed=3)

    assert without_seconds(again) == without_seconds(result)
    assert other.weights == one.weights


def test_child_trained_again_after_others_is_the_same_bit_for_bit(digits):
    one, other = Builder(), Builder()
    trainer = image_trainer(SETTINGS, digits.search)

    result = trainer.train(one, seed=3)
    trainer.train(build_child, seed=4)
    trainer.train(lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), seed=5)
    spoiler = trainer.train(lambda: nn.Sequential(nn.Flatten(), NotANumber(64, 10)), seed=3)
    again = trainer.train(other, seed=3)

    assert spoiler.state == "infeasible"
    assert without_seconds(again) == without_seconds(result)
    assert other.weights == one.weights


def test_child_that_is_watched_is_the_same_bit_for_bit(digits):
    one, other = Builder(), Builder()
    trainer = image_trainer(SETTINGS, digits.search)

    result = trainer.train(one, seed=3)
    watched = trainer.train(other, seed=3, report=lambda _: None)

    assert without_seconds(watched) == without_seconds(result)
    assert other.weights == one.weights


def test_child_with_another_seed_has_other_weights(digits):
    one, other = Builder(), Builder()
    trainer = image_trainer(SETTINGS, digits.search)

    trainer.train(one, seed=3)
    trainer.train(other, seed=4)

    assert {name for name in one.weights if one.weights[name] == other.weights[name]} == {
        "2.num_batches_tracked"
    }


def raise_key_error():
    raise KeyError("filter_heigth")


@pytest.mark.parametrize(
    "build",
    [Linear, lambda: Exploding(n=1), lambda: Doing(raise_key_error)],
    ids=["completed", "infeasible", "mistaken"],
)
def test_random_numbers_and_flags_of_others_are_what_they_would_have_been(ten_images, build):
    before = torch.get_rng_state()
    trainer = image_trainer(settings_of(is_deterministic=True), ten_images)

    try:
        trainer.train(build, seed=3)
    except KeyError as error:
        assert error.args == ("filter_heigth",)  # noqa: PT017 - of one of the children only

    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize("is_deterministic", [False, True])
def test_child_is_trained_with_deterministic_algorithms_where_that_is_set(
    ten_images, is_deterministic
):
    seen = []
    settings = settings_of(is_deterministic=is_deterministic)

    image_trainer(settings, ten_images).train(
        lambda: Doing(lambda: seen.append(torch.are_deterministic_algorithms_enabled())), seed=3
    )

    assert set(seen) == {is_deterministic}


def test_gpu_that_cannot_be_deterministic_is_refused(monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    settings = settings_of(is_deterministic=True)

    with pytest.raises(ValueError, match="CUBLAS_WORKSPACE_CONFIG"):
        ChildTrainer(SimpleNamespace(settings=settings, device=torch.device("cuda")))


# --- What is learned and what it is worth.


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_child_of_a_few_epochs_learns_the_digits(digits, precision):
    settings = ImageTrainingSettings(num_epochs=5, augmentation=UNCHANGED, precision=precision)

    result = image_trainer(settings, digits.search).train(build_child, seed=0)

    assert result.state == "completed"
    assert result.validations[-1] > 0.7


def test_accuracies_are_the_fractions_of_validation_images_classified_right(digits):
    builder = Builder()
    settings = settings_of(batch_size=50, augmentation=AugmentationSettings(crop="pad", margin=1))
    data = digits.search

    result = image_trainer(settings, data).train(builder, seed=3)

    assert len(result.validations) == 2
    assert result.validations[-1] == fraction_right(
        builder.children[0], data.validation, data.whitening
    )


@pytest.mark.parametrize(
    ("num_right", "reward_epochs", "exponent", "accuracy", "reward"),
    [
        ([10, 2, 5, 4], 3, 3.0, 0.5, 0.125),
        ([10, 2, 5, 4], 4, 3.0, 1.0, 1.0),
        ([10, 2, 5, 4], 1, 2.0, 0.4, 0.16),
        ([3, 6], 5, 1.0, 0.6, 0.6),
        ([0], 1, 3.0, 0.0, 0.0),
    ],
    ids=["best of the last 3", "best of all", "last", "fewer than asked for", "none right"],
)
def test_reward_is_the_best_of_the_last_accuracies_to_the_power(
    ten_images, num_right, reward_epochs, exponent, accuracy, reward
):
    settings = ImageTrainingSettings(
        num_epochs=len(num_right), reward_epochs=reward_epochs, reward_exponent=exponent
    )

    result = image_trainer(settings, ten_images).train(lambda: Scripted(num_right), seed=0)

    assert result.state == "completed"
    assert result.validations == tuple(n / 10 for n in num_right)
    assert result.validation == accuracy
    assert result.reward == pytest.approx(reward)
    assert result.reason == ""
    assert not result.is_out_of_memory


def test_result_counts_the_parameters_of_the_network_and_its_seconds(digits):
    clock = FakeClock(step=0.5)

    result = image_trainer(SETTINGS, digits.search, clock=clock).train(build_child, seed=3)

    assert result.num_parameters == (64 * 16 + 16) + 2 * 16 + (16 * 10 + 10)
    assert result.seconds > 0


@pytest.mark.parametrize("learning_rate", [0.0, -0.1, float("nan"), float("inf")])
def test_learning_rate_that_trains_nothing_is_refused(ten_images, learning_rate):
    with pytest.raises(ValueError, match=r"learning_rate=.*: must be finite and > 0"):
        image_trainer(SETTINGS, ten_images).train(Linear, seed=0, learning_rate=learning_rate)


# --- Who watches sees each epoch as it ends.


def test_each_epoch_is_reported_as_it_ends(ten_images):
    clock = FakeClock()
    settings = settings_of(num_epochs=3, learning_rate=1e-9)
    events = []

    def report(epoch):
        events.append(dataclasses.replace(epoch, loss=round(epoch.loss, 3)))

    result = image_trainer(settings, ten_images, clock=clock).train(
        lambda: Doing(lambda: (events.append("step"), clock.advance(2.0))), seed=0, report=report
    )

    loss, accuracy = events[3].loss, result.validations[0]
    steps = ["step"] * 3
    assert events == [
        *steps,
        EpochReport(epoch=1, num_epochs=3, loss=loss, validation=accuracy, seconds=6.0),
        *steps,
        EpochReport(epoch=2, num_epochs=3, loss=loss, validation=accuracy, seconds=12.0),
        *steps,
        EpochReport(epoch=3, num_epochs=3, loss=loss, validation=accuracy, seconds=18.0),
    ]
    assert 0 < loss < 10


def test_accuracies_reported_are_those_of_the_result(digits):
    reports = []

    result = image_trainer(SETTINGS, digits.search).train(build_child, 3, report=reports.append)

    assert tuple(report.validation for report in reports) == result.validations
    assert reports[1].loss < reports[0].loss


def test_report_that_raises_ends_the_training(ten_images):
    steps = []

    def report(epoch):
        if epoch.epoch == 2:
            raise KeyError("nobody watches")

    with pytest.raises(KeyError, match="nobody watches"):
        image_trainer(settings_of(num_epochs=9), ten_images).train(
            lambda: Doing(lambda: steps.append(1)), seed=0, report=report
        )

    assert len(steps) == 2 * 3


# --- Weights that are kept.


def test_child_that_is_kept_gives_copies_of_its_weights_after_the_last_epoch(digits):
    trainer = image_trainer(SETTINGS, digits.search)
    builder = Builder()

    kept = trainer.train_and_keep(builder, 3, learning_rate=0.03)

    expected = trainer.train(Builder(), 3, learning_rate=0.03)
    assert without_seconds(kept.result) == without_seconds(expected)
    assert kept.test is None
    state = builder.children[0].state_dict()
    assert list(kept.weights) == list(state)
    for name, value in state.items():
        assert kept.weights[name].tolist() == value.tolist()
        assert not np.shares_memory(kept.weights[name], value.numpy())


def test_weights_of_a_child_that_was_tested_are_those_that_were_tested(digits):
    builder = Builder()
    tested = image_trainer(SETTINGS, digits.search).test(builder, 3, digits.test)
    for name, value in builder.children[0].state_dict().items():
        assert tested.weights[name].tolist() == value.tolist()


# --- The test of a network.


def test_child_tested_was_trained_as_in_the_search(digits):
    trainer = image_trainer(SETTINGS, digits.search)
    one, other = Builder(), Builder()
    reports = []

    result = trainer.train(one, seed=3, learning_rate=0.03)
    tested = trainer.test(other, 3, digits.test, learning_rate=0.03, report=reports.append)

    assert without_seconds(tested.result) == without_seconds(result)
    assert other.weights == one.weights
    assert [report.epoch for report in reports] == [1, 2]
    assert 0 <= tested.test <= 1


def test_accuracy_of_the_test_is_of_the_network_after_its_last_epoch(digits):
    builder = Builder()
    settings = settings_of(batch_size=50, schedule=LearningRateSchedule())

    tested = image_trainer(settings, digits.search).test(builder, 3, digits.test)

    assert tested.test == fraction_right(builder.children[0], digits.test, digits.search.whitening)
