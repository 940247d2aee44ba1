"""The best network is tested once, and its weights are kept before the ledger has the figure."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from support.children import completed
from support.rounds import record_one

from child.trained import TrainedChild
from controller.baseline import Baseline
from controller.errors import LedgerUnavailable
from controller.ledger import Ledger
from controller.records import SearchRecord
from controller.trial import Start
from deploy import final_test as module
from deploy.final_test import FinalTest, final_test
from deploy.kept_network import KeptNetwork
from deploy.run import Run
from deploy.settings_file import load_settings

WEIGHTS = {"classifier.bias": np.array([0.5, 0.25], np.float32)}


@pytest.fixture
def search(tmp_path, monkeypatch):
    """A search of two trials that is finished, whose workers are faked."""
    settings = load_settings("digits")
    run = Run.create(tmp_path / "run", settings)
    space, depth = settings.task.space, settings.depths.depth(1)
    record = SearchRecord(2, Baseline(0.9), settings.depths, settings.task.metric, {}, {})
    trained, said = [], []
    with Ledger.create(run.ledger_url, record) as ledger:
        owner = ledger.enlist(0, ledger.begin_life("here", 1)).owner
        ledger.reserve(owner, 2)
        for trial, reward in ((1, 0.25), (2, 0.75)):
            taken = []
            while decision := space.next_decision([c for _, c in taken], depth):
                taken.append((decision.kind, trial % decision.num_choices))
            architecture = space.decode([c for _, c in taken], depth)
            start = Start(
                trial, tuple(taken), (0.0,) * len(taken), architecture.to_json(),
                str(architecture), trial, (0,),
            )  # fmt: skip
            ledger.start(owner, [start])
            record_one(ledger, owner, trial, completed(reward))

        def train_and_test(spawn, child, test, max_deaths, is_over):
            assert (child.trial, test) == (2, "the test data")
            trained.append(child.trial)
            return TrainedChild(completed(0.75), WEIGHTS, 0.625)

        def run_test():
            data = SimpleNamespace(search="the rest", test="the test data")
            return final_test(settings, None, run, ledger, data, None, said.append, lambda: False)

        monkeypatch.setattr(module, "train_and_test", train_and_test)
        yield SimpleNamespace(run=run, ledger=ledger, test=run_test, trained=trained, said=said)


def test_best_network_is_tested_recorded_and_kept(search):
    assert search.test() == FinalTest(2, 0.625, True)

    [row] = search.ledger.trials(top=1)
    kept = KeptNetwork.find(search.run.network_path(2), row)
    assert (kept.test, kept.validations) == (0.625, (0.375, 0.75))
    assert kept.weights["classifier.bias"].tolist() == [0.5, 0.25]
    assert search.ledger.tests() == {2: 0.625}
    assert search.said == ["testing the best network, of trial 2, once"]


def test_network_that_was_tested_is_not_tested_again(search):
    search.test()
    assert search.test() == FinalTest(2, 0.625, None)
    assert search.trained == [2]


def test_search_that_died_before_it_recorded_the_test_takes_the_figure_from_the_file(
    search, monkeypatch
):
    def fail(*_):
        raise LedgerUnavailable("the database is gone")

    with monkeypatch.context() as patch:
        patch.setattr(search.ledger, "record_test", fail)
        assert search.test() is None
    assert "was not tested: the database is gone" in search.said[-1]
    assert search.ledger.tests() == {}

    assert search.test() == FinalTest(2, 0.625, True)

    assert search.trained == [2]
    assert search.ledger.tests() == {2: 0.625}


def test_weights_that_cannot_be_kept_take_nothing_from_the_test(search, monkeypatch):
    def fail(*_):
        raise OSError("no space left")

    monkeypatch.setattr(KeptNetwork, "write", fail)

    assert search.test() == FinalTest(2, 0.625, True)

    assert search.ledger.tests() == {2: 0.625}
    assert search.said[-1] == "the weights of the best network were not kept: no space left"


def test_file_that_is_damaged_is_written_again(search):
    path = search.run.network_path(2)
    path.parent.mkdir()
    path.write_bytes(b"half")

    assert search.test() == FinalTest(2, 0.625, True)

    [row] = search.ledger.trials(top=1)
    assert KeptNetwork.find(path, row).test == 0.625


def test_training_that_is_not_repeated_is_told(search, monkeypatch):
    result = replace(completed(0.75), validations=(0.5, 0.75))
    monkeypatch.setattr(module, "train_and_test", lambda *_: TrainedChild(result, WEIGHTS, 0.625))
    assert search.test() == FinalTest(2, 0.625, False)
