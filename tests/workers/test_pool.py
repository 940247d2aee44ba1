"""The pool on real Ray actors: who trains what, and what deaths and changes of its size cost."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
import ray
from support.actors import START_S, Living, Unborn, pid_of
from support.clock import FakeClock
from support.runs import is_alive
from support.waiting import wait_until

from child.convolutional.architecture import ConvolutionalArchitecture
from child.convolutional.layer import Convolution, Layer
from child.result import TrialResult
from controller.children import Child
from workers.pool import GRACE_S, UNBORN_WAIT_S, UNPLACED_WAIT_S, ChildPool, PoolStatus
from workers.pulse import FROZEN_AFTER_S, PING_EVERY_S
from workers.remote import THIS_MACHINE, control, result_of, spawn, summary_of
from workers.slots import Slot

pytestmark = pytest.mark.usefixtures("cluster")


SLOT = Slot("here", num_cpus=1.0, num_gpus=0.0)
SHARED = Slot("here", num_cpus=1.0, num_gpus=0.5)


class Worker(Living):
    """Takes the place of a child worker.

    Notes in a folder what it begins; dies at some trials as often as it is told to; waits at some
    until their name is in the folder.
    """

    def __init__(self, folder, deadly=None, slow=()):
        self._folder = folder
        self._deadly = deadly or {}
        self._slow = slow

    @control
    def seconds(self):
        file = self._folder / "seconds"
        return float(file.read_text()) if file.exists() else 0.0

    def train(self, child, is_alone):
        number = len(list(self._folder.glob(f"begun-{child.trial}-*")))
        (self._folder / f"begun-{child.trial}-{os.getpid()}").touch()
        if number < self._deadly.get(child.trial, 0):
            os._exit(1)
        if child.trial in self._slow:
            wait_until((self._folder / f"end-{child.trial}").exists, "the end", timeout_s=60)
        return TrialResult("completed", 0.5, (0.5,), 0.5, child.seed, 0.0)


class Notes:
    """What workers have noted in their folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def begun(self):
        """Give (trial, process) of every training that has begun."""
        marks = [path.name.split("-")[1:] for path in self.folder.glob("begun-*")]
        return sorted((int(trial), int(pid)) for trial, pid in marks)

    def trials(self):
        return [trial for trial, _ in self.begun()]

    def end(self, *trials):
        """Let slow trials end."""
        for trial in trials:
            (self.folder / f"end-{trial}").touch()


@pytest.fixture
def notes(tmp_path):
    return Notes(tmp_path)


@pytest.fixture
def make(tmp_path):
    """Give a function that makes a pool of so many workers; these end after the test."""
    pools = []

    def pool(number, kind=Worker, *arguments, max_deaths=2, slot=SLOT, **options):
        arguments = arguments or (tmp_path,)
        slots = number if isinstance(number, Counter) else Counter({slot: number})
        pools.append(ChildPool(lambda _: spawn(kind, *arguments), slots, max_deaths, **options))
        return pools[-1]

    yield pool
    for pool in pools:
        for worker in pool._workers:
            ray.kill(worker.actor)


def child(trial):
    architecture = ConvolutionalArchitecture((Layer(Convolution(3, 3, 4)),))
    return Child(trial, architecture, seed=100 + trial)


def begin(pool, *trials):
    for trial in trials:
        pool.train(child(trial))


def advance(pool, condition, what):
    """Take in what ends until the condition holds; give all results meanwhile."""
    deadline, results = time.monotonic() + START_S, []
    while not condition(results):
        assert time.monotonic() < deadline, f"{what}: not within {START_S} s; so far: {results}"
        results += pool.ended()
    return results


def trained(pool, *trials):
    """Train children, and give their results by trial."""
    begin(pool, *trials)
    results = advance(pool, lambda results: len(results) >= len(trials), f"{len(trials)} results")
    assert sorted(trial for trial, _ in results) == sorted(trials)
    return dict(results)


def warm_up(pool, number):
    advance(pool, lambda _: pool.status.ready.total() == number, f"{number} workers that are ready")


