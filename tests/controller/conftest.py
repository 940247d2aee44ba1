from __future__ import annotations

import contextlib
import itertools
from dataclasses import replace

import pytest
import sqlalchemy as sql
import torch
from support.clock import FakeClock
from support.postgresql import PostgresqlServer, programs
from support.searches import Shards

from child.metric import ACCURACY
from controller.baseline import Baseline
from controller.database import METADATA
from controller.database_url import database_url
from controller.ledger import Ledger
from controller.records import SearchRecord
from controller.schedule import ScheduleSettings
from ps.plan import UpdateSettings

SEARCH = SearchRecord(
    num_trials=10,
    baseline=Baseline(0.75),
    schedule=ScheduleSettings(num_layers=1, increase=0),
    metric=ACCURACY,
    settings={"seed": 3},
    code_versions={"nasrl": "0.1.0"},
)


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    # On tensors as small as these several threads only wait for each other.
    torch.set_num_threads(1)


def pytest_generate_tests(metafunc):
    """Hold the ledger to its laws on every database."""
    if "test_ledger" in metafunc.module.__name__ and "kind" in metafunc.fixturenames:
        metafunc.parametrize("kind", ["sqlite", "postgresql"])


def pytest_collection_modifyitems(items):
    """Leave to the slow run, on PostgreSQL, the tests of many cases: the others tell them apart."""
    for item in items:
        params = item.callspec.params if hasattr(item, "callspec") else {}
        if params.get("kind") == "postgresql" and len(params) > 1:
            item.add_marker("slow")


@pytest.fixture
def kind():
    """The database of this test."""
    return "sqlite"


@pytest.fixture(scope="session")
def postgresql():
    """A PostgreSQL server."""
    found = programs()
    if found is None:
        pytest.skip("PostgreSQL is not installed: apt install postgresql")
    server = PostgresqlServer(found)
    yield server
    server.stop()


@pytest.fixture
def new_url(kind, tmp_path, request):
    """Give a function that gives the URL of a database without a search."""
    with contextlib.ExitStack() as stack:
        if kind == "postgresql":
            yield stack.enter_context(request.getfixturevalue("postgresql").lent_urls())
        else:
            numbers = itertools.count(1)
            yield lambda: f"sqlite:///{tmp_path / f'ledger-{next(numbers)}.sqlite'}"


@pytest.fixture
def url(new_url):
    return new_url()


@pytest.fixture
def empty_url(kind, tmp_path, request):
    """The URL of a database without a table."""
    if kind == "postgresql":
        return request.getfixturevalue("postgresql").new_url()
    return f"sqlite:///{tmp_path / 'empty.sqlite'}"


# How far each reading of the clock moves it: they differ, and no lease ends by itself.
TICK_S = 2**-10


@pytest.fixture
def clock():
    return FakeClock(now=1000.0, step=TICK_S)


@pytest.fixture
def search():
    """A search of 10 trials, whose baseline has the decay 0.75."""
    return SEARCH


@pytest.fixture
def create_ledger(url, new_url, clock):
    """Give a function that makes the ledger of a search in its first life; closed afterwards.

    file: any name, for a ledger beside the one of this test.
    """
    with contextlib.ExitStack() as stack:

        def create(num_trials=10, schedule=None, file=None, baseline=None):
            search = replace(
                SEARCH,
                num_trials=num_trials,
                baseline=baseline or SEARCH.baseline,
                schedule=schedule or SEARCH.schedule,
            )
            its_url = new_url() if file else url
            ledger = stack.enter_context(Ledger.create(its_url, search, clock))
            assert ledger.begin_life("here", 1) == 1
            return ledger

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
def database(url):
    """This test's database, past the ledger."""
    engine = sql.create_engine(database_url(url))
    yield engine
    engine.dispose()


@pytest.fixture
def contents(database):
    """Give a function that reads everything in the database: of each table its rows, by key."""

    def read():
        with database.connect() as connection:
            return {
                table.name: [
                    dict(row._mapping)
                    for row in connection.execute(
                        sql.select(table).order_by(*table.primary_key.columns)
                    )
                ]
                for table in METADATA.sorted_tables
            }

    return read


@pytest.fixture
def serve():
    """Give a function that serves the first values of a policy; closed afterwards."""
    with contextlib.ExitStack() as stack:

        def start(reinforce, learning_rate=0.05, updates=None, folder=None, interceptors=()):
            shards = Shards(
                reinforce.layout,
                reinforce.values,
                learning_rate,
                updates or UpdateSettings(),
                folder,
                interceptors,
            )
            return stack.enter_context(contextlib.closing(shards))

        yield start
