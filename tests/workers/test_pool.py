"""The pool on real Ray actors: who trains what, and what a death costs."""

import os

import pytest
import ray

from child.convolutional.architecture import ConvolutionalArchitecture
from child.convolutional.layer import Convolution, Layer
from child.result import TrialResult
from controller.replica import Child
from workers.pool import ChildPool
from workers.remote import result_of, spawn, summary_of


class Worker:
    """Takes the place of a child worker; dies at some trials as often as it is told to."""

    def __init__(self, deaths_dir, deadly):
        self._deaths_dir = deaths_dir
        self._deadly = deadly

    def is_ready(self):
        return True

    def train(self, child, is_alone):
        marks = list(self._deaths_dir.glob(f"{child.trial}-*"))
        if len(marks) < self._deadly.get(child.trial, 0):
            (self._deaths_dir / f"{child.trial}-{len(marks)}").touch()
            os._exit(1)
        return TrialResult("completed", 0.5, (0.5,), 0.5, child.seed, 0.0)


pytestmark = pytest.mark.usefixtures("cluster")


def children(number):
    architecture = ConvolutionalArchitecture((Layer(Convolution(3, 3, 4)),))
    return [Child(t, architecture, seed=100 + t) for t in range(1, number + 1)]


def pool(deaths_dir, deadly):
    return ChildPool(lambda: spawn(Worker, deaths_dir, deadly), num_workers=2, max_deaths=2)


def test_every_child_is_trained_once_by_fewer_workers_than_children(tmp_path):
    results = list(pool(tmp_path, {}).train(children(7)))
    assert sorted(trial for trial, _ in results) == list(range(1, 8))
    assert all(result.num_parameters == 100 + trial for trial, result in results)


def test_trials_whose_workers_died_are_trained_again_until_the_limit(tmp_path):
    # Trial 1 loses one worker, trial 2 two, which is the limit.
    used = pool(tmp_path, {1: 1, 2: 2})
    results = dict(used.train(children(3)))
    assert len(list(tmp_path.iterdir())) == 3, "a death did not happen"
    assert {t: r.state for t, r in results.items()} == {
        1: "completed",
        2: "infeasible",
        3: "completed",
    }
    assert results[2].reward == 0
    assert results[2].reason == "its worker died 2 times"
    # The pool is whole again.
    assert len(list(used.train(children(3)))) == 3


def test_error_of_a_worker_comes_through_as_it_was(tmp_path):
    with pytest.raises(ValueError, match="could not convert"):
        result_of(spawn(Failing).fail.remote(), timeout_s=30)


def test_error_of_a_constructor_is_summed_up_in_what_it_raised():
    with pytest.raises(ray.exceptions.RayActorError) as caught:
        result_of(spawn(Broken).is_ready.remote(), timeout_s=30)
    assert summary_of(caught.value) == "RuntimeError: children.num_gpus=1: no CUDA device"


def test_worker_that_cannot_be_constructed_is_no_trials_fault(tmp_path):
    kinds = iter([Worker, Broken])
    used = ChildPool(lambda: spawn(next(kinds), tmp_path, {1: 1}), num_workers=1, max_deaths=3)
    with pytest.raises(ray.exceptions.RayActorError, match="no CUDA device"):
        list(used.train(children(1)))


def test_worker_whose_child_raises_ends_the_round_with_its_error(tmp_path):
    used = ChildPool(lambda: spawn(Failing), num_workers=1, max_deaths=3)
    with pytest.raises(ValueError, match="could not convert"):
        list(used.train(children(1)))


def test_workers_that_do_not_get_ready_are_named_with_the_time(monkeypatch):
    monkeypatch.setattr("workers.pool.READY_TIMEOUT_S", 0.5)
    # Ray grants no worker the processor that it asks for: there are two.
    with pytest.raises(TimeoutError, match=r"1 child workers: not ready within 0\.5 s"):
        ChildPool(lambda: spawn(Worker, None, {}, num_cpus=3), num_workers=1, max_deaths=3)


class Crowded:
    """Has memory for trial 1 only when alone, for trial 2 never, for all others always."""

    def is_ready(self):
        return True

    def train(self, child, is_alone):
        if child.trial == 2 or (child.trial == 1 and not is_alone):
            reason = f"no memory, alone: {is_alone}"
            return TrialResult("infeasible", 0.0, (), None, 0, 0.0, reason, is_out_of_memory=True)
        return TrialResult("completed", 0.5, (0.5,), 0.5, int(is_alone), 0.0)


def test_child_that_runs_out_of_the_memory_of_a_shared_gpu_is_tried_once_more_alone():
    used = ChildPool(lambda: spawn(Crowded), num_workers=2, max_deaths=3, shares_gpu=True)

    results = dict(used.train(children(3)))

    assert {t: (r.state, r.num_parameters) for t, r in results.items()} == {
        1: ("completed", 1),
        2: ("infeasible", 0),
        3: ("completed", 0),
    }
    assert results[2].reason == "no memory, alone: True"


def test_child_that_runs_out_of_the_memory_of_its_own_device_is_infeasible_at_once():
    used = ChildPool(lambda: spawn(Crowded), num_workers=1, max_deaths=3)

    assert dict(used.train(children(1)))[1].reason == "no memory, alone: False"


class Failing:
    def is_ready(self):
        return True

    def train(self, child, is_alone):
        self.fail()

    def fail(self):
        raise ValueError("could not convert")


class Broken(Worker):
    def __init__(self, *_):
        raise RuntimeError("children.num_gpus=1: no CUDA device")
