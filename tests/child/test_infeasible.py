"""Architectures that cannot be trained, and why."""

from __future__ import annotations

import pytest
import torch
from support.clock import FakeClock
from support.networks import (
    Builder,
    Doing,
    Exploding,
    Linear,
    build_child,
    image_trainer,
    images_of,
    settings_of,
)
from torch import nn

from child.data.digits import DigitsSettings, load_digits
from child.result import Infeasible


@pytest.fixture
def data():
    """Ten images to train on and ten to validate on; all are of class 0."""
    return images_of([0] * 10)


def assert_infeasible(result):
    assert (result.state, result.reward, result.validation) == ("infeasible", 0.0, None)


# --- Not finite.


@pytest.mark.parametrize(
    ("n", "epoch", "num_accuracies"),
    [(1, 1, 0), (3, 1, 0), (4, 2, 1)],
    ids=["first step", "last step of an epoch", "second epoch"],
)
def test_loss_that_is_not_finite_makes_the_child_infeasible(data, n, epoch, num_accuracies):
    trainer = image_trainer(settings_of(num_epochs=3), data)

    result = trainer.train(lambda: Exploding(n), seed=0)

    assert_infeasible(result)
    assert len(result.validations) == num_accuracies
    assert result.num_parameters == 10
    assert result.reason.startswith(f"the training loss of epoch {epoch} is ")
    assert result.reason.endswith(("nan", "inf"))
    assert not result.is_out_of_memory


def test_learning_rate_too_large_makes_the_child_infeasible():
    digits = load_digits(DigitsSettings()).search

    result = image_trainer(settings_of(batch_size=64), digits).train(
        build_child, seed=0, learning_rate=1e30
    )

    assert_infeasible(result)


def test_child_whose_last_step_breaks_its_weights_is_infeasible(data):
    # One step: the loss before it is finite, and the answers after it are not.
    settings = settings_of(
        num_epochs=1, batch_size=10, learning_rate=1e38, momentum=0, nesterov=False
    )

    result = image_trainer(settings, data).train(
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.Linear(3, 2)), seed=1
    )

    assert_infeasible(result)
    assert result.reason == "an answer of the trained network is not finite"


# --- Out of memory.

MESSAGE = "CUDA out of memory. Tried to allocate 9 GiB."


def exhaust():
    raise torch.OutOfMemoryError(MESSAGE)


def exhaust_python():
    raise MemoryError


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (exhaust, MESSAGE),
        (lambda: Doing(exhaust), MESSAGE),
        (lambda: nn.Linear(2**30, 2**30), "can't allocate memory"),
        (lambda: Doing(lambda: torch.empty(2**60)), "can't allocate memory"),
        (exhaust_python, "MemoryError"),
    ],
    ids=["GPU, building", "GPU, training", "CPU, building", "CPU, training", "Python"],
)
def test_child_that_does_not_fit_into_memory_is_infeasible_and_told_apart(data, build, reason):
    result = image_trainer(settings_of(), data).train(build, seed=0)

    assert_infeasible(result)
    assert reason in result.reason
    assert result.is_out_of_memory


# --- Over the limits.


def test_child_over_its_time_is_stopped_before_the_next_step(data):
    clock = FakeClock()
    settings = settings_of(time_limit_s=3.5)
    builder = Builder(lambda: Doing(lambda: (steps.append(1), clock.advance(1.0))))
    steps = []

    result = image_trainer(settings, data, clock=clock).train(builder, seed=0)

    # Three steps an epoch. After the fourth, at 4 s, the time is over.
    assert_infeasible(result)
    assert len(steps) == 4
    assert len(result.validations) == 1
    assert result.seconds == 4.0
    assert result.reason == "time_limit_s=3.5: over after 4.0 s, in epoch 2 of 2"
    assert not result.is_out_of_memory


