"""Processes that are looked after: who is replaced, how often, and when it is given up."""

from __future__ import annotations

import threading
import time

import pytest
import ray
from support.actors import START_S, Living, Unborn, kill, pid_of
from support.clock import FakeClock
from support.runs import is_alive
from support.waiting import wait_until

from workers.pulse import START_TIMEOUT_S
from workers.remote import THIS_MACHINE, control, spawn
from workers.supervisor import (
    BACKOFF_S,
    EARLY_S,
    MAX_EARLY_DEATHS,
    MAX_FAILED_STARTS,
    ProcessFailed,
    Supervisor,
)

pytestmark = pytest.mark.usefixtures("cluster")

DEAD = "the process died and is replaced: The actor died unexpectedly before finishing this task."


class Working(Living):
    """Works until it is told to end, in one way or another."""

    def __init__(self):
        self._is_over = threading.Event()
        self._error = None

    def work(self):
        self._is_over.wait()
        if self._error is not None:
            raise self._error

    @control
    def end(self, error=None):
        self._error = error
        self._is_over.set()


class Starved(Working):
    def work(self):
        super().work()
        raise ray.exceptions.OutOfMemoryError("the node is out of memory")


class Gone(Exception):
    """What another process in its place may not meet."""


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def said():
    return []


@pytest.fixture
def supervisor(said, clock):
    return Supervisor(said.append, clock)


@pytest.fixture
def start(supervisor):
    """Give a function that has a process looked after, whose work begins at once."""
    started = []

    def begin(kind=Working, **options):
        options.setdefault("work", lambda actor: actor.work.remote())
        is_restarted = options.get("is_restarted", False)
        process = supervisor.start(
            "the process", lambda: spawn(kind, is_restarted=is_restarted), **options
        )
        started.append(process)
        process.work()
        return process

    yield begin
    for process in started:
        process.kill()


def check_until(supervisor, condition, what):
    deadline = time.monotonic() + START_S
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {START_S} s"
        supervisor.check(wait_s=0.05)


def failure_of(supervisor):
    with pytest.raises(ProcessFailed) as caught:
        check_until(supervisor, lambda: False, "the failure")
    return str(caught.value)


def test_process_that_dies_is_replaced_and_begins_its_work_again(supervisor, start, said):
    process = start()
    before = kill(process.actor)

    check_until(supervisor, lambda: said, "the death")

    assert said == [DEAD]
    assert pid_of(process.actor) != before
    assert not process.has_returned
    ray.get(process.actor.end.remote())
    check_until(supervisor, lambda: process.has_returned, "the end of the work")


def test_process_that_answers_calls_alone_is_replaced_too(supervisor, start, clock, said):
    process = start(Living, work=None)
    pid_of(process.actor)
    supervisor.check()
    before = kill(process.actor)

    # Its pulse is not felt all the time, and whether the last answer is taken already is open.
    check_until(supervisor, lambda: said or clock.advance(0.05), "the death")

    assert pid_of(process.actor) != before


def test_process_that_ray_restarts_keeps_its_handle(supervisor, start, clock, said):
    process = start(Living, work=None, is_restarted=True)
    handle = process.actor
    pid_of(handle)
    supervisor.check()
    before = kill(handle)
    clock.advance(10)

    check_until(supervisor, lambda: said or clock.advance(0.05), "the death")

    now = pid_of(handle)
    assert said == [
        f"the process died and was restarted: process {now} is in the place of process {before}"
    ]
    assert process.actor is handle


def test_work_that_has_returned_is_begun_again_when_asked_for(supervisor, start):
    process = start()
    ray.get(process.actor.end.remote())
    check_until(supervisor, lambda: process.has_returned, "the end of the work")
    process.work()
    assert not process.has_returned
    check_until(supervisor, lambda: process.has_returned, "its end once more")


@pytest.mark.parametrize("start_s", [1, 2 * EARLY_S])
def test_process_that_cannot_be_constructed_is_given_up_after_three_attempts(
    supervisor, start, clock, said, start_s
):
    process = start(Unborn, work=None)
    for number in range(1, MAX_FAILED_STARTS):
        clock.advance(start_s)
        check_until(supervisor, lambda number=number: len(said) == number, "a failure to start")
        clock.advance(BACKOFF_S)
        check_until(supervisor, lambda: process.actor is not None, "another attempt")
    clock.advance(start_s)

    assert failure_of(supervisor) == (
        "the process: its process could not start 3 times; RuntimeError: children.num_gpus=1: no "
        "CUDA device; see its log in the run directory, and dmesg if memory may have run out"
    )


class Slow(Living):
    """Cannot be constructed for a long time."""

    def __init__(self):
        threading.Event().wait()


def test_process_that_does_not_start_in_time_is_given_up_after_three_attempts(
    supervisor, start, clock, said
):
    start(Slow, work=None)
    for _ in range(MAX_FAILED_STARTS - 1):
        clock.advance(START_TIMEOUT_S + 1)
        supervisor.check()
    clock.advance(START_TIMEOUT_S + 1)
    with pytest.raises(ProcessFailed, match="could not start 3 times; no answer within 180 s"):
        supervisor.check()
    assert len(said) == MAX_FAILED_STARTS - 1


def test_process_for_which_no_node_has_room_is_waited_for_and_said_so(
    supervisor, start, clock, said
):
    room = []
    process = start(Slow, work=None, has_room=lambda: bool(room))
    for _ in range(MAX_FAILED_STARTS + 1):
        clock.advance(START_TIMEOUT_S + 1)
        supervisor.check()
    assert said == ["the process waits: no node has had room for it so far"] * (
        MAX_FAILED_STARTS + 1
    )
    assert process.actor is not None
    assert not supervisor.deaths
    room.append("there")
    for _ in range(MAX_FAILED_STARTS - 1):
        clock.advance(START_TIMEOUT_S + 1)
        supervisor.check()
    clock.advance(START_TIMEOUT_S + 1)
    with pytest.raises(ProcessFailed, match="could not start 3 times"):
        supervisor.check()


