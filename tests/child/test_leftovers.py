"""However a child ends, nothing of it stays."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref

import pytest
import torch
from support.networks import Doing, Exploding, Linear, image_trainer, images_of, settings_of
from torch import nn


@pytest.fixture
def data():
    return images_of([0, 1] * 5)


@pytest.fixture(autouse=True)
def _older_objects_are_not_searched():
    # The libraries' objects would make each of many searches take a fifth of a second.
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


class Watched:
    """Builds children in cycles, with a function, and keeps none of them."""

    def __init__(self, build):
        self._build = build

    def __call__(self):
        child = self._build()
        child.itself = [child]
        self.end = weakref.ref(child)
        return child


def fail():
    raise KeyError("filter_heigth")


def live_tensors():
    gc.collect()
    return sum(issubclass(type(each), torch.Tensor) for each in gc.get_objects())


@pytest.mark.parametrize(
    ("build", "settings", "state"),
    [
        (Linear, settings_of(), "completed"),
        (lambda: Exploding(n=2), settings_of(), "infeasible"),
        (lambda: Doing(lambda: torch.empty(2**60)), settings_of(), "infeasible"),
        (Linear, settings_of(max_parameters=1), "infeasible"),
        (Linear, settings_of(time_limit_s=1e-9), "infeasible"),
    ],
    ids=["completed", "not finite", "out of memory", "too large", "too slow"],
)
def test_child_that_ended_is_gone(data, build, settings, state):
    watched = Watched(build)
    gc.disable()  # it is the trainer that has to look for cycles
    try:
        result = image_trainer(settings, data).train(watched, seed=0)
        assert result.state == state
        assert watched.end() is None
    finally:
        gc.enable()


def test_child_that_was_tested_is_gone(data):
    watched = Watched(Linear)

    image_trainer(settings_of(), data).test(watched, 0, data.validation)

    assert watched.end() is None


def test_child_whose_error_is_kept_is_gone(data):
    watched = Watched(lambda: Doing(fail))

    with pytest.raises(KeyError, match="filter_heigth") as caught:
        image_trainer(settings_of(), data).train(watched, seed=0)

    assert watched.end() is None
    assert caught.traceback[-1].name == "fail"


def test_child_whose_report_failed_is_gone(data):
    watched = Watched(Linear)

    with pytest.raises(KeyError, match="filter_heigth") as caught:
        image_trainer(settings_of(), data).train(watched, seed=0, report=lambda _: fail())

    assert watched.end() is None
    assert caught.traceback[-1].name == "fail"


def build_nth(n):
    """Build the n-th of many different children, of which every fifth fails."""
    network = nn.Sequential(
        nn.Conv2d(1, 2 + n, 1 + n % 2, padding=1), nn.BatchNorm2d(2 + n), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2 + n, 2),
    )  # fmt: skip
    return nn.Sequential(nn.Flatten(), Exploding(n=4)) if n % 5 == 4 else network


def test_fifty_children_leave_as_many_tensors_as_were_there_before(data):
    trainer = image_trainer(settings_of(), data)
    trainer.train(lambda: build_nth(0), seed=0)  # torch makes a few of its own, once
    before = live_tensors()

    states = [trainer.train(lambda n=n: build_nth(n), seed=n).state for n in range(50)]

    assert live_tensors() == before
    assert states.count("infeasible") == 10


GROWTH = """
import gc
from pathlib import Path
from statistics import median
import numpy as np
import torch
from torch import nn
from child.data.images import LabelledImages, TrainingData
from child.data.whitening import Whitening
from child.images.passes import ImagePasses
from child.images.training_settings import ImageTrainingSettings
from child.training import ChildTrainer

torch.set_num_threads(1)
gc.freeze()
images = np.random.default_rng(0).integers(0, 256, (64, 3, 16, 16), dtype=np.uint8)
part = LabelledImages(images, np.arange(64) % 10)
one = np.ones((3, 1, 1), np.float32)
data = TrainingData(part, part, 10, Whitening(one * 128, one / 64))
trainer = ChildTrainer(
    ImagePasses(ImageTrainingSettings(num_epochs=1), data, torch.device("cpu"))
)

def build(n):
    width = 16 + n % 25
    layers = [nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(width * 256, 512), nn.Linear(512, 10))

def resident_mb():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6

sizes = []
for n in range(100):
    trainer.train(lambda: build(n), seed=n)
    sizes.append(resident_mb())
print(median(sizes[25:50]), median(sizes[75:]))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads the process's size from /proc")
def test_process_does_not_grow_with_the_children_it_has_trained():
    run = subprocess.run(
        [sys.executable, "-c", GROWTH], capture_output=True, text=True, timeout=110, check=True
    )

    warm, after = map(float, run.stdout.split())
    # Between the two are fifty children, each of 8 to 20 MB of weights: 1 MB of each would show.
    assert after - warm < 50, f"{warm:.0f} MB after 50 children, {after:.0f} MB after 100"
