"""A child worker in this process, on real digits."""

from __future__ import annotations

import logging
import re
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from child.convolutional.architecture import ConvolutionalArchitecture
from child.convolutional.layer import Convolution, Layer
from child.convolutional.network_settings import NetworkSettings
from child.convolutional.space_settings import ConvolutionalSettings
from child.data.digits import DigitsSettings
from child.images.task import ImageTask
from child.images.training_settings import ImageTrainingSettings
from child.measures import Measures
from child.objective import Objective
from controller.replica import Child
from workers.child import ChildWorker
from workers.gpu_gate import GpuGate
from workers.process import ProcessSetup
from workers.slots import Slot

DATA = DigitsSettings(num_validation=300, num_test=1000).load()
QUICK = {
    "num_epochs": 2,
    "schedule": {"kind": "constant"},
    "augmentation": {"crop": "none", "flip": False},
}
TASK = ImageTask(
    ConvolutionalSettings(), NetworkSettings(), ImageTrainingSettings.model_validate(QUICK)
)
CHAIN = (Layer(Convolution(3, 3, 8)), Layer(Convolution(3, 3, 8), (1,)))
# 3 * 3 * 1 * 8, 3 * 3 * 8 * 8, two times scale and shift of 8, and the classifier.
NUM_PARAMETERS = 72 + 576 + 2 * 16 + 8 * 10 + 10


@pytest.fixture
def make_worker(tmp_path, monkeypatch):
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")

    def make(objective=None, **training):
        settings = ImageTrainingSettings.model_validate(QUICK | training)
        measures = Measures(("num_multiply_adds",))
        task = replace(TASK, training=settings, measures=measures)
        slot = Slot("here", num_cpus=1.0, num_gpus=0.0)
        setup = ProcessSetup(tmp_path)
        return ChildWorker(setup, "child", task, DATA.search, slot, objective or Objective())

    yield make
    for handler in root.handlers[len(before) :]:
        root.removeHandler(handler)
        handler.close()
    root.setLevel(level)


def child(learning_rate=None, trial=7):
    return Child(trial, ConvolutionalArchitecture(CHAIN, learning_rate=learning_rate), seed=3)


def test_child_is_trained_and_tested_as_its_architecture_says(make_worker):
    worker = make_worker()

    result = worker.train(child())
    tested = worker.test(child(), DATA.test)

    assert (result.state, result.num_parameters) == ("completed", NUM_PARAMETERS)
    assert tested.result.validations == result.validations
    assert 0 < tested.test < 1
    assert tested.weights["classifier.weight"].shape == (10, 8)


def test_reward_of_a_child_is_what_its_cost_leaves_of_it_and_its_figures_stay(make_worker):
    plain = make_worker().train(child())
    # 8 x 8 pixels with 72 and then 576 products each, and the classifier.
    cost = 64 * 72 + 64 * 576 + 8 * 10
    objective = Objective(
        cost="num_multiply_adds", target=cost / 4, exponent_below=0.0, exponent_above=-0.5
    )

    rewarded = make_worker(objective).train(child())

    assert rewarded.metrics == plain.metrics == {"num_multiply_adds": cost}
    assert rewarded.reward == pytest.approx(plain.reward / 2)
    assert rewarded.validations == plain.validations
    assert rewarded.validation == plain.validation


def test_learning_rate_that_was_decided_takes_the_place_of_the_setting(make_worker):
    decided = make_worker(learning_rate=0.5).train(child(learning_rate=0.03))

    assert decided.validations == make_worker(learning_rate=0.03).train(child()).validations
    assert decided.validations != make_worker(learning_rate=0.5).train(child()).validations


def test_network_of_as_many_parameters_as_the_limit_is_trained(make_worker):
    assert make_worker(max_parameters=NUM_PARAMETERS).train(child()).state == "completed"


def test_network_of_more_parameters_than_the_limit_is_infeasible_and_never_built(
    make_worker, monkeypatch
):
    worker = make_worker(max_parameters=NUM_PARAMETERS - 1)
    monkeypatch.setattr("child.images.task.ConvolutionalNetwork", None)  # a call would raise

    result = worker.train(child())

    assert (result.state, result.reward) == ("infeasible", 0)
    assert result.num_parameters == NUM_PARAMETERS
    assert result.reason == (
        f"max_parameters={NUM_PARAMETERS - 1}: the network has {NUM_PARAMETERS}"
    )


def test_every_epoch_of_a_child_is_in_the_log_of_its_worker(make_worker, tmp_path):
    make_worker(num_epochs=3).train(child(trial=41))

    lines = re.findall(r"trial 41, epoch (\d) of 3: loss", (tmp_path / "child.log").read_text())
    assert lines == ["1", "2", "3"]


class Ended(BaseException):
    """Takes the place of the end of a process."""


@pytest.mark.parametrize(
    ("text", "ends"),
    [("CUDA error: an illegal memory access was encountered", Ended), ("a bug", RuntimeError)],
)
def test_worker_that_has_lost_its_gpu_ends_so_that_another_takes_its_trial(
    make_worker, monkeypatch, text, ends
):
    def end(code):
        raise Ended(code)

    def lose(*_):
        raise RuntimeError(text)

    monkeypatch.setattr("workers.child.os._exit", end)
    monkeypatch.setattr(ImageTask, "build", lose)
    worker = make_worker()
    with pytest.raises(ends):
        worker.train(child())


def test_worker_for_whose_data_a_shared_gpu_has_no_room_waits_to_be_alone(tmp_path, monkeypatch):
    entered, made = [], []

    def passes(_, data, device):
        made.append(device.type)
        if entered[-1] == "shared":
            raise torch.OutOfMemoryError("CUDA out of memory")
        return SimpleNamespace(settings=TASK.training, device=device)

    def enter(self, how, way):
        entered.append(how)
        return way(self)

    for how in ("shared", "alone"):
        way = getattr(GpuGate, how)
        monkeypatch.setattr(GpuGate, how, lambda self, how=how, way=way: enter(self, how, way))
    monkeypatch.setattr(ImageTask, "passes", passes)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")

    slot = Slot("here", num_cpus=1.0, num_gpus=0.5)
    ChildWorker(ProcessSetup(tmp_path), "child", TASK, DATA.search, slot)

    assert entered == ["shared", "alone"]
    assert made == ["cuda", "cuda"]
    assert len(list(tmp_path.glob("nasrl-*/gpu-3/room"))) == 1
