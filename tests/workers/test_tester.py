"""The best network is tested although workers die."""

from __future__ import annotations

import os
import signal

import pytest
import ray
from support.actors import Living, Unborn
from support.children import completed

from child.trained import TrainedChild
from controller.children import Child
from workers.pulse import ProcessDied
from workers.remote import spawn
from workers.tester import train_and_test

pytestmark = pytest.mark.usefixtures("cluster")

CHILD = Child(3, "an architecture", 5)


class Mortal(Living):
    """Does to itself what the files of a folder say, one for each time; then tests."""

    def __init__(self, folder):
        self._folder = folder

    def test(self, child, data):
        for fate in sorted(self._folder.iterdir())[:1]:
            fate.unlink()
            os.kill(os.getpid(), signal.Signals[fate.suffix[1:]])
        assert child == CHILD
        return outcome(float(data))


def outcome(figure):
    return TrainedChild(completed(0.5), {}, figure)


def fate(folder, *names):
    for number, name in enumerate(names):
        (folder / f"{number}.{name}").touch()


def run(kind, *arguments, max_deaths=3, is_over=lambda: False):
    return train_and_test(lambda: spawn(kind, *arguments), CHILD, 0.25, max_deaths, is_over)


def test_network_is_tested_by_another_worker_if_one_is_killed(tmp_path):
    fate(tmp_path, "SIGKILL", "SIGKILL")
    assert run(Mortal, tmp_path) == outcome(0.25)
    assert list(tmp_path.iterdir()) == []


def test_network_whose_workers_are_all_killed_is_not_tested(tmp_path):
    fate(tmp_path, "SIGKILL", "SIGKILL", "SIGKILL")
    with pytest.raises((ProcessDied, ray.exceptions.RayActorError), match="died"):
        run(Mortal, tmp_path, max_deaths=2)
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.slow
def test_network_is_tested_by_another_worker_if_one_is_frozen(tmp_path):
    fate(tmp_path, "SIGSTOP")
    assert run(Mortal, tmp_path) == outcome(0.25)


class Untested(Unborn):
    def test(self, *_):
        raise AssertionError("it was never born")


def test_worker_that_cannot_be_constructed_is_not_tried_again():
    spawned = []

    def spawn_one():
        spawned.append(spawn(Untested))
        return spawned[-1]

    with pytest.raises((ProcessDied, ray.exceptions.RayActorError), match="no CUDA device"):
        train_and_test(spawn_one, CHILD, 0.25, 3, lambda: False)
    assert len(spawned) == 1


class Slow(Living):
    def test(self, *_):
        signal.pause()


def test_test_that_is_over_is_waited_for_no_more():
    looks = iter([False, False, True])
    with pytest.raises(KeyboardInterrupt):
        run(Slow, is_over=lambda: next(looks))
