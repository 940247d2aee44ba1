from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from child.data.digits import DigitsSettings, load_digits
from child.data.images import LabelledImages, TrainingData
from child.training import ChildTrainer, TrainingSettings

SETTINGS = TrainingSettings(num_epochs=2, batch_size=50)


@pytest.fixture(scope="module")
def digits():
    # More images to validate on than one batch of the validation holds.
    return load_digits(DigitsSettings(num_validation=700, num_test=600))


@pytest.fixture(scope="module")
def ten_images():
    """Ten images to train on and ten to validate on; all are of class 0."""
    images = np.random.default_rng(0).standard_normal((10, 1, 2, 2)).astype(np.float32)
    part = LabelledImages(images, np.zeros(10, np.int64))
    return TrainingData(train=part, validation=part, num_classes=2)


def build_child():
    """Build a child that draws random numbers also while it trains, and keeps statistics."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3),
        nn.Linear(16, 10),
    )  # fmt: skip


class Builder:
    """Builds children with a function and keeps them, so that a test can look at them."""

    def __init__(self, build=build_child):
        self.children = []
        self._build = build

    def __call__(self):
        self.children.append(self._build())
        return self.children[-1]

    @property
    def weights(self):
        """The weights and statistics of the last child, as bytes."""
        return {n: t.numpy().tobytes() for n, t in self.children[-1].state_dict().items()}


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


class Exploding(nn.Module):
    """Gives logits that are not finite from its n-th training step on."""

    def __init__(self, n):
        super().__init__()
        self.linear = nn.Linear(4, 2)
        self._steps_left = n

    def forward(self, images):
        self._steps_left -= self.training
        factor = 1.0 if self._steps_left > 0 else float("inf")
        return self.linear(images.flatten(start_dim=1)) * factor


class NotANumber(nn.Linear):
    """Gives logits that are not numbers."""

    def forward(self, features):
        return super().forward(features) * float("nan")


class Recording(nn.Module):
    """Writes down how it is called: training or not, number of images, gradients or not."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 2)
        self.calls = []

    def forward(self, images):
        self.calls.append((self.training, len(images), torch.is_grad_enabled()))
        return self.linear(images.flatten(start_dim=1))


def without_seconds(result):
    return dataclasses.replace(result, seconds=0.0)


def fraction_right(network, part):
    """Give the accuracy independently of the trainer: one image at a time, counted by hand."""
    network.eval()
    right = 0
    for image, label in zip(part.images, part.labels, strict=True):
        with torch.no_grad():
            logits = network(torch.from_numpy(image[None].copy()))
        right += int(np.argmax(logits.numpy()[0])) == label
    return right / len(part.labels)


def test_settings_by_default_are_those_of_the_paper():
    assert TrainingSettings().model_dump() == {
        "num_epochs": 50,
        "batch_size": 64,
        "learning_rate": 0.1,
        "momentum": 0.9,
        "nesterov": True,
        "weight_decay": 1e-4,
        "reward_epochs": 5,
        "reward_exponent": 3.0,
    }


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"momentum": 0}, "nesterov=true and momentum=0: Nesterov's rule needs momentum > 0"),
        ({"num_epochs": 0}, "num_epochs"),
        ({"batch_size": 1}, "batch_size"),
        ({"learning_rate": 0}, "learning_rate"),
        ({"momentum": 1}, "momentum"),
        ({"weight_decay": -1e-4}, "weight_decay"),
        ({"reward_epochs": 0}, "reward_epochs"),
        ({"reward_exponent": 0}, "reward_exponent"),
        ({"lr": 0.1}, "lr\n.*not permitted"),
    ],
)
def test_settings_that_train_nothing_are_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        TrainingSettings(**settings)


def test_settings_without_nesterov_and_momentum_are_taken():
    assert not TrainingSettings(nesterov=False, momentum=0).nesterov


# --- A child depends on its network, seed and settings alone.


def test_child_trained_again_by_another_trainer_is_the_same_bit_for_bit(digits):
    one, other = Builder(), Builder()

    result = ChildTrainer(SETTINGS, digits.search).train(one, seed=3)
    torch.manual_seed(99)
    torch.rand(1000)
    again = ChildTrainer(SETTINGS, digits.search).train(other, seed=3)

    assert without_seconds(again) == without_seconds(result)
    assert other.weights == one.weights


def test_child_trained_again_after_others_is_the_same_bit_for_bit(digits):
    one, other = Builder(), Builder()
    trainer = ChildTrainer(SETTINGS, digits.search)

    result = trainer.train(one, seed=3)
    trainer.train(build_child, seed=4)
    trainer.train(lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), seed=5)
    again = trainer.train(other, seed=3)

    assert without_seconds(again) == without_seconds(result)
    assert other.weights == one.weights


