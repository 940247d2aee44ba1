"""ONNX files, held against torch."""

from __future__ import annotations

import onnxruntime
import pytest
import torch
from support.cells import fill, random_cell
from support.exports import EVERY_TYPE, SIZES, random_images, scrambled
from torch import nn

from child.convolutional.network_settings import NetworkSettings
from child.convolutional.space_settings import ConvolutionalSettings
from child.data.text import TextTrainingData, Vocabulary
from child.images.augmentation import AugmentationSettings
from child.images.task import ImageTask
from child.images.training_settings import ImageTrainingSettings
from child.language.model_settings import LanguageModelSettings
from child.language.task import LanguageTask
from child.language.training_settings import LanguageTrainingSettings
from child.recurrent.space_settings import RecurrentSettings
from child.zoo import NAS_CELL
from deploy.export.errors import ExportError
from deploy.export.image_plan import image_plan
from deploy.export.language_plan import language_plan
from deploy.export.onnx_file import write_onnx
from deploy.export.plan import OnnxPlan


def loaded(plan):
    namespace = {"__name__": "model"}
    exec(plan.source.module("A model.\n"), namespace)
    return namespace[plan.source.name]()


@pytest.mark.parametrize(
    ("architecture", "whitening", "crop", "order"),
    [
        (EVERY_TYPE, "zca", "upsample", "convolution-norm-relu"),
        (SIZES, "channel", "pad", "norm-relu-convolution"),
    ],
)
def test_network_of_every_type_answers_in_onnx_as_in_torch(
    tmp_path, architecture, whitening, crop, order
):
    data = random_images((3, 9, 7), whitening)
    augmentation = AugmentationSettings(crop=crop, margin=2)
    training = ImageTrainingSettings(augmentation=augmentation)
    task = ImageTask(ConvolutionalSettings(), NetworkSettings(order=order), training)
    plan = image_plan(task, architecture, data, ())
    model = scrambled(loaded(plan))
    for name, values in plan.buffers.items():
        model.get_buffer(name).copy_(torch.tensor(values))

    difference = write_onnx(model, plan.onnx, tmp_path / "model.onnx")

    assert difference <= 1e-4
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    stored = data.train.images[:11]
    [logits] = session.run(None, {"images": stored})
    with torch.no_grad():
        expected = model(model.prepare(torch.from_numpy(stored)))
    assert torch.from_numpy(logits) == pytest.approx(expected, abs=1e-4)
    assert expected.std(dim=0).min() > 1e-3


@pytest.mark.parametrize(("cell", "num_layers"), [(NAS_CELL, 2), (random_cell(3, 5), 1)])
def test_steps_of_a_language_model_in_onnx_are_those_of_torch(tmp_path, cell, num_layers):
    settings = LanguageModelSettings(num_layers=num_layers, num_parameters=None, hidden_size=5)
    training = LanguageTrainingSettings()
    task = LanguageTask(RecurrentSettings(), settings, training, "words")
    vocabulary = Vocabulary(tuple("abcdefg"))
    data = TextTrainingData(*(vocabulary.encode("abcd") for _ in range(2)), vocabulary)
    plan = language_plan(task, cell, data, task.size(cell, data))
    model = loaded(plan)
    fill(model, 2)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(0.5)

    write_onnx(model, plan.onnx, tmp_path / "model.onnx")

    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    tokens = torch.randint(0, 7, (6, 3), generator=torch.Generator().manual_seed(0))
    h = c = torch.zeros(num_layers, 3, 5).numpy()
    found = []
    for step in tokens.numpy():
        logits, h, c = session.run(None, {"tokens": step, "h": h, "c": c})
        found.append(torch.from_numpy(logits))
    with torch.no_grad():
        expected, states = model(tokens)
    assert (torch.stack(found) - expected).abs().max() <= 1e-4
    assert (torch.from_numpy(c) - torch.stack([c for _, c in states])).abs().max() <= 1e-4


class Drifting(nn.Module):
    """Adds something to each answer that it had not added before."""

    def __init__(self, step):
        super().__init__()
        self.step = step
        self.num_asked = 0

    def forward(self, x):
        self.num_asked += 1
        return x + self.step * self.num_asked


@pytest.mark.parametrize("step", [1.0, float("nan")])
def test_file_that_answers_otherwise_is_refused(tmp_path, step):
    plan = OnnxPlan(lambda model: model, lambda size: (torch.rand(size, 2),), {"x": 0}, ["y"])
    with pytest.raises(ExportError, match=r"answers otherwise than model\.py, by .*--no-onnx"):
        write_onnx(Drifting(step), plan, tmp_path / "model.onnx")


class Undecided(nn.Module):
    """Computes one thing or another, as its numbers are."""

    def forward(self, x):
        return x if x.sum() > 0 else -x


def test_model_that_cannot_be_written_is_an_error_in_one_line(tmp_path):
    plan = OnnxPlan(lambda model: model, lambda size: (torch.rand(size, 2),), {"x": 0}, ["y"])
    with pytest.raises(ExportError, match=r"^model\.onnx cannot be written: [^\n]*--no-onnx$"):
        write_onnx(Undecided(), plan, tmp_path / "model.onnx")
