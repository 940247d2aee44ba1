"""The ledger in another process: its errors arrive as they were, and its silence is waited out."""

from __future__ import annotations

import os
import signal
import threading

import pytest
import ray
from support.actors import START_S, freeze, kill, pid_of
from support.children import completed, start_of
from support.clock import FakeClock
from support.rounds import GRADIENT, ROUND, begin, record, record_one
from support.waiting import wait_until

from child.metric import ACCURACY
from controller.baseline import Baseline
from controller.errors import LedgerUnavailable, NotOwner, Superseded
from controller.ledger import Ledger
from controller.ledger_reader import LedgerReader
from controller.records import SearchRecord
from controller.schedule import ScheduleSettings
from controller.trial import Owner
from workers.ledger import LedgerProcess, spawn_ledger
from workers.process import ProcessSetup
from workers.remote import spawn
from workers.remote_ledger import BACKOFF_S, MAX_BACKOFF_S, PATIENCE_S, RemoteLedger

NUM_TRIALS = 6

pytestmark = pytest.mark.usefixtures("cluster")


@pytest.fixture
def make_url(tmp_path):
    """Give a function that makes the ledger of a search in its first life, and gives its URL."""

    def make(name):
        url = f"sqlite:///{tmp_path}/{name}.sqlite"
        search = SearchRecord(NUM_TRIALS, Baseline(0.9), ScheduleSettings(), ACCURACY, {}, {})
        with Ledger.create(url, search) as ledger:
            ledger.begin_life("here", 7)
        return url

    return make


@pytest.fixture
def url(make_url):
    return make_url("ledger")


class TestedLedger(LedgerProcess):
    """Dies once in the middle of a call, or fails at some, as the folder of its log says."""

    __test__ = False

    def __init__(self, setup, url):
        super().__init__(setup, url)
        self._folder = setup.log_dir

    def record(self, owner, results):
        recorded = super().record(owner, results)
        if self._takes("lose-the-answer"):
            os.kill(os.getpid(), signal.SIGKILL)
        return recorded

    def renew(self, owner):
        if self._takes("database-away"):
            raise LedgerUnavailable("the database is gone")
        super().renew(owner)

    def _takes(self, fault):
        """Tell whether a fault is due: one for each file of its name, which tells afterwards."""
        for file in self._folder.glob(f"{fault}-*"):
            file.rename(file.with_name(f"fault-{file.name}"))
            return True
        return False


@pytest.fixture
def actor(url, tmp_path):
    actor = spawn(TestedLedger, ProcessSetup(tmp_path), url, is_restarted=True)
    pid_of(actor)
    yield actor
    ray.kill(actor)


@pytest.fixture
def read(url):
    with LedgerReader(url) as reader:
        yield reader


def test_every_call_answers_as_a_ledger_in_this_process_does(actor, make_url):
    remote = RemoteLedger(actor)
    with Ledger(make_url("other")) as local:
        for ledger in (remote, local):
            assert ledger.enlist(0, 1).owner == Owner(0, 1)
            ledger.publish(1, 1, "127.0.0.1:7070")
        for method, call in ROUND.items():
            assert call(remote, Owner(0, 1)) == call(local, Owner(0, 1)), method
        assert remote.addresses() == local.addresses() == {1: "127.0.0.1:7070"}
        assert remote.newest(5) == local.newest(5) != []
        # A new life takes over the same.
        taken_over = remote.enlist(0, 1)
        assert (taken_over.owner, taken_over.open_push) == (Owner(0, 2), None)
        assert taken_over.unpushed == local.enlist(0, 1).unpushed


def test_reward_of_an_architecture_that_is_known_is_answered_where_it_is_asked_for(actor):
    ledger = RemoteLedger(actor)
    owner = ledger.enlist(0, 1).owner
    record(ledger, owner, [completed(0.5)])
    [place] = ledger.reserve(owner, 1)
    same = start_of(place.trial, size=start_of(1).decisions[1][1])
    assert ledger.start(owner, [same], reuse=True)[place.trial].reward == 0.5


def test_refusals_arrive_as_they_were(actor):
    ledger = RemoteLedger(actor)
    before = ledger.enlist(0, 1).owner
    begin(ledger, before, 1)
    owner = ledger.enlist(0, 1).owner
    with pytest.raises(Superseded, match="replica 0, incarnation 1: must be the newest, 2"):
        ledger.renew(before)
    with pytest.raises(NotOwner):
        ledger.start(owner, [start_of(1)])


