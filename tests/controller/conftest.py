from __future__ import annotations

import contextlib
import sqlite3

import pytest
import torch
from support.clock import FakeClock

from child.metric import ACCURACY
from controller.baseline import Baseline
from controller.ledger import Ledger
from controller.records import SearchRecord
from controller.schedule import ScheduleSettings


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    # On tensors as small as these several threads only wait for each other.
    torch.set_num_threads(1)


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'ledger.sqlite'}"


@pytest.fixture
def clock():
    return FakeClock(now=1000.0, step=1.0)


@pytest.fixture
def create_ledger(tmp_path, clock):
    """Give a function that makes the ledger of a search; it is closed afterwards."""
    with contextlib.ExitStack() as stack:

        def create(num_trials=10, schedule=None, file="ledger.sqlite", baseline=None):
            url = f"sqlite:///{tmp_path / file}"
            search = SearchRecord(
                num_trials=num_trials,
                baseline=baseline or Baseline(0.75),
                schedule=schedule or ScheduleSettings(num_layers=1, increase=0),
                metric=ACCURACY,
                settings={"seed": 3},
                code_versions={"nasrl": "0.1.0"},
            )
            return stack.enter_context(Ledger.create(url, search, clock))

        yield create


@pytest.fixture
def ledger(create_ledger):
    """The ledger of a search of 10 trials, whose baseline has the decay 0.75."""
    return create_ledger()


@pytest.fixture
def open_ledger(url, clock):
    """Give a function that opens the ledger of this test's search once more."""
    with contextlib.ExitStack() as stack:
        yield lambda: stack.enter_context(Ledger(url, clock))


@pytest.fixture
def contents(tmp_path):
    """Give a function that reads everything in the database, past the ledger."""

    def read():
        with contextlib.closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as connection:
            return list(connection.iterdump())

    return read
