"""Whether an actor lives: killed, frozen, never born, or only busy."""

from __future__ import annotations

import os
import re
import signal
import time
from datetime import datetime

import pytest
import ray
from support.actors import START_S, Living, Unborn, freeze, kill, pid_of
from support.clock import FakeClock
from support.runs import is_alive
from support.waiting import wait_until

from workers.process import ProcessSetup
from workers.pulse import FROZEN_AFTER_S, PING_EVERY_S, START_TIMEOUT_S, ProcessDied, Pulse
from workers.remote import spawn
from workers.supervisor import Supervisor

pytestmark = pytest.mark.usefixtures("cluster")


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def make(clock):
    """Give a function that starts an actor and feels its pulse."""
    actors = []

    def start(kind=Living, *arguments, is_restarted=False):
        actors.append(spawn(kind, *arguments, is_restarted=is_restarted))
        return actors[-1], Pulse(actors[-1], clock, is_restarted=is_restarted)

    yield start
    for actor in actors:
        ray.kill(actor)


def answer(pulse):
    """Wait until what the pulse asked last is answered, and have it take note of that."""
    assert ray.wait([pulse.pending], timeout=START_S)[0], "no answer"
    pulse.check()


def death_of(pulse):
    """Wait until the death of the actor is known, and give how it was told."""
    assert ray.wait([pulse.pending], timeout=START_S)[0], "no end"
    with pytest.raises(ProcessDied) as caught:
        pulse.check()
    return caught.value


def test_actor_that_answers_is_asked_again_after_three_seconds(make, clock):
    _, pulse = make()
    assert not pulse.has_answered
    answer(pulse)
    assert pulse.has_answered
    assert pulse.pending is None

    clock.advance(PING_EVERY_S - 0.1)
    pulse.check()
    assert pulse.pending is None
    clock.advance(0.1)
    pulse.check()
    assert pulse.pending is not None
    answer(pulse)


def test_actor_that_is_killed_is_known_to_be_dead_at_once(make, clock):
    actor, pulse = make()
    answer(pulse)
    clock.advance(PING_EVERY_S)
    kill(actor)
    pulse.check()

    died = death_of(pulse)

    assert not died.is_at_start
    assert "actor died" in str(died)
    assert not pulse.has_answered


def test_actor_that_is_frozen_is_killed_after_twelve_seconds_without_an_answer(make, clock):
    actor, pulse = make()
    answer(pulse)
    frozen = freeze(actor)
    clock.advance(PING_EVERY_S)
    pulse.check()

    clock.advance(FROZEN_AFTER_S)
    pulse.check()
    assert is_alive(frozen)
    clock.advance(0.1)
    with pytest.raises(ProcessDied, match="no answer within 12 s; killed") as caught:
        pulse.check()

    assert not caught.value.is_at_start
    wait_until(lambda: not is_alive(frozen), "the end of the frozen process", timeout_s=20)


class Waiting(Living):
    """Cannot be constructed for a long time."""

    def __init__(self):
        time.sleep(3600)


def test_actor_may_take_three_minutes_to_start(make, clock):
    _, pulse = make(Waiting)
    clock.advance(START_TIMEOUT_S)
    pulse.check()
    clock.advance(0.1)
    with pytest.raises(ProcessDied, match="no answer within 180 s; killed") as caught:
        pulse.check()
    assert caught.value.is_at_start


def test_actor_that_cannot_be_constructed_died_of_what_was_raised(make):
    _, pulse = make(Unborn)
    died = death_of(pulse)
    assert died.is_at_start
    assert str(died) == "RuntimeError: children.num_gpus=1: no CUDA device"
    assert died.__cause__.actor_init_failed


def test_actor_that_ray_killed_because_memory_ran_out_is_dead(make, clock, monkeypatch):
    _, pulse = make()
    answer(pulse)

    def fail(_):
        raise ray.exceptions.OutOfMemoryError("the node is out of memory")

    monkeypatch.setattr("workers.pulse.result_of", fail)
    clock.advance(PING_EVERY_S)
    pulse.check()
    died = death_of(pulse)
    assert str(died) == "the node is out of memory"
    assert not died.is_at_start


class Busy(Living):
    def work(self, seconds):
        """Keep the interpreter busy, as a child in training does."""
        ends_at = time.monotonic() + seconds
        while time.monotonic() < ends_at:
            pass
        return "worked"


def test_actor_that_is_busy_answers(make, clock):
    actor, pulse = make(Busy)
    answer(pulse)
    working = actor.work.remote(3)
    clock.advance(PING_EVERY_S)
    pulse.check()
    answer(pulse)
    assert not ray.wait([working], timeout=0)[0], "it was not busy any more"
    assert ray.get(working) == "worked"


