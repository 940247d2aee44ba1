"""Trainings after a search, each a task of a real cluster."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import ray
import torch

from child.convergence import Convergence
from child.convolutional.architecture import ConvolutionalArchitecture
from child.convolutional.layer import Convolution, Layer
from child.convolutional.network_settings import NetworkSettings
from child.convolutional.space_settings import ConvolutionalSettings
from child.data.digits import DigitsSettings
from child.final_training import FinalTrainer
from child.images.task import ImageTask
from child.images.training_settings import ImageTrainingSettings
from child.training import ChildTrainer
from workers.process import ProcessSetup
from workers.remote import THIS_MACHINE
from workers.retraining import FinalProgress, TrainingPlan, begin_final, begin_in_grid
from workers.slots import Slot

pytestmark = pytest.mark.usefixtures("cluster")

SLOT = Slot(THIS_MACHINE, num_cpus=1.0, num_gpus=0.0)
TRAINING = ImageTrainingSettings.model_validate(
    {
        "num_epochs": 2,
        "schedule": {"kind": "constant"},
        "augmentation": {"crop": "none", "flip": False},
    }
)
TASK = ImageTask(ConvolutionalSettings(), NetworkSettings(), TRAINING)
PLAN = TrainingPlan(
    "grid-c0ffee", TASK, ConvolutionalArchitecture((Layer(Convolution(3, 3, 8)),)), 5, 0.07
)
DATA = DigitsSettings(num_validation=300, num_test=1000).load()
CPU = torch.device("cpu")
CONVERGENCE = Convergence(patience=1)


@pytest.fixture(scope="module")
def log_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("logs")


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def results(references):
    return [ray.get(reference) for reference in references]


def build():
    return TASK.build(PLAN.architecture, DATA.search)


def final(log_dir, *, every_s=1e9, snapshot=None, max_epochs=4):
    data = ray.put(DATA.search.with_validation())
    return begin_final(
        ProcessSetup(log_dir), replace(PLAN, name="final-c0ffee"), data, ray.put(DATA.test), SLOT,
        CONVERGENCE, max_epochs, every_s, snapshot,
    )  # fmt: skip


def test_training_in_the_grid_is_that_of_a_child(log_dir):
    [result] = results(begin_in_grid(ProcessSetup(log_dir), PLAN, ray.put(DATA.search), SLOT))

    expected = ChildTrainer(TASK.passes(DATA.search, CPU)).train(build, 5, learning_rate=0.07)
    assert result.validations == expected.validations
    assert result.reward == expected.reward
    log = (log_dir / "grid-c0ffee.log").read_text()
    assert "epoch 1 of 2: loss" in log
    assert "epoch 2 of 2: loss" in log


def test_process_that_trains_one_after_the_other_logs_each_by_its_name(log_dir):
    data = ray.put(DATA.search)
    for name in ("grid-1", "grid-2", "grid-3"):
        results(begin_in_grid(ProcessSetup(log_dir), replace(PLAN, name=name), data, SLOT))
    for name in ("grid-1", "grid-2", "grid-3"):
        assert (log_dir / f"{name}.log").read_text().count("epoch 1 of 2") == 1, name


def test_final_training_tells_every_epoch_and_what_came_of_it(log_dir):
    *progress, (result, weights) = results(final(log_dir))

    trainer = FinalTrainer(TASK.passes(DATA.search.with_validation(), CPU), CONVERGENCE, 4)
    epochs = trainer.train(build, 5, DATA.test, learning_rate=0.07)
    losses = []
    try:
        while True:
            losses.append(next(epochs).loss)
    except StopIteration as ended:
        expected, expected_weights = ended.value
    assert progress == [FinalProgress(n, loss, None) for n, loss in enumerate(losses, start=1)]
    assert (result.losses, result.test) == (expected.losses, expected.test)
    assert all(np.array_equal(weights[n], values) for n, values in expected_weights.items())


def test_final_training_goes_on_from_a_snapshot_in_another_process(log_dir):
    *progress, (whole, _) = results(final(log_dir, every_s=0.0))
    assert all(each.snapshot for each in progress)

    *rest, (result, _) = results(final(log_dir, snapshot=progress[0].snapshot))

    assert [each.epoch for each in rest] == [each.epoch for each in progress[1:]]
    assert (result.losses, result.test) == (whole.losses, whole.test)


def test_final_training_with_a_broken_snapshot_begins_anew(log_dir):
    *progress, (result, _) = results(final(log_dir, snapshot=b"broken"))
    assert progress[0].epoch == 1
    assert result.state == "completed"
    assert "the training begins anew" in (log_dir / "final-c0ffee.log").read_text()