def test_child_over_its_time_after_its_last_step_is_infeasible(data):
    clock = FakeClock()
    settings = settings_of(num_epochs=1, time_limit_s=2.5)

    result = image_trainer(settings, data, clock=clock).train(
        lambda: Doing(lambda: clock.advance(1.0)), seed=0
    )

    assert_infeasible(result)
    assert result.reason == "time_limit_s=2.5: over after 3.0 s, in epoch 1 of 1"


def test_child_whose_building_takes_its_time_is_not_trained(data):
    clock = FakeClock()
    children = []

    def build():
        clock.advance(60.0)
        children.append(Linear())
        return children[0]

    result = image_trainer(settings_of(time_limit_s=59), data, clock=clock).train(build, seed=0)

    assert_infeasible(result)
    assert children[0].calls == []


def test_child_that_takes_just_its_time_is_completed(data):
    clock = FakeClock()
    settings = settings_of(num_epochs=1, time_limit_s=3.0)

    result = image_trainer(settings, data, clock=clock).train(
        lambda: Doing(lambda: clock.advance(1.0)), seed=0
    )

    assert result.state == "completed"


@pytest.mark.parametrize(("limit", "state"), [(7, "infeasible"), (8, "completed")])
def test_child_of_too_many_parameters_is_infeasible(data, limit, state):
    builder = Builder(Linear)

    result = image_trainer(settings_of(max_parameters=limit), data).train(builder, seed=0)

    assert result.state == state
    assert result.num_parameters == 8
    assert bool(builder.children[0].calls) == (state == "completed")
    assert result.reason == ("max_parameters=7: the network has 8" if limit == 7 else "")


# --- Whose fault it is.


def test_whoever_builds_may_say_that_the_architecture_is_infeasible(data):
    def build():
        raise Infeasible("layer 3 has no room for its window")

    result = image_trainer(settings_of(), data).train(build, seed=0)

    assert_infeasible(result)
    assert (result.reason, result.num_parameters) == ("layer 3 has no room for its window", 0)


def test_infeasible_child_always_has_a_reason(data):
    def build():
        raise Infeasible

    assert image_trainer(settings_of(), data).train(build, seed=0).reason == "Infeasible"


@pytest.mark.parametrize("kind", [KeyError, RuntimeError, ArithmeticError])
@pytest.mark.parametrize("is_built", [False, True], ids=["building", "training"])
def test_mistake_is_not_taken_for_the_architecture_s_fault(data, kind, is_built):
    def fail():
        raise kind("filter_heigth")

    with pytest.raises(kind, match="filter_heigth"):
        image_trainer(settings_of(), data).train(
            (lambda: Doing(fail)) if is_built else fail, seed=0
        )


@pytest.mark.parametrize("kind", [Infeasible, MemoryError])
def test_report_that_fails_is_not_taken_for_the_architecture_s_fault(data, kind):
    def report(_):
        raise kind("the one who watches has gone")

    with pytest.raises(kind, match="has gone"):
        image_trainer(settings_of(), data).train(Linear, seed=0, report=report)


# --- What an infeasible child leaves to others.


def test_infeasible_child_cannot_be_tested(data):
    trainer = image_trainer(settings_of(), data)

    with pytest.raises(
        ValueError, match=r"^an infeasible child cannot be tested: the training loss of epoch 1 is "
    ):
        trainer.test(lambda: Exploding(n=1), 0, data.validation)


def test_infeasible_child_has_no_weights_to_keep(data):
    with pytest.raises(ValueError, match=r"^an infeasible child has no weights: the training loss"):
        image_trainer(settings_of(), data).train_and_keep(lambda: Exploding(n=1), 0)


def test_child_after_an_infeasible_one_trains_as_if_it_had_not_been(data):
    trainer = image_trainer(settings_of(), data)
    one, other = Builder(Linear), Builder(Linear)
    trainer.train(one, seed=3)

    spoiler = trainer.train(lambda: Exploding(n=4), seed=3)
    trainer.train(other, seed=3)

    assert spoiler.state == "infeasible"
    assert other.weights == one.weights
