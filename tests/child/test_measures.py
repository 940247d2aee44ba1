"""Measuring children: what is found, and that it changes nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from support.language import passes_of, text_of
from support.language import settings_of as text_settings_of
from support.networks import (
    Builder,
    Exploding,
    Linear,
    images_of,
    settings_of,
)
from torch import nn

from child.convolutional.architecture import ConvolutionalArchitecture
from child.convolutional.layer import Convolution, Layer
from child.convolutional.network_settings import NetworkSettings
from child.convolutional.space_settings import ConvolutionalSettings
from child.images.augmentation import AugmentationSettings
from child.images.passes import ImagePasses
from child.images.task import ImageTask
from child.language.model_settings import LanguageModelSettings
from child.language.task import LanguageTask
from child.measures import MEASURES, NOTHING, Measures
from child.recurrent.space_settings import RecurrentSettings
from child.training import ChildTrainer
from child.zoo import NAS_CELL

CPU = torch.device("cpu")
ALL = Measures(MEASURES, latency_batch_size=3)
IMAGES = images_of([0, 1, 1, 0, 1, 0])


def small():
    """Build a network that draws random numbers as it trains, and keeps statistics."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(0.3), nn.Linear(6, 2)
    )


def trained(measures, build, precision="float32"):
    settings = settings_of(
        precision=precision, augmentation=AugmentationSettings(crop="pad", margin=1)
    )
    trainer = ChildTrainer(ImagePasses(settings, IMAGES, CPU), measures=measures)
    return trainer.train_and_keep(build, seed=3)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_child_that_is_measured_is_the_same_bit_for_bit(precision):
    plain, measured = Builder(small), Builder(small)

    torch.manual_seed(5)
    one = trained(NOTHING, plain, precision)
    drawn = torch.rand(3)
    torch.manual_seed(5)
    other = trained(ALL, measured, precision)

    assert torch.equal(torch.rand(3), drawn)
    assert replace(other.result, seconds=0, metrics={}) == replace(one.result, seconds=0)
    assert one.result.metrics == {}
    assert other.result.metrics.keys() == set(MEASURES)
    assert measured.weights == plain.weights
    assert {n: w.tobytes() for n, w in other.weights.items()} == {
        n: w.tobytes() for n, w in one.weights.items()
    }


def test_network_is_counted_for_one_image_and_timed_with_a_batch_as_it_is_validated():
    builder = Builder(Linear)

    result = trained(ALL, builder).result

    assert result.metrics["num_multiply_adds"] == 4 * 2
    assert 0 < result.metrics["latency_s"] < 10
    # The last calls are those of the validation, of 6 images, and then of the latency.
    calls = builder.children[0].calls
    timed = [call for call in calls if call[1] == 3]
    assert calls[-len(timed) :] == timed == [(False, 3, False, torch.float32)] * 35
    seen, whitened = builder.children[0].validated_on[-1], builder.children[0].validated_on[0]
    assert torch.equal(seen, whitened[:3])


def test_batch_may_be_larger_than_what_there_is_to_validate_on():
    builder = Builder(Linear)
    trained(Measures(("latency_s",), latency_batch_size=8), builder)
    [seen, whitened] = [builder.children[0].validated_on[place] for place in (-1, 0)]
    assert torch.equal(seen, whitened[[0, 1, 2, 3, 4, 5, 0, 1]])


def test_only_what_was_asked_for_is_measured():
    assert trained(Measures(("num_multiply_adds",)), small).result.metrics.keys() == {
        "num_multiply_adds"
    }
    assert trained(Measures(("latency_s",)), small).result.metrics.keys() == {"latency_s"}


def test_child_that_is_infeasible_was_counted_and_never_timed():
    trainer = ChildTrainer(ImagePasses(settings_of(), IMAGES, CPU), measures=ALL)
    result = trainer.train(lambda: Exploding(2), seed=3)
    assert (result.state, result.metrics) == ("infeasible", {"num_multiply_adds": 8})


def test_task_for_images_measures_what_it_says():
    architecture = ConvolutionalArchitecture((Layer(Convolution(1, 1, 3)),))
    training = settings_of(num_epochs=1)
    task = ImageTask(ConvolutionalSettings(), NetworkSettings(), training, ALL)
    result = task.trainer(IMAGES, CPU).train(architecture, 1, print)
    assert result.metrics["num_multiply_adds"] == 2 * 2 * 3 + 3 * 2
    assert result.metrics["latency_s"] > 0


def test_task_for_texts_measures_a_token_and_models_stay_the_same():
    data, model = (
        text_of([*range(12)] * 4),
        LanguageModelSettings(num_parameters=None, hidden_size=4),
    )
    plain = LanguageTask(RecurrentSettings(), model, text_settings_of(), "words")
    measured = replace(plain, measures=ALL)

    one, other = (task.trainer(data, CPU).train(NAS_CELL, 1, print) for task in (plain, measured))

    assert replace(other, seconds=0, metrics={}) == replace(one, seconds=0)
    assert other.metrics["num_multiply_adds"] == 2 * NAS_CELL.base * 4 * (4 + 4) + 4 * 12
    assert other.metrics["latency_s"] > 0


def test_examples_of_a_text_are_single_tokens_of_sequences():
    passes = passes_of(text_settings_of(), text_of(range(9), [5, 6, 7]))
    # Two parts side by side: 5 is followed by 6, 6 by 7.
    assert passes.examples(3).tolist() == [[5, 6, 5]]