def await_answer(pulse, clock, told=()):
    """Check until the actor answers after a death, and give the deaths that were told."""
    told = list(told)

    def has_answered():
        clock.advance(0.05)
        try:
            pulse.check()
        except ProcessDied as error:
            told.append((str(error), error.is_at_start))
        return told and pulse.has_answered

    wait_until(has_answered, "an answer after the death", timeout_s=START_S)
    return told


def test_actor_that_ray_restarts_is_dead_once_and_answers_again(make, clock):
    actor, pulse = make(is_restarted=True)
    answer(pulse)
    before = kill(actor)
    clock.advance(PING_EVERY_S)

    told = await_answer(pulse, clock)
    now = pid_of(actor)
    assert told == [(f"process {now} is in the place of process {before}", False)]


def test_actor_that_ray_restarts_and_nobody_reaches_is_killed_after_twelve_seconds(
    make, clock, monkeypatch
):
    actor, pulse = make(is_restarted=True)
    answer(pulse)
    before = pid_of(actor)
    clock.advance(PING_EVERY_S)
    pulse.check()

    def fail(_):
        raise ray.exceptions.ActorUnavailableError("the connection was given up", None)

    with monkeypatch.context() as patched:
        patched.setattr("workers.pulse.result_of", fail)
        for _ in range(24):
            if pulse.pending is not None:
                assert ray.wait([pulse.pending], timeout=START_S)[0]
            pulse.check()
            clock.advance(0.5)
        assert is_alive(before)
        clock.advance(0.1)
        with pytest.raises(ProcessDied, match="no answer within 12 s; killed") as caught:
            pulse.check()
    assert not caught.value.is_at_start
    assert len(await_answer(pulse, clock, [caught.value])) == 1
    assert pid_of(actor) != before


def test_actor_that_ray_restarts_is_killed_when_frozen_and_answers_again(make, clock):
    actor, pulse = make(is_restarted=True)
    answer(pulse)
    frozen = freeze(actor)
    clock.advance(PING_EVERY_S)
    pulse.check()
    clock.advance(FROZEN_AFTER_S + 0.1)
    with pytest.raises(ProcessDied, match="no answer within 12 s") as caught:
        pulse.check()
    assert len(await_answer(pulse, clock, [caught.value])) == 1
    assert pid_of(actor) != frozen


class Logging(Living):
    def __init__(self, folder):
        ProcessSetup(folder).enter("process")


def starts_in(folder):
    """Give when, and as which process, the logging actor of a folder began, each time."""
    text = (folder / "process.log").read_text()
    lines = re.findall(r"(\S+ \S+),\d+ INFO .*: process (\d+)", text)
    return [(datetime.fromisoformat(when).timestamp(), int(pid)) for when, pid in lines]


@pytest.mark.slow
def test_process_that_ray_restarted_and_that_froze_before_anybody_reached_it_is_killed(tmp_path):
    supervisor = Supervisor(lambda _: None)
    process = supervisor.start(
        "the process", lambda: spawn(Logging, tmp_path, is_restarted=True), is_restarted=True
    )
    kill(process.actor)
    wait_until(lambda: len(starts_in(tmp_path)) == 2, "another process", timeout_s=START_S)
    frozen_at = time.time()
    os.kill(starts_in(tmp_path)[1][1], signal.SIGSTOP)

    while len(starts_in(tmp_path)) < 3:
        assert time.time() < frozen_at + 60, "nobody has killed it"
        supervisor.check(wait_s=0.5)

    assert starts_in(tmp_path)[2][0] - frozen_at < 30
    process.kill()


@pytest.mark.slow
def test_process_that_is_stopped_by_a_signal_is_replaced_within_thirty_seconds(tmp_path):
    def starts():
        return starts_in(tmp_path)

    said = []
    supervisor = Supervisor(said.append)
    process = supervisor.start("the process", lambda: spawn(Logging, tmp_path))
    pid_of(process.actor)
    supervisor.check()
    frozen_at = time.time()
    os.kill(starts()[0][1], signal.SIGSTOP)

    while len(starts()) < 2:
        assert time.time() < frozen_at + 60, f"no other in its place; said: {said}"
        supervisor.check(wait_s=0.5)

    [(_, frozen), (replaced_at, other)] = starts()
    assert replaced_at - frozen_at < 30
    assert other != frozen
    assert said == ["the process died and is replaced: no answer within 12 s; killed"]
    wait_until(lambda: not is_alive(frozen), "the end of the frozen process", timeout_s=20)
    process.kill()
