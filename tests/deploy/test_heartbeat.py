"""Signs of life, and how long whoever resumes a search waits for their end."""

from __future__ import annotations

import contextlib
import threading

import pytest
from support.clock import FakeClock
from support.waiting import wait_until

from child.metric import ACCURACY
from controller.baseline import Baseline
from controller.errors import LedgerUnavailable, StillAlive, Superseded
from controller.records import SearchRecord
from controller.schedule import ScheduleSettings
from controller.search_ledger import SearchLedger
from deploy.heartbeat import Heartbeat, await_silence


@pytest.fixture
def ledger(tmp_path):
    """The ledger of a search that nobody has run yet."""
    record = SearchRecord(3, Baseline(0.9), ScheduleSettings(), ACCURACY, {}, {})
    with SearchLedger.create(f"sqlite:///{tmp_path}/ledger.sqlite", record) as ledger:
        yield ledger


class Waiting:
    """Waits for a life to end by a clock that its sleep moves; what happens then is scheduled."""

    def __init__(self, ledger):
        self.clock = FakeClock(now=0.0)
        self.said = []
        self._ledger = ledger
        self._events = []

    def at(self, second, event):
        self._events.append((second, event))

    def run(self, is_stopping=lambda: False):
        return await_silence(self._ledger, self.said.append, is_stopping, self.clock, self._sleep)

    def _sleep(self, seconds):
        self.clock.advance(seconds)
        for event in [event for event in self._events if event[0] <= self.clock()]:
            self._events.remove(event)
            event[1]()


@pytest.fixture
def waiting(ledger):
    return Waiting(ledger)


def test_search_that_nobody_ran_is_not_waited_for(waiting):
    assert waiting.run() is None
    assert waiting.clock() == 0
    assert waiting.said == []


def test_life_that_has_ended_is_not_waited_for(waiting, ledger):
    ledger.end(ledger.begin_life("here", 7), "stopped")
    assert waiting.run() is None
    assert waiting.clock() == 0


def test_life_that_was_killed_is_over_after_ten_seconds_of_silence(waiting, ledger):
    life = ledger.begin_life("there", 7)
    ledger.beat(life)
    silent = waiting.run()
    assert waiting.clock() == 10
    assert (silent.life, silent.num_beats) == (life, 1)
    assert waiting.said == [
        "process 7 on there has not ended this search: waiting for a sign of its life, for 10 to "
        "30 s"
    ]
    # What it returns is what a new life is let in with.
    assert ledger.begin_life("here", 8, last=silent) == life + 1


def test_silence_is_counted_from_the_last_sign(waiting, ledger):
    life = ledger.begin_life("there", 7)
    waiting.at(6, lambda: ledger.beat(life))
    assert waiting.run().num_beats == 1
    assert waiting.clock() == 16


def test_life_that_ends_meanwhile_is_not_waited_for_any_longer(waiting, ledger):
    life = ledger.begin_life("there", 7)
    waiting.at(3, lambda: ledger.end(life, "stopped"))
    assert waiting.run() is None
    assert waiting.clock() == 3


def test_life_that_gives_signs_is_refused_after_thirty_seconds(waiting, ledger):
    life = ledger.begin_life("there", 7)
    for second in range(2, 60, 2):
        waiting.at(second, lambda: ledger.beat(life))
    with pytest.raises(
        StillAlive,
        match=r"run by process 7 on there, which gave a sign of life 0 s ago; .* nasrl stop",
    ):
        waiting.run()
    assert waiting.clock() == 30


def test_waiting_ends_when_told_to_stop(waiting, ledger):
    ledger.begin_life("there", 7)
    with pytest.raises(KeyboardInterrupt):
        waiting.run(is_stopping=lambda: waiting.clock() >= 2)
    assert waiting.clock() == 2


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr("deploy.heartbeat.BEAT_EVERY_S", 0.01)


def num_beats(ledger):
    return ledger.lives()[-1].num_beats


@pytest.mark.usefixtures("quick")
def test_search_gives_signs_until_it_ends_and_none_after(ledger):
    with Heartbeat(ledger, ledger.begin_life("here", 7)) as heartbeat:
        wait_until(lambda: num_beats(ledger) >= 3, "three beats")
        heartbeat.check()
    assert "heartbeat" not in [thread.name for thread in threading.enumerate()]


def is_superseded(heartbeat):
    with contextlib.suppress(Superseded):
        heartbeat.check()
        return False
    return True


@pytest.mark.usefixtures("quick")
def test_search_that_was_resumed_elsewhere_is_told_so_for_ever(ledger):
    life = ledger.begin_life("here", 7)

    def resume_elsewhere():
        with contextlib.suppress(StillAlive):  # a beat between the two calls
            return ledger.begin_life("there", 8, last=ledger.lives()[-1])

    with Heartbeat(ledger, life) as heartbeat:
        wait_until(resume_elsewhere, "a life between two beats")
        wait_until(lambda: is_superseded(heartbeat), "the end of the life before")
    with pytest.raises(Superseded, match="life 1 of the search: must be the newest, 2; "):
        heartbeat.check()


@pytest.mark.usefixtures("quick")
def test_ledger_that_is_away_for_a_while_does_not_end_the_signs(ledger, monkeypatch):
    life = ledger.begin_life("here", 7)
    failures = iter([LedgerUnavailable("the database is gone")] * 3)
    beat = ledger.beat

    def fail_at_first(life):
        for failure in failures:
            raise failure
        beat(life)

    monkeypatch.setattr(ledger, "beat", fail_at_first)
    with Heartbeat(ledger, life) as heartbeat:
        wait_until(lambda: num_beats(ledger) >= 1, "a beat after the failures")
        heartbeat.check()
    assert next(failures, None) is None, "the failures did not happen"