def test_every_child_is_trained_once_by_fewer_workers_than_children(make, notes):
    results = trained(make(2), *range(1, 8))
    assert all(result.num_parameters == 100 + trial for trial, result in results.items())
    assert notes.trials() == [1, 2, 3, 4, 5, 6, 7]


def test_trials_whose_workers_died_are_trained_again_until_the_limit(make, notes, tmp_path):
    # Trial 1 loses one worker, trial 2 two, which is the limit.
    pool = make(2, Worker, tmp_path, {1: 1, 2: 2})
    results = trained(pool, 1, 2, 3)
    assert notes.trials() == [1, 1, 2, 2, 3]
    assert {t: r.state for t, r in results.items()} == {
        1: "completed",
        2: "infeasible",
        3: "completed",
    }
    assert results[2].reward == 0
    assert results[2].reason == "its worker died 2 times"
    # The pool is whole again.
    assert set(trained(pool, 4, 5)) == {4, 5}
    warm_up(pool, 2)


def test_worker_that_dies_while_it_trains_nothing_is_replaced_at_no_trials_cost(make, notes):
    clock = FakeClock()
    pool = make(1, max_deaths=1, clock=clock)
    warm_up(pool, 1)
    [before] = [pid_of(worker.actor) for worker in pool._workers]
    os.kill(before, signal.SIGKILL)
    clock.advance(PING_EVERY_S)  # its pulse is not felt all the time
    advance(pool, lambda _: pool.status.ready.total() == 0, "a death that is noticed")
    assert pool.status == PoolStatus(Counter({SLOT: 1}), Counter(), Counter())
    assert pool.num_deaths == 1

    assert trained(pool, 1)[1].state == "completed"
    assert before not in [pid for _, pid in notes.begun()]


def test_worker_that_is_frozen_is_killed_and_its_trial_trained_by_another(make, notes, tmp_path):
    clock = FakeClock()
    pool = make(1, Worker, tmp_path, {}, [1], clock=clock)
    warm_up(pool, 1)
    begin(pool, 1)
    wait_until(notes.begun, "a child in training")
    [(_, frozen)] = notes.begun()
    os.kill(frozen, signal.SIGSTOP)
    clock.advance(PING_EVERY_S)
    pool.ended()  # asks, and is not answered
    clock.advance(FROZEN_AFTER_S)
    pool.ended()
    assert is_alive(frozen)
    notes.end(1)

    clock.advance(0.1)
    results = advance(pool, bool, "the result of another worker")

    assert [(trial, result.state) for trial, result in results] == [(1, "completed")]
    assert len(notes.begun()) == 2
    wait_until(lambda: not is_alive(frozen), "the end of the frozen process", timeout_s=20)


def test_pool_that_is_made_larger_trains_more_at_once_without_waiting(make, notes, tmp_path):
    pool = make(1, Worker, tmp_path, {}, [1, 2])
    begin(pool, 1, 2)
    advance(pool, lambda _: notes.trials() == [1], "the first child in training")
    assert pool.num_workers == 1

    pool.resize(Counter({SLOT: 2}))
    advance(pool, lambda _: notes.trials() == [1, 2], "both in training, and none ended")

    assert pool.num_workers == 2
    notes.end(1, 2)
    advance(pool, lambda results: len(results) == 2, "both results")


def test_pool_that_is_made_smaller_lets_those_in_training_finish(make, notes, tmp_path):
    pool = make(2, Worker, tmp_path, {}, [1, 2])
    begin(pool, 1, 2, 3, 4)
    advance(pool, lambda _: notes.trials() == [1, 2], "two children in training")

    pool.resize(Counter({SLOT: 1}))
    pool.ended()
    assert len(pool._workers) == 2
    # The other is one too many.
    assert (pool.status.wanted, pool.status.ready) == (Counter({SLOT: 1}), Counter({SLOT: 1}))
    assert pool.status.num_leaving == 1
    notes.end(1)
    results = advance(pool, bool, "the first result")
    assert pool.ended() == []
    assert notes.trials() == [1, 2]
    notes.end(2)
    results += advance(pool, lambda results: len(results) == 3, "all results")

    assert {result.state for _, result in results} == {"completed"}
    assert notes.trials() == [1, 2, 3, 4]  # none was begun twice
    assert pool.status == PoolStatus(Counter({SLOT: 1}), Counter({SLOT: 1}), Counter())
    # Those that were begun later had the worker that stayed.
    assert len({pid for trial, pid in notes.begun() if trial > 2}) == 1