def let_time_pass(supervisor, clock, seconds=BACKOFF_S):
    """Let so much time pass with each look."""
    check = supervisor.check

    def pass_and_check(wait_s=0.0):
        clock.advance(seconds)
        check(wait_s)

    supervisor.check = pass_and_check


def die_soon(supervisor, process, said):
    number = len(said)
    check_until(supervisor, lambda: process.actor is not None, "another in its place")
    kill(process.actor)
    check_until(supervisor, lambda: len(said) > number, "the death")


def test_process_that_dies_young_again_and_again_is_given_up(
    supervisor, start, clock, said, monkeypatch
):
    monkeypatch.setattr("workers.supervisor.MAX_EARLY_DEATHS", 4)
    assert MAX_EARLY_DEATHS > 4
    process = start()
    let_time_pass(supervisor, clock)
    for _ in range(3):
        die_soon(supervisor, process, said)
    check_until(supervisor, lambda: process.actor is not None, "another in its place")
    kill(process.actor)
    assert failure_of(supervisor).startswith(
        "the process: its process died 4 times soon after its start; The actor died unexpectedly"
    )


def test_deaths_are_counted_from_one_again_after_a_trial_was_recorded(
    supervisor, start, clock, said, monkeypatch
):
    monkeypatch.setattr("workers.supervisor.MAX_EARLY_DEATHS", 2)
    process = start()
    for _ in range(3):
        die_soon(supervisor, process, said)
        supervisor.forgive()


def test_deaths_of_processes_that_had_lived_for_long_are_not_counted(
    supervisor, start, clock, said, monkeypatch
):
    monkeypatch.setattr("workers.supervisor.MAX_EARLY_DEATHS", 2)
    process = start()
    for _ in range(3):
        pid_of(process.actor)
        supervisor.check()  # it has answered
        clock.advance(EARLY_S)
        die_soon(supervisor, process, said)


def test_second_early_death_is_followed_by_a_wait(supervisor, start, clock, said):
    process = start()
    die_soon(supervisor, process, said)
    assert process.actor is not None  # at once after the first
    die_soon(supervisor, process, said)
    assert process.actor is None

    supervisor.check()
    assert process.actor is None
    clock.advance(BACKOFF_S)
    supervisor.check()
    assert process.actor is not None
    assert not process.has_returned


def test_error_that_another_process_may_not_meet_is_a_death(supervisor, start, said):
    process = start(retry_on=(Gone,))
    before = pid_of(process.actor)
    ray.get(process.actor.end.remote(Gone("the folder was taken over")))

    check_until(supervisor, lambda: said, "the death")

    assert said == ["the process died and is replaced: the folder was taken over"]
    assert pid_of(process.actor) != before
    wait_until(lambda: not is_alive(before), "the end of the one before")


def test_any_other_error_of_a_process_ends_the_search_with_its_name_and_text(supervisor, start):
    process = start(retry_on=(Gone,))
    ray.get(process.actor.end.remote(ValueError("the gradient is not finite")))
    assert failure_of(supervisor) == "the process: ValueError: the gradient is not finite"


def test_process_that_is_killed_on_purpose_is_not_replaced(supervisor, start, clock, said):
    process = start()
    pid = pid_of(process.actor)
    process.kill()
    wait_until(lambda: not is_alive(pid), "the end of the process")
    clock.advance(1e6)
    supervisor.check()
    assert process.actor is None
    assert said == []


def test_deaths_are_counted_by_name_also_of_those_that_were_ended(supervisor, start):
    first, second = start(), start()
    kill(first.actor)
    check_until(supervisor, lambda: first.num_deaths, "the death")
    assert supervisor.deaths == {"the process": 1}
    supervisor.end(first)
    assert supervisor.deaths == {"the process": 1}
    kill(second.actor)
    check_until(supervisor, lambda: second.num_deaths, "the other death")
    assert supervisor.deaths == {"the process": 2}


def test_process_that_is_ended_is_not_looked_after_any_more(supervisor, start, clock, said):
    process = start()
    pid = pid_of(process.actor)
    supervisor.end(process)
    wait_until(lambda: not is_alive(pid), "its end", START_S)
    clock.advance(START_TIMEOUT_S)
    supervisor.check()
    assert (process.actor, supervisor._processes, said) == (None, [], [])


def test_process_that_ray_killed_because_memory_ran_out_is_replaced(supervisor, start, said):
    process = start(Starved)
    before = process.actor
    ray.get(before.end.remote())
    check_until(supervisor, lambda: said, "the death")
    assert said == ["the process died and is replaced: the node is out of memory"]
    assert process.actor is not before


def test_look_at_nothing_takes_as_long_as_it_may(supervisor):
    began = time.monotonic()
    supervisor.check(wait_s=0.2)
    assert time.monotonic() - began >= 0.2


def test_process_whose_node_is_gone_before_it_starts_is_replaced(supervisor, said):
    places = iter(["0" * 56, THIS_MACHINE])  # the id of no node
    process = supervisor.start(
        "the process", lambda: spawn(Working, place=next(places)), lambda actor: actor.work.remote()
    )
    process.work()
    check_until(supervisor, lambda: said, "the death")
    assert said[0].startswith("the process died and is replaced: ")
    assert is_alive(pid_of(process.actor))
    process.kill()
