"""A network is trained until it converges, on all data, and tested once."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from support.language import CPU, passes_of, text_of
from support.language import settings_of as text_settings
from support.networks import (
    Builder,
    Doing,
    Exploding,
    Linear,
    build_child,
    images_of,
    settings_of,
)
from torch import nn

from child.convergence import Convergence
from child.data.digits import DigitsSettings, load_digits
from child.final_training import FinalTrainer
from child.images.augmentation import AugmentationSettings
from child.images.passes import ImagePasses
from child.language.model import LanguageModel
from child.language.model_settings import DropoutSettings, LanguageModelSettings
from child.language.size import ModelSize
from child.result import Infeasible
from child.schedule import LearningRateSchedule
from child.snapshot import SnapshotError, packed
from child.zoo import NAS_CELL

# What never is reached, and what is at once.
NEVER = Convergence(patience=1000)
AT_ONCE = Convergence(patience=1, min_improvement=0.999)


@pytest.fixture(scope="module")
def digits():
    return load_digits(DigitsSettings(num_validation=700, num_test=600))


@pytest.fixture(scope="module")
def of_images(digits):
    """Passes over digits, what builds a child for them, and the test."""
    settings = settings_of(num_epochs=3, batch_size=50, augmentation=AugmentationSettings(margin=1))
    passes = ImagePasses(settings, digits.search.with_validation(), CPU)
    return SimpleNamespace(passes=passes, build=build_child, test=digits.test)


@pytest.fixture(scope="module")
def of_text():
    """Passes over a text, what builds a language model for it, and the test."""
    rng = np.random.default_rng(3)
    data = text_of(rng.integers(0, 7, 400), rng.integers(0, 7, 50)).with_validation()
    settings = LanguageModelSettings(
        num_layers=1, num_parameters=None, hidden_size=6, dropout=DropoutSettings()
    )
    size = ModelSize.of(settings, data.num_tokens, NAS_CELL.base)
    passes = passes_of(text_settings(num_epochs=3, optimizer="adam", learning_rate=0.01), data)
    return SimpleNamespace(
        passes=passes,
        build=lambda: LanguageModel(NAS_CELL, size, settings),
        test=rng.integers(0, 7, 60),
    )


class Scripted:
    """Passes of which the losses are written down beforehand; rates are the rates asked for."""

    device = CPU
    precision = SimpleNamespace(kept=lambda: torch.no_grad())

    def __init__(self, losses, **settings):
        self.settings = settings_of(**settings)
        self.rates = []
        self._losses = iter(losses)

    def learner(self, network):
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
        return SimpleNamespace(network=network, optimizer=optimizer, scaler=None)

    def train(self, learner, learning_rate, before_step):
        self.rates.append(learning_rate)
        return next(self._losses)

    def test(self, network, test):
        return 0.5


def followed(epochs):
    """Take all epochs of a training; give them, and what it returned."""
    seen = []
    while True:
        try:
            seen.append(next(epochs))
        except StopIteration as ended:
            return seen, *ended.value


def train(passes, convergence, max_epochs, *, build=lambda: nn.Linear(2, 2), **options):
    return followed(FinalTrainer(passes, convergence, max_epochs).train(build, 7, None, **options))


@pytest.mark.parametrize("kind", ["of_images", "of_text"])
@pytest.mark.parametrize("interrupted_after", [1, 2, 4])
def test_training_that_goes_on_from_a_snapshot_ends_as_if_it_was_never_interrupted(
    kind, interrupted_after, request
):
    task = request.getfixturevalue(kind)
    trainer = FinalTrainer(task.passes, NEVER, 4)
    expected, result, weights = followed(trainer.train(task.build, 7, task.test))

    first = trainer.train(task.build, 7, task.test)
    *_, last = [next(first) for _ in range(interrupted_after)]
    snapshot = last.snapshot()
    first.close()
    again = FinalTrainer(task.passes, NEVER, 4)
    rest, resumed, resumed_weights = followed(
        again.train(task.build, 7, task.test, snapshot=snapshot)
    )

    assert [epoch.epoch for epoch in rest] == list(range(interrupted_after + 1, 5))
    assert (resumed.losses, resumed.test) == (result.losses, result.test)
    assert len(expected) == len(result.losses) == 4
    for name, values in weights.items():
        assert resumed_weights[name].tobytes() == values.tobytes(), name


def test_snapshot_decides_how_it_goes_on_and_not_the_seed(of_images):
    trainer = FinalTrainer(of_images.passes, NEVER, 3)
    epochs, result, _ = followed(trainer.train(of_images.build, 7, of_images.test))
    first = trainer.train(of_images.build, 7, of_images.test)
    snapshot = next(first).snapshot()
    first.close()
    _, shorter, _ = followed(
        FinalTrainer(of_images.passes, NEVER, 3).train(
            of_images.build, 8, of_images.test, snapshot=snapshot
        )
    )
    assert shorter.losses == result.losses

    _, other, _ = followed(trainer.train(of_images.build, 8, of_images.test))
    assert other.losses != result.losses
    assert len(epochs) == 3


def test_figure_of_the_test_is_that_of_the_weights_after_the_last_epoch(of_images, digits):
    builder = Builder()
    trainer = FinalTrainer(of_images.passes, NEVER, 3)
    _, result, weights = followed(trainer.train(builder, 7, digits.test))

    network = builder.children[-1].eval()
    assert builder.weights == {name: values.tobytes() for name, values in weights.items()}
    mean, scale = digits.search.whitening.mean, digits.search.whitening.scale
    padded = torch.tensor((digits.test.images - mean) * scale, dtype=torch.float32)
    large = nn.functional.interpolate(padded, (10, 10), mode="bilinear", align_corners=False)
    with torch.no_grad():
        answers = network(large[:, :, 1:9, 1:9]).argmax(dim=1)
    assert result.test == np.mean(answers.numpy() == digits.test.labels)
    assert result.test > 0.5


def test_images_to_validate_on_are_trained_on_too(digits):
    whole = digits.search.with_validation()

    assert len(whole.train) == len(digits.search.train) + len(digits.search.validation)
    num_train = len(digits.search.train)
    assert (whole.train.images[:num_train] == digits.search.train.images).all()
    assert (whole.train.images[num_train:] == digits.search.validation.images).all()
    assert (whole.train.labels[num_train:] == digits.search.validation.labels).all()
    assert whole.whitening is digits.search.whitening


def test_text_to_validate_on_is_trained_on_too():
    data = text_of([0, 1, 2, 3], [3, 2])
    whole = data.with_validation()
    assert whole.train.tolist() == [0, 1, 2, 3, 3, 2]
    assert whole.validation.tolist() == [3, 2]
    assert not whole.train.flags.writeable
    assert whole.vocabulary is data.vocabulary


def test_every_image_is_met_in_each_epoch():
    data = images_of([0, 1] * 5).with_validation()
    network = Linear()
    passes = ImagePasses(settings_of(num_epochs=2), data, CPU)
    followed(FinalTrainer(passes, NEVER, 2).train(lambda: network, 7, data.validation))
    assert sum(len(batch) for batch in network.trained_on) == 2 * 20


def test_training_ends_once_it_has_converged():
    passes = Scripted([8.0, 4.0, 3.99, 3.98, 1.0], num_epochs=2)
    epochs, result, _ = train(passes, Convergence(patience=1, min_improvement=0.1), 100)

    assert [epoch.loss for epoch in epochs] == [8.0, 4.0, 3.99]
    assert (result.state, result.losses) == ("completed", (8.0, 4.0, 3.99))
    assert result.is_converged
    assert result.test == 0.5


def test_training_does_not_end_before_its_rate_has_fallen():
    passes = Scripted([4.0] * 10, num_epochs=6)
    _, result, _ = train(passes, AT_ONCE, 100)
    assert len(result.losses) == 6


def test_training_that_does_not_converge_ends_with_its_epochs():
    passes = Scripted([2.0**-n for n in range(20)], num_epochs=2)
    _, result, _ = train(passes, Convergence(patience=1), 7)
    assert len(result.losses) == 7
    assert not result.is_converged


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ({"kind": "step", "milestones": (0.5,), "factor": 0.1}, [1, 1, 0.1, 0.1, 0.1, 0.1]),
        ({"kind": "cosine"}, [1, 0.8535534, 0.5, 0.1464466, 0.1464466, 0.1464466]),
        (
            {"kind": "exponential", "constant_epochs": 2, "factor": 0.5},
            [1, 1, 0.5, 0.25, 0.25, 0.25],
        ),
    ],
)
@pytest.mark.parametrize("decided", [None, 3.0])
def test_rate_falls_over_the_epochs_of_the_settings_and_stays_then(schedule, expected, decided):
    settings = {"schedule": LearningRateSchedule(**schedule), "learning_rate": 2.0}
    passes = Scripted([2.0**-n for n in range(6)], num_epochs=4, **settings)
    train(passes, NEVER, 6, learning_rate=decided)
    assert passes.rates == pytest.approx([(decided or 2.0) * fraction for fraction in expected])


def out_of_memory():
    raise torch.OutOfMemoryError("CUDA out of memory")


@pytest.mark.parametrize(
    ("build", "reason", "is_full"),
    [
        (lambda: Exploding(4), "the training loss of epoch 2 is nan", False),
        (lambda: Doing(out_of_memory), "CUDA out of memory", True),
        (lambda: (_ for _ in ()).throw(Infeasible("too large", 99)), "too large", False),
    ],
)
def test_network_that_cannot_be_trained_says_why_and_is_not_tested(build, reason, is_full):
    data = images_of([0, 1] * 5).with_validation()
    passes = ImagePasses(settings_of(num_epochs=3, batch_size=10), data, CPU)
    epochs = FinalTrainer(passes, NEVER, 3).train(build, 7, data.validation)
    _, result, weights = followed(epochs)

    assert (result.state, result.reason) == ("infeasible", reason)
    assert (result.test, weights) == (None, None)
    assert result.is_out_of_memory is is_full
    assert result.num_parameters == {"too large": 99}.get(reason, 10)


def test_error_that_is_not_the_networks_fault_is_raised():
    data = images_of([0, 1] * 5)
    passes = ImagePasses(settings_of(), data, CPU)

    def fail():
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        followed(FinalTrainer(passes, NEVER, 2).train(lambda: Doing(fail), 7, data.validation))


def test_limits_of_a_search_do_not_count():
    data = images_of([0, 1] * 5)
    passes = ImagePasses(settings_of(max_parameters=1, time_limit_s=1e-9), data, CPU)
    _, result, _ = followed(FinalTrainer(passes, NEVER, 2).train(Linear, 7, data.validation))
    assert result.state == "completed"


def test_seconds_are_those_of_all_processes():
    clock = iter(float(10**n) for n in range(100))
    passes = Scripted([3.0, 2.0], num_epochs=2)
    passes.learner = lambda network: SimpleNamespace(
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=0.1),
        scaler=torch.amp.GradScaler(enabled=False),
    )
    first = FinalTrainer(passes, NEVER, 2, lambda: next(clock)).train(
        lambda: nn.Linear(2, 2), 7, None
    )
    epoch = next(first)
    assert epoch.seconds == 10 - 1
    snapshot = epoch.snapshot()  # at 100
    first.close()

    clock = iter([5.0, 6.0, 8.0])
    _, result, _ = followed(
        FinalTrainer(passes, NEVER, 2, lambda: next(clock)).train(
            lambda: nn.Linear(2, 2), 7, None, snapshot=snapshot
        )
    )
    assert result.seconds == (100 - 1) + (8 - 5)


def test_random_numbers_of_others_are_what_they_would_have_been(of_images):
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    epochs = FinalTrainer(of_images.passes, NEVER, 3).train(of_images.build, 7, of_images.test)
    next(epochs)
    epochs.close()
    assert torch.equal(torch.rand(4), expected)


def other_kind():
    return packed({"kind": "something else"})


def of_another_network(of_images):
    epochs = FinalTrainer(of_images.passes, NEVER, 3).train(
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), 7, of_images.test
    )
    return next(epochs).snapshot()


@pytest.mark.parametrize("kind", ["garbage", "other kind", "another network", "cut off"])
def test_snapshot_that_is_none_is_named_and_it_can_begin_anew(of_images, kind):
    trainer = FinalTrainer(of_images.passes, NEVER, 2)
    whole = next(trainer.train(of_images.build, 7, of_images.test)).snapshot()
    snapshot = {
        "garbage": b"garbage",
        "other kind": other_kind(),
        "another network": of_another_network(of_images),
        "cut off": whole[: len(whole) // 2],
    }[kind]
    with pytest.raises(SnapshotError, match="the snapshot cannot be used: "):
        next(trainer.train(of_images.build, 7, of_images.test, snapshot=snapshot))

    _, expected, _ = followed(trainer.train(of_images.build, 7, of_images.test))
    _, again, _ = followed(trainer.train(of_images.build, 7, of_images.test))
    assert again.losses == expected.losses