def test_process_that_is_killed_is_restarted_and_has_all_that_was_answered(actor, read):
    ledger = RemoteLedger(actor)
    owner = ledger.enlist(0, 1).owner
    trials = record(ledger, owner, [completed(0.25), completed(0.75)])
    before = kill(actor)

    sequence = ledger.open_push(owner, trials, (1,), (1,), GRADIENT)

    assert sequence == 1
    assert pid_of(actor) != before
    assert [trial.reward for trial in read.trials()] == [0.25, 0.75]
    assert [push.trials for push in read.pushes()] == [(1, 2)]
    # The same life of the replica goes on.
    assert [place.trial for place in ledger.reserve(owner, 1)] == [3]


def test_process_that_dies_before_it_answers_is_asked_again_and_nothing_happens_twice(
    actor, read, tmp_path
):
    ledger = RemoteLedger(actor)
    owner = ledger.enlist(0, 1).owner
    begin(ledger, owner, 2)
    (tmp_path / "lose-the-answer-1").touch()

    first = record_one(ledger, owner, 1, completed(0.5))
    second = record_one(ledger, owner, 2, completed(1.0))

    assert len(list(tmp_path.glob("fault-*"))) == 1, "the answer was not lost"
    assert (first.reward, first.baseline) == (0.5, 0.0)
    # Had the first been recorded twice, the baseline had moved twice.
    assert second.baseline == read.trials()[1].baseline
    assert [trial.reward for trial in read.trials()] == [0.5, 1.0]


def test_process_that_is_frozen_for_a_while_is_waited_for(actor, monkeypatch, caplog):
    monkeypatch.setattr("workers.remote_ledger.ANSWER_TIMEOUT_S", 0.5)
    ledger = RemoteLedger(actor)
    owner = ledger.enlist(0, 1).owner
    frozen = freeze(actor)
    thaw = threading.Timer(1.5, os.kill, [frozen, signal.SIGCONT])
    thaw.start()

    assert [place.trial for place in ledger.reserve(owner, 1)] == [1]

    thaw.join()
    assert "waiting for the ledger" in caplog.text, "it was answered in time"
    assert pid_of(actor) == frozen


def test_database_that_is_away_for_a_while_is_waited_for(actor, tmp_path):
    slept = []
    ledger = RemoteLedger(actor, sleep=slept.append)
    owner = ledger.enlist(0, 1).owner
    for number in range(7):
        (tmp_path / f"database-away-{number}").touch()

    ledger.renew(owner)

    assert len(list(tmp_path.glob("fault-*"))) == 7
    doubled = [BACKOFF_S * 2**number for number in range(7)]
    assert slept == [min(each, MAX_BACKOFF_S) for each in doubled]
    assert slept[-1] == MAX_BACKOFF_S


def test_ledger_that_is_silent_for_ten_minutes_is_unavailable(actor, monkeypatch):
    clock = FakeClock()
    began = clock()
    ledger = RemoteLedger(actor, clock, clock.advance)
    owner = ledger.enlist(0, 1).owner
    monkeypatch.setattr("workers.remote_ledger.ANSWER_TIMEOUT_S", 0.0)
    monkeypatch.setattr("workers.remote_ledger.MAX_BACKOFF_S", 100.0)
    frozen = freeze(actor)
    with pytest.raises(LedgerUnavailable, match="the ledger did not answer for 600 s; "):
        ledger.renew(owner)
    assert PATIENCE_S < clock() - began < PATIENCE_S + 200
    os.kill(frozen, signal.SIGCONT)


def test_ledger_whose_process_is_ended_for_good_is_unavailable_at_once(actor):
    ledger = RemoteLedger(actor)
    owner = ledger.enlist(0, 1).owner
    ray.kill(actor)
    with pytest.raises(LedgerUnavailable, match=r"process died for good; .* is in the database"):
        ledger.renew(owner)


def test_ledger_of_a_search_is_restarted_whenever_it_dies(url, tmp_path):
    actor = spawn_ledger(ProcessSetup(tmp_path), url)
    ledger = RemoteLedger(actor)
    log = tmp_path / "ledger.log"
    for number in range(1, 4):
        assert ledger.enlist(0, 1).owner == Owner(0, number)
        processes = [int(line.split()[-1]) for line in log.read_text().splitlines()]
        assert len(processes) == number
        os.kill(processes[-1], signal.SIGKILL)
    wait_until(lambda: ledger.addresses() == {}, "an answer", timeout_s=START_S)
    ray.kill(actor)


def test_closed_ledger_leaves_its_database_in_one_file(actor, tmp_path):
    ledger = RemoteLedger(actor)
    ledger.enlist(0, 1)
    assert (tmp_path / "ledger.sqlite-wal").exists()
    ledger.close()
    assert not (tmp_path / "ledger.sqlite-wal").exists()