def test_child_with_another_seed_has_other_weights(digits):
    one, other = Builder(), Builder()
    trainer = ChildTrainer(SETTINGS, digits.search)

    trainer.train(one, seed=3)
    trainer.train(other, seed=4)

    assert {name for name in one.weights if one.weights[name] == other.weights[name]} == {
        "2.num_batches_tracked"
    }


def test_child_with_another_seed_meets_the_images_in_another_order(ten_images):
    class Meeting(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(2))
            self.met = []

        def forward(self, images):
            self.met += images[:, 0, 0, 0].tolist() * self.training
            return self.weight.expand(len(images), -1)

    builder = Builder(Meeting)
    trainer = ChildTrainer(TrainingSettings(num_epochs=2, batch_size=4), ten_images)
    trainer.train(builder, seed=3)
    trainer.train(builder, seed=4)

    orders = [met for child in builder.children for met in (child.met[:10], child.met[10:])]
    every = sorted(ten_images.train.images[:, 0, 0, 0].tolist())
    assert [sorted(order) for order in orders] == [every] * 4
    assert len({tuple(order) for order in orders}) == 4


@pytest.mark.parametrize(
    ("build", "state"),
    [(Recording, "completed"), (lambda: Exploding(n=1), "infeasible")],
    ids=["completed", "infeasible"],
)
def test_random_numbers_of_others_are_what_they_would_have_been(ten_images, build, state):
    before = torch.get_rng_state()

    result = ChildTrainer(SETTINGS, ten_images).train(build, seed=3)

    assert result.state == state
    assert torch.equal(torch.get_rng_state(), before)


# --- What is learned and what it is worth.


def test_child_is_trained_by_nesterov_momentum_and_weight_decay(ten_images):
    settings = TrainingSettings(
        num_epochs=3, batch_size=4, learning_rate=0.2, momentum=0.8, weight_decay=0.05
    )
    builder = Builder(lambda: nn.Sequential(nn.Flatten(), nn.Linear(4, 2, bias=False)))
    labels = np.array([0, 1] * 5)
    train = LabelledImages(ten_images.train.images, labels)
    data = dataclasses.replace(ten_images, train=train)

    ChildTrainer(settings, data).train(builder, seed=7)

    with torch.random.fork_rng():
        torch.manual_seed(7)
        weights = nn.Linear(4, 2, bias=False).weight.detach().double().numpy()  # (2, 4)
        orders = [torch.randperm(10).numpy() for _ in range(3)]
    velocity = np.zeros((2, 4))
    for order in orders:
        for batch in (order[:4], order[4:8], order[8:]):
            x = train.images[batch].reshape(-1, 4).astype(np.float64)
            odds = np.exp(x @ weights.T)
            errors = odds / odds.sum(axis=1, keepdims=True) - np.eye(2)[labels[batch]]
            gradient = errors.T @ x / len(batch) + 0.05 * weights
            velocity = 0.8 * velocity + gradient
            weights = weights - 0.2 * (gradient + 0.8 * velocity)
    np.testing.assert_allclose(builder.children[0][1].weight.detach(), weights, atol=1e-5)


def test_child_of_a_few_epochs_learns_the_digits(digits):
    result = ChildTrainer(TrainingSettings(num_epochs=5), digits.search).train(build_child, seed=0)

    assert result.state == "completed"
    assert result.accuracies[-1] > 0.7


def test_accuracies_are_the_fractions_of_validation_images_classified_right(digits):
    builder = Builder()

    result = ChildTrainer(SETTINGS, digits.search).train(builder, seed=3)

    assert len(result.accuracies) == 2
    assert result.accuracies[-1] == fraction_right(builder.children[0], digits.search.validation)


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
    settings = TrainingSettings(
        num_epochs=len(num_right), reward_epochs=reward_epochs, reward_exponent=exponent
    )

    result = ChildTrainer(settings, ten_images).train(lambda: Scripted(num_right), seed=0)

    assert result.state == "completed"
    assert result.accuracies == tuple(n / 10 for n in num_right)
    assert result.accuracy == accuracy
    assert result.reward == pytest.approx(reward)
    assert result.reason == ""


def test_result_counts_the_parameters_of_the_network_and_takes_time(digits):
    result = ChildTrainer(SETTINGS, digits.search).train(build_child, seed=3)

    assert result.num_parameters == (64 * 16 + 16) + 2 * 16 + (16 * 10 + 10)
    assert result.seconds > 0


def test_child_is_trained_in_training_mode_and_validated_in_evaluation_mode(ten_images):
    builder = Builder(Recording)

    ChildTrainer(TrainingSettings(num_epochs=2, batch_size=4), ten_images).train(builder, seed=0)

    epoch = [(True, 4, True), (True, 4, True), (True, 2, True), (False, 10, False)]
    assert builder.children[0].calls == epoch * 2