def test_pool_that_is_to_have_no_workers_finishes_what_trains_and_begins_nothing(
    make, notes, tmp_path
):
    pool = make(1, Worker, tmp_path, {}, [1])
    begin(pool, 1, 2)
    advance(pool, lambda _: notes.trials() == [1], "a child in training")

    pool.resize(Counter())
    assert pool.num_workers == 1  # the one that trains still
    notes.end(1)
    results = advance(pool, bool, "its result")
    assert [trial for trial, _ in results] == [1]
    pool.ended()

    assert pool.num_workers == 0
    assert pool.status == PoolStatus(Counter(), Counter(), Counter())
    pool.resize(Counter({SLOT: 1}))  # and back
    assert [t for t, _ in advance(pool, bool, "what waited")] == [2]


def test_pool_without_workers_notices_within_a_second_that_it_got_some(make, monkeypatch):
    monkeypatch.setattr("workers.pool.WAIT_S", 30.0)
    pool = make(0)
    begin(pool, 1)
    threading.Timer(0.2, pool.resize, [Counter({SLOT: 1})]).start()
    began = time.monotonic()
    assert pool.ended() == []
    assert time.monotonic() - began < 5


def test_child_that_is_forgotten_is_never_begun_and_one_in_training_ends(make, notes, tmp_path):
    pool = make(1, Worker, tmp_path, {}, [1])
    begin(pool, 1, 2, 3)
    advance(pool, lambda _: notes.trials() == [1], "a child in training")
    pool.forget({1, 2})
    notes.end(1)
    results = advance(pool, lambda results: len(results) == 2, "two results")
    assert [trial for trial, _ in results] == [1, 3]
    assert notes.trials() == [1, 3]


def test_status_says_which_child_trains_where_and_for_how_long(make, notes, tmp_path):
    clock = FakeClock()
    pool = make(2, Worker, tmp_path, {}, [1], clock=clock)
    warm_up(pool, 2)
    begin(pool, 1)
    clock.advance(2.5)
    advance(pool, lambda _: all(worker.device for worker in pool._workers), "their devices")
    [pid] = [pid for _, pid in notes.begun()]
    assert pool.status.training == ((1, f"host: cpu {pid}", 2.5),)
    notes.end(1)
    advance(pool, bool, "the result")
    assert pool.status.training == ()


def test_status_counts_workers_that_start_until_they_can_train(make):
    pool = make(2)
    assert pool.status == PoolStatus(Counter({SLOT: 2}), Counter(), Counter({SLOT: 2}))
    warm_up(pool, 2)
    assert pool.status == PoolStatus(Counter({SLOT: 2}), Counter({SLOT: 2}), Counter())


class Failing(Living):
    def __init__(self, *_):
        pass

    def train(self, child, is_alone):
        self.fail()

    def fail(self):
        raise ValueError("could not convert")


def test_error_of_a_worker_comes_through_as_it_was():
    with pytest.raises(ValueError, match="could not convert"):
        result_of(spawn(Failing).fail.remote(), timeout_s=30)


def test_error_of_a_constructor_is_summed_up_in_what_it_raised():
    with pytest.raises(ray.exceptions.RayActorError) as caught:
        result_of(spawn(Unborn).ping.remote(), timeout_s=30)
    assert summary_of(caught.value) == "RuntimeError: children.num_gpus=1: no CUDA device"


