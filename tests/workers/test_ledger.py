"""The ledger in another process: its errors arrive as they were, its silence as one of its own."""

import os

import pytest
import ray

from child.metric import ACCURACY
from controller.baseline import Baseline
from controller.errors import LedgerUnavailable, WrongState
from controller.ledger import Ledger
from controller.records import SearchRecord
from controller.schedule import ScheduleSettings
from workers.ledger import LedgerProcess, RemoteLedger
from workers.process import ProcessSetup
from workers.remote import spawn


@pytest.fixture
def actor(cluster, tmp_path):
    url = f"sqlite:///{tmp_path}/ledger.sqlite"
    Ledger.create(url, SearchRecord(3, Baseline(0.9), ScheduleSettings(), ACCURACY, {}, {})).close()
    actor = spawn(SlowLedger, ProcessSetup(tmp_path), url)
    yield actor
    ray.kill(actor)


class SlowLedger(LedgerProcess):
    def reserve(self, owner, num_trials):
        if num_trials == 13:
            os.kill(os.getpid(), 9)
        if num_trials == 14:
            import threading

            threading.Event().wait()
        return super().reserve(owner, num_trials)


def test_ledger_of_another_process_answers_and_refuses_as_its_own_would(actor):
    ledger = RemoteLedger(actor)
    owner = ledger.enlist(0)
    assert [place.trial for place in ledger.reserve(owner, 5)] == [1, 2, 3]
    with pytest.raises(WrongState, match="tested at most once"):
        ledger.record_test(99, 0.5)


def test_ledger_whose_process_dies_is_unavailable(actor):
    ledger = RemoteLedger(actor)
    owner = ledger.enlist(0)
    with pytest.raises(LedgerUnavailable, match="the ledger's process died"):
        ledger.reserve(owner, 13)


def test_ledger_that_does_not_answer_is_unavailable(actor, monkeypatch):
    ledger = RemoteLedger(actor)
    owner = ledger.enlist(0)  # its process is up from here on
    monkeypatch.setattr("workers.ledger.ANSWER_TIMEOUT_S", 1.0)
    with pytest.raises(LedgerUnavailable, match="did not answer within 1 s"):
        ledger.reserve(owner, 14)