def test_data_that_may_not_be_written_to_is_trained_on_and_left_alone(ten_images):
    class Greedy(nn.Linear):
        def forward(self, images):
            return super().forward(images.flatten(start_dim=1).mul_(2.0))

    images = ten_images.train.images.copy()
    images.flags.writeable = False
    part = LabelledImages(images, ten_images.train.labels)
    before = images.tobytes()

    ChildTrainer(SETTINGS, TrainingData(part, part, 2)).train(lambda: Greedy(4, 2), seed=0)

    assert images.tobytes() == before


# --- An architecture that cannot be trained.


@pytest.mark.parametrize(
    ("n", "epoch", "num_accuracies"),
    [(1, 1, 0), (3, 1, 0), (4, 2, 1)],
    ids=["first step", "last step of an epoch", "second epoch"],
)
def test_loss_that_is_not_finite_makes_the_child_infeasible(ten_images, n, epoch, num_accuracies):
    trainer = ChildTrainer(TrainingSettings(num_epochs=3, batch_size=4), ten_images)

    result = trainer.train(lambda: Exploding(n), seed=0)

    assert result.state == "infeasible"
    assert result.reward == 0.0
    assert result.accuracy is None
    assert len(result.accuracies) == num_accuracies
    assert result.num_parameters == 10
    assert result.reason.startswith(f"the training loss of epoch {epoch} is ")
    assert result.reason.endswith(("nan", "inf"))


def test_learning_rate_too_large_makes_the_child_infeasible(digits):
    settings = TrainingSettings(num_epochs=2, learning_rate=1e30)

    result = ChildTrainer(settings, digits.search).train(build_child, seed=0)

    assert result.state == "infeasible"


def test_child_whose_last_step_breaks_its_weights_is_infeasible(ten_images):
    # One step: the loss before it is finite, and the answers after it are not.
    settings = TrainingSettings(
        num_epochs=1, batch_size=10, learning_rate=1e38, momentum=0, nesterov=False
    )
    trainer = ChildTrainer(settings, ten_images)

    result = trainer.train(
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.Linear(3, 2)), seed=1
    )

    assert (result.state, result.reward, result.accuracy) == ("infeasible", 0.0, None)
    assert result.reason == "an answer of the trained network is not finite"


def out_of_memory():
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB.")


class TooLarge(nn.Linear):
    def forward(self, images):
        out_of_memory()


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (out_of_memory, "CUDA out of memory. Tried to allocate 9 GiB."),
        (lambda: TooLarge(4, 2), "CUDA out of memory. Tried to allocate 9 GiB."),
        (lambda: nn.Linear(2**30, 2**30), "can't allocate memory"),
    ],
    ids=["GPU, while it is built", "GPU, while it trains", "CPU"],
)
def test_child_that_does_not_fit_into_memory_is_infeasible(ten_images, build, reason):
    result = ChildTrainer(SETTINGS, ten_images).train(build, seed=0)

    assert (result.state, result.reward, result.accuracy) == ("infeasible", 0.0, None)
    assert reason in result.reason


def test_child_after_an_infeasible_one_trains_as_if_it_had_not_been(digits):
    trainer = ChildTrainer(SETTINGS, digits.search)
    one, other = Builder(), Builder()
    result = trainer.train(one, seed=3)

    spoiler = trainer.train(lambda: nn.Sequential(nn.Flatten(), NotANumber(64, 10)), seed=3)
    again = trainer.train(other, seed=3)

    assert spoiler.state == "infeasible"
    assert without_seconds(again) == without_seconds(result)
    assert other.weights == one.weights


@pytest.mark.parametrize("kind", [KeyError, RuntimeError, ArithmeticError])
def test_mistake_in_building_a_child_is_not_taken_for_the_architecture_s_fault(ten_images, kind):
    def build():
        raise kind("filter_heigth")

    with pytest.raises(kind, match="filter_heigth"):
        ChildTrainer(SETTINGS, ten_images).train(build, seed=0)


# --- The test of a network.


def test_child_tested_was_trained_as_in_the_search(digits):
    trainer = ChildTrainer(SETTINGS, digits.search)
    one, other = Builder(), Builder()

    result = trainer.train(one, seed=3)
    tested, accuracy = trainer.test(other, 3, digits.test)

    assert without_seconds(tested) == without_seconds(result)
    assert other.weights == one.weights
    assert 0 <= accuracy <= 1


def test_accuracy_of_the_test_is_of_the_network_after_its_last_epoch(digits):
    builder = Builder()

    _, accuracy = ChildTrainer(SETTINGS, digits.search).test(builder, 3, digits.test)

    assert accuracy == fraction_right(builder.children[0], digits.test)


def test_infeasible_child_cannot_be_tested(ten_images):
    trainer = ChildTrainer(SETTINGS, ten_images)

    with pytest.raises(
        ValueError, match=r"^an infeasible child cannot be tested: the training loss of epoch 1 is "
    ):
        trainer.test(lambda: Exploding(n=1), 0, ten_images.validation)