def test_worker_that_cannot_be_constructed_leaves_the_others_alone_and_is_tried_again_later(
    tmp_path, notes
):
    kinds = iter([Worker, Unborn, Worker])
    clock = FakeClock()
    slots = Counter({SLOT: 2})
    pool = ChildPool(lambda _: spawn(next(kinds), tmp_path, {}), slots, max_deaths=3, clock=clock)
    deadline = time.monotonic() + START_S
    while len(pool._workers) > 1 or not pool.status.ready:
        assert time.monotonic() < deadline, "one that lives, and one that never did"
        pool.ended()
    assert set(trained(pool, 1)) == {1}
    assert len(pool._workers) == 1

    clock.advance(UNBORN_WAIT_S)
    warm_up(pool, 2)
    for worker in pool._workers:
        ray.kill(worker.actor)


def test_worker_that_cannot_be_constructed_is_no_trials_fault_and_its_reason_is_told(tmp_path):
    kinds = iter([Worker, Unborn, Worker])
    clock = FakeClock()
    slots = Counter({SLOT: 1})
    pool = ChildPool(
        lambda _: spawn(next(kinds), tmp_path, {1: 1}), slots, max_deaths=3, clock=clock
    )
    begin(pool, 1)
    assert advance(pool, lambda _: pool.status.unborn, "the reason") == []
    assert pool.status.unborn == "RuntimeError: children.num_gpus=1: no CUDA device"
    assert not pool.status.starting
    assert pool.num_workers == 0  # whoever has trials in flight gives them back
    pool.ended()
    assert pool._workers == []

    clock.advance(UNBORN_WAIT_S)
    [(trial, result)] = advance(pool, bool, "the result of a worker that was tried later")

    assert (trial, result.state) == (1, "completed")
    assert pool.status == PoolStatus(slots, slots, Counter())
    assert pool.num_workers == 1
    ray.kill(pool._workers[0].actor)


def test_worker_that_may_still_be_born_is_waited_for_before_the_reason_is_told(tmp_path):
    class Slow(Worker):
        def __init__(self, folder, *_):
            wait_until((folder / "born").exists, "its birth", timeout_s=60)
            super().__init__(folder)

    kinds = iter([Slow, Unborn, Unborn])
    clock, slots = FakeClock(), Counter({SLOT: 2})
    pool = ChildPool(lambda _: spawn(next(kinds), tmp_path, {}), slots, max_deaths=3, clock=clock)
    begin(pool, 1)
    advance(pool, lambda _: len(pool._workers) == 1, "the end of the one that is never born")
    assert (pool.status.unborn, pool.num_workers) == ("", 2)
    assert pool.status.starting == Counter({SLOT: 1})
    (tmp_path / "born").touch()
    assert [trial for trial, _ in advance(pool, bool, "the result of the other")] == [1]
    clock.advance(UNBORN_WAIT_S)
    advance(pool, lambda _: len(pool._workers) == 1, "another that is never born")
    assert pool.status.unborn == ""  # one can train
    ray.kill(pool._workers[0].actor)


def test_worker_whose_node_is_gone_is_tried_again_after_a_while(tmp_path):
    places = iter(["ab" * 28, THIS_MACHINE])
    clock, slots = FakeClock(), Counter({SLOT: 1})
    spawned = []

    def spawn_somewhere(_):
        spawned.append(spawn(Worker, tmp_path, place=next(places)))
        return spawned[-1]

    pool = ChildPool(spawn_somewhere, slots, max_deaths=3, clock=clock)
    advance(pool, lambda _: not pool._workers, "the end of the first")
    pool.ended()
    assert len(spawned) == 1
    assert not pool.status.unborn

    clock.advance(UNPLACED_WAIT_S)
    warm_up(pool, 1)
    ray.kill(spawned[1])


def test_workers_whose_slots_are_replaced_finish_their_child_before_others_are_started(
    make, notes, tmp_path
):
    pool = make(2, Worker, tmp_path, {}, [1, 2])
    begin(pool, 1, 2, 3)
    advance(pool, lambda _: notes.trials() == [1, 2], "two children in training")
    old = [worker.actor for worker in pool._workers]

    other = Slot("there", num_cpus=1.0, num_gpus=0.0)
    pool.resize(Counter({other: 1}))
    advance(pool, lambda _: pool.status.ready == Counter({other: 1}), "the new one")
    assert pool.status.num_leaving == 2
    results = advance(pool, bool, "the result of the child that waited")
    assert [trial for trial, _ in results] == [3]  # the new one has trained it
    notes.end(1, 2)
    results += advance(pool, lambda results: len(results) == 2, "the other results")
    pool.ended()

    assert sorted(trial for trial, _ in results) == [1, 2, 3]
    assert pool.status == PoolStatus(Counter({other: 1}), Counter({other: 1}), Counter())
    assert not {worker.actor for worker in pool._workers} & set(old)
    for actor in old:
        with pytest.raises(ray.exceptions.RayActorError):
            pid_of(actor)


