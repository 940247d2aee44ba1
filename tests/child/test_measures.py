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
from child.objective import Objective
from child.recurrent.space_settings import RecurrentSettings
from child.training import ChildTrainer
from child.zoo import NAS_CELL

CPU = torch.device("cpu")
ALL = Measures(MEASURES, latency_batch_size=3)
IMAGES = images_of([0, 1, 1, 0, 1, 0])
CROPPED = AugmentationSettings(crop="pad", margin=1)


def small():
    """Build a network that draws random numbers as it trains, and keeps statistics."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(0.3), nn.Linear(6, 2)
    )


def trained(measures, build, precision="float32"):
    settings = settings_of(precision=precision, augmentation=CROPPED)
    trainer = ChildTrainer(ImagePasses(settings, IMAGES, CPU), measures=measures)
    return trainer.train(build, seed=3)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_child_that_is_measured_is_the_same_bit_for_bit(precision):
    plain, measured = Builder(small), Builder(small)

    torch.manual_seed(5)
    one = trained(NOTHING, plain, precision)
    drawn = torch.rand(3)
    torch.manual_seed(5)
    other = trained(ALL, measured, precision)

    assert torch.equal(torch.rand(3), drawn)
    assert replace(other, seconds=0, metrics={}) == replace(one, seconds=0)
    assert one.metrics == {}
    assert other.metrics.keys() == set(MEASURES)
    assert measured.weights == plain.weights


def test_network_is_counted_for_one_image_and_timed_with_a_batch_as_it_is_validated():
    builder = Builder(Linear)

    result = trained(ALL, builder)

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
    assert trained(Measures(("num_multiply_adds",)), small).metrics.keys() == {"num_multiply_adds"}
    assert trained(Measures(("latency_s",)), small).metrics.keys() == {"latency_s"}


def test_child_that_is_infeasible_was_counted_and_never_timed():
    trainer = ChildTrainer(ImagePasses(settings_of(), IMAGES, CPU), measures=ALL)
    result = trainer.train(lambda: Exploding(2), seed=3)
    assert (result.state, result.metrics) == ("infeasible", {"num_multiply_adds": 8})


def out_of_memory(*_):
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")


def not_implemented(*_):
    raise NotImplementedError("Could not run 'aten::own' with arguments from the 'Meta' backend.")


def mistaken(*_):
    raise KeyError("filter_heigth")


@pytest.mark.parametrize("fail", [out_of_memory, not_implemented, mistaken])
@pytest.mark.parametrize("name", MEASURES)
def test_measure_that_fails_is_missing_and_the_child_is_as_good(monkeypatch, caplog, fail, name):
    plain, other = trained(NOTHING, small), (set(MEASURES) - {name}).pop()
    trainer = ChildTrainer(
        ImagePasses(settings_of(augmentation=CROPPED), IMAGES, CPU), measures=ALL
    )
    monkeypatch.setattr(f"child.measures.{name}", fail)

    result = trainer.train(small, seed=3)

    assert result.metrics.keys() == {other}
    assert replace(result, seconds=0, metrics={}) == replace(plain, seconds=0)
    [record] = [each for each in caplog.records if each.levelname == "WARNING"]
    assert "a measure is left out, and the child goes on" in record.getMessage()
    assert fail.__name__ in caplog.text


def test_gpu_that_is_lost_as_a_measure_is_taken_is_no_matter_of_the_measure(monkeypatch):
    def lost(*_):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr("child.measures.latency_s", lost)
    with pytest.raises(RuntimeError, match="illegal memory access"):
        trained(ALL, small)


def test_child_without_the_measure_that_is_the_cost_is_infeasible_by_the_objective(monkeypatch):
    monkeypatch.setattr("child.measures.latency_s", out_of_memory)
    result = trained(ALL, small)

    refused = Objective(cost="latency_s", target=1.0).rewarded(result)

    assert (refused.state, refused.reward) == ("infeasible", 0.0)
    assert refused.reason == (
        "objective.cost=latency_s: must be known; it could not be measured, and the log of the "
        "child's worker says why, or its trainer did not give it"
    )
    assert not refused.is_out_of_memory
    # What was not the cost is missing, and no more.
    assert Objective(measures=["latency_s"]).rewarded(result) is result


def test_network_that_is_kept_or_tested_is_not_measured(monkeypatch):
    trainer = ChildTrainer(ImagePasses(settings_of(), IMAGES, CPU), measures=ALL)
    for name in MEASURES:
        monkeypatch.setattr(f"child.measures.{name}", mistaken)

    assert trainer.train_and_keep(Linear, seed=3).result.metrics == {}
    assert trainer.test(Linear, 3, IMAGES.validation).result.metrics == {}


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
