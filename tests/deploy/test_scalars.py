"""The figures of a search for TensorBoard."""

import math
from dataclasses import replace

import pytest
from support.children import completed, infeasible, start_of
from support.rounds import record
from support.waiting import wait_until
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from child.metric import ACCURACY
from controller.baseline import Baseline
from controller.ledger import Ledger
from controller.records import SearchRecord
from controller.schedule import ScheduleSettings
from deploy import scalars
from deploy.scalars import Scalars

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture
def ledger(tmp_path, monkeypatch):
    monkeypatch.setattr(scalars, "WRITE_EVERY_S", 0.05)
    search = SearchRecord(99, Baseline(0.5), ScheduleSettings(), ACCURACY, {}, {})
    with Ledger.create(f"sqlite:///{tmp_path}/ledger.sqlite", search) as ledger:
        ledger.begin_life("here", 1)
        yield ledger


@pytest.fixture
def make(tmp_path):
    return lambda: Scalars(f"sqlite:///{tmp_path}/ledger.sqlite", tmp_path / "tensorboard")


def read(tmp_path, name):
    """Give {step: figure} of what was written."""
    if not (tmp_path / "tensorboard").exists():
        return {}
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    found = events.Scalars(name) if name in events.Tags()["scalars"] else []
    return {event.step: pytest.approx(event.value, rel=1e-6) for event in found}


def test_every_trial_is_written_once_in_the_order_of_the_results(ledger, make, tmp_path):
    owner = ledger.enlist(0, 1).owner
    with make():
        record(ledger, owner, [completed(0.5), infeasible()])
        wait_until(lambda: read(tmp_path, "reward/of the trial"), "the first two")
        record(ledger, owner, [completed(0.25)])
    assert read(tmp_path, "reward/of the trial") == {1: 0.5, 2: 0.0, 3: 0.25}
    assert read(tmp_path, "reward/baseline before it") == {
        trial.record_number: trial.baseline for trial in ledger.trials()
    }
    assert read(tmp_path, "child/validation") == {1: 0.5, 3: 0.25}  # one has none
    assert read(tmp_path, "child/infeasible") == {1: 0.0, 2: 1.0, 3: 0.0}
    assert read(tmp_path, "policy/log-probability") == {
        trial.record_number: sum(trial.log_probs) for trial in ledger.trials()
    }


def test_log_probability_of_a_mutation_is_not_written(ledger, make, tmp_path):
    owner = ledger.enlist(0, 1).owner
    [one, two] = [place.trial for place in ledger.reserve(owner, 2)]
    ledger.start(owner, [start_of(one), replace(start_of(two), log_probs=())])
    ledger.record(owner, {one: completed(0.5), two: completed(0.5)})
    with make():
        pass
    assert list(read(tmp_path, "reward/of the trial")) == [1, 2]
    assert list(read(tmp_path, "policy/log-probability")) == [1]


def test_next_life_of_the_search_writes_them_all_anew(ledger, make, tmp_path):
    owner = ledger.enlist(0, 1).owner
    record(ledger, owner, [completed(0.5)])
    for reward in (0.25, 0.75):
        with make():
            record(ledger, owner, [completed(reward)])
    assert read(tmp_path, "reward/of the trial") == {1: 0.5, 2: 0.25, 3: 0.75}
    assert len(list((tmp_path / "tensorboard").iterdir())) == 1


def test_very_many_trials_are_read_in_parts(ledger, make, tmp_path, monkeypatch):
    monkeypatch.setattr(scalars, "AT_ONCE", 2)
    record(ledger, ledger.enlist(0, 1).owner, [completed(number / 8) for number in range(5)])
    with make():
        pass
    assert read(tmp_path, "reward/of the trial") == {n + 1: n / 8 for n in range(5)}


def test_figure_that_is_none_is_left_out(ledger, make, tmp_path):
    strange = completed(0.5)
    object.__setattr__(strange, "validation", math.inf)
    with make():
        record(ledger, ledger.enlist(0, 1).owner, [strange])
    assert read(tmp_path, "reward/of the trial") == {1: 0.5}
    assert read(tmp_path, "child/validation") == {}


def test_whatever_goes_wrong_does_not_reach_the_search(ledger, make, tmp_path, caplog):
    (tmp_path / "tensorboard").write_text("a file in the way")
    with make():
        record(ledger, ledger.enlist(0, 1).owner, [completed(0.5)])
    assert "the figures for TensorBoard are not written any more" in caplog.text


def test_ledger_that_is_away_is_waited_for(ledger, make, tmp_path, monkeypatch):
    read_after, failures = scalars.LedgerReader.recorded_after, [1, 2]

    def away(self, number, limit):
        if failures:
            failures.pop()
            raise scalars.LedgerError("the database is gone")
        return read_after(self, number, limit)

    monkeypatch.setattr(scalars.LedgerReader, "recorded_after", away)
    record(ledger, ledger.enlist(0, 1).owner, [completed(0.5)])
    with make():
        wait_until(lambda: read(tmp_path, "reward/of the trial"), "the trial")
    assert read(tmp_path, "reward/of the trial") == {1: 0.5}


def test_search_that_fails_does_not_wait_for_them_and_leaves_no_thread_behind(
    ledger, make, tmp_path, monkeypatch
):
    monkeypatch.setattr(scalars, "WRITE_EVERY_S", 60.0)
    record(ledger, ledger.enlist(0, 1).owner, [completed(0.5)])
    written = make()
    with pytest.raises(KeyError), written:
        raise KeyError
    assert not written._thread.is_alive()
    assert not (tmp_path / "tensorboard").exists()