def test_worker_whose_child_raises_ends_the_round_with_its_error(make):
    pool = make(1, Failing)
    begin(pool, 1)
    with pytest.raises(ValueError, match="could not convert"):
        advance(pool, bool, "the error")


class Crowded(Living):
    """Has memory for trial 1 only when alone, for trial 2 never, for all others always."""

    def __init__(self, _):
        pass

    def train(self, child, is_alone):
        if child.trial == 2 or (child.trial == 1 and not is_alone):
            reason = f"no memory, alone: {is_alone}"
            return TrialResult("infeasible", 0.0, (), None, 0, 0.0, reason, is_out_of_memory=True)
        return TrialResult("completed", 0.5, (0.5,), 0.5, int(is_alone), 0.0)


def test_child_that_runs_out_of_the_memory_of_a_shared_gpu_is_tried_once_more_alone(make):
    results = trained(make(2, Crowded, slot=SHARED), 1, 2, 3)

    assert {t: (r.state, r.num_parameters) for t, r in results.items()} == {
        1: ("completed", 1),
        2: ("infeasible", 0),
        3: ("completed", 0),
    }
    assert results[2].reason == "no memory, alone: True"


def test_child_that_runs_out_of_the_memory_of_its_own_device_is_infeasible_at_once(make):
    assert trained(make(1, Crowded), 1)[1].reason == "no memory, alone: False"


def test_child_that_hangs_over_its_time_is_infeasible_and_its_worker_is_replaced(make, notes):
    clock = FakeClock()
    pool = make(1, Worker, notes.folder, {}, (1,), time_limit_s=60.0, clock=clock)
    begin(pool, 1)
    advance(pool, lambda _: notes.trials() == [1], "the child that hangs")
    [(_, hanging)] = notes.begun()
    # It may have waited for the GPU for longer: its own time counts.
    clock.advance(500.0)
    (notes.folder / "seconds").write_text(str(60.0 + GRACE_S))
    for _ in range(5):
        assert pool.ended() == []

    (notes.folder / "seconds").write_text(str(61.0 + GRACE_S))
    [(trial, result)] = advance(pool, len, "the end of the child that hangs")
    assert (trial, result.state) == (1, "infeasible")
    assert result.reason == "time_limit_s=60: over, and it did not end; its process was ended"
    assert result.seconds == 61.0 + GRACE_S
    wait_until(lambda: not is_alive(hanging), "the end of its process")
    assert pool.num_deaths == 0
    (notes.folder / "seconds").unlink()
    assert trained(pool, 2)[2].state == "completed"


def test_what_a_worker_said_of_one_child_is_not_held_against_the_next(make, notes):
    clock = FakeClock()
    pool = make(1, Worker, notes.folder, {}, (1, 2), time_limit_s=60.0, clock=clock)
    begin(pool, 1)
    advance(pool, lambda _: notes.trials() == [1], "the first child")
    [worker] = pool._workers
    (notes.folder / "seconds").write_text("500")
    clock.advance(100.0)
    assert pool.ended() == []  # by which it has asked
    notes.end(1)
    ray.wait([worker.training], timeout=START_S)
    assert [trial for trial, _ in pool.ended()] == [1]
    (notes.folder / "seconds").unlink()

    begin(pool, 2)
    advance(pool, lambda _: notes.trials() == [1, 2], "the second child")
    clock.advance(100.0)  # in which it waited for the GPU
    for _ in range(3):
        assert pool.ended() == []
    notes.end(2)
    [(_, result)] = advance(pool, len, "the end of the second child")
    assert result.state == "completed"
