"""What only PostgreSQL does: its server restarts, and its sessions end and have settings."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sql
from support.children import completed, start_of
from support.rounds import record_one
from support.waiting import wait_until

from controller.database import READS_ONLY, connect
from controller.errors import LedgerUnavailable, WrongState
from controller.ledger import Ledger
from controller.trial import Stamp

NUM_REPLICAS = 3
IS_LEDGER = "application_name = 'nasrl'"


@pytest.fixture
def kind():
    return "postgresql"


@pytest.fixture
def sessions(postgresql):
    """Give a function that gives the states of the sessions of all ledgers."""
    query = f"SELECT state FROM pg_stat_activity WHERE {IS_LEDGER}"
    return lambda: [state for (state,) in postgresql.execute(query)]


# --- Sessions and transactions.


@pytest.fixture
def hostile(url):
    """A database whose sessions have other settings than the ledger needs."""
    options = "synchronous_commit=off", "default_transaction_isolation=serializable"
    engine = connect(url + "".join(f"%20-c{option.replace('=', '%3D')}" for option in options))
    yield engine
    engine.dispose()


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("lock_timeout", "30s"),
        ("statement_timeout", "1min"),
        ("idle_in_transaction_session_timeout", "20s"),
        ("synchronous_commit", "on"),
    ],
)
def test_session_is_set_up_on_every_connection(hostile, setting, value):
    with (
        hostile.begin() as writer,
        hostile.connect().execution_options(**READS_ONLY) as reader,
    ):
        for connection in (writer, reader):
            assert connection.exec_driver_sql(f"SHOW {setting}").scalar() == value


@pytest.mark.parametrize(
    ("options", "isolation", "is_read_only"),
    [({}, "read committed", "off"), (READS_ONLY, "repeatable read", "on")],
    ids=["writer", "reader"],
)
def test_transaction_is_of_the_kind_that_it_needs(hostile, options, isolation, is_read_only):
    with hostile.connect().execution_options(**options) as connection:
        assert connection.exec_driver_sql("SHOW transaction_isolation").scalar() == isolation
        assert connection.exec_driver_sql("SHOW transaction_read_only").scalar() == is_read_only


def test_durability_that_an_administrator_chose_is_kept(url):
    engine = connect(f"{url}%20-csynchronous_commit%3Dremote_apply")
    with engine.begin() as connection:
        shown = connection.exec_driver_sql("SHOW synchronous_commit").scalar()
    engine.dispose()

    assert shown == "remote_apply"


def test_statement_that_comes_again_is_planned_again(url):
    engine = connect(url)
    with engine.connect() as connection:
        for number in range(20):
            connection.execute(sql.select(sql.literal(number)))
        prepared = connection.exec_driver_sql("SELECT count(*) FROM pg_prepared_statements")
        assert prepared.scalar() == 0
    engine.dispose()


def parameters_of(url):
    """Give what a connection was made with, of what is not libpq's default."""
    engine = connect(url)
    with engine.connect() as connection:
        parameters = connection.connection.driver_connection.info.get_parameters()
    engine.dispose()
    return parameters


def test_server_that_is_gone_without_a_word_is_noticed(url):
    parameters = parameters_of(url)

    assert int(parameters["connect_timeout"]) <= 10
    assert int(parameters["tcp_user_timeout"]) <= 30_000
    idle, interval, count = (
        int(parameters[f"keepalives_{name}"]) for name in ("idle", "interval", "count")
    )
    assert idle + interval * count <= 30


def test_connection_is_made_as_its_url_says(url):
    parameters = parameters_of(f"{url}&connect_timeout=7&application_name=mine")

    assert (parameters["connect_timeout"], parameters["application_name"]) == ("7", "mine")


@pytest.mark.timeout(20)  # a writer that waits for the other waits for 30 s
def test_ledgers_in_two_schemas_do_not_wait_for_each_other(ledger, create_ledger, url):
    other = create_ledger(file="other")
    owner = other.enlist(0, 1).owner
    engine = connect(url)
    with engine.begin():
        assert len(other.reserve(owner, 3)) == 3
    engine.dispose()

    assert ledger.trials() == []


def test_ledger_that_is_closed_has_no_session(ledger, sessions):
    ledger.enlist(0, 1)
    assert sessions()

    ledger.close()

    wait_until(lambda: not sessions(), "all sessions have ended")


@pytest.mark.usefixtures("ledger")
def test_ledger_created_again_is_refused_without_its_password(url, search):
    with_password = url.replace("postgres@", "postgres:hunter2@")
    assert with_password != url

    with pytest.raises(WrongState, match=r"^\S+://postgres:\*\*\*@/\S+ holds a search already"):
        Ledger.create(with_password, search)


# --- Sessions that end, and servers that are gone.


def end_sessions(postgresql, state):
    query = f"FROM pg_stat_activity WHERE {IS_LEDGER} AND state = '{state}'"
    assert postgresql.execute(f"SELECT pg_terminate_backend(pid, 5000) {query}"), "there was none"


def test_call_after_the_session_was_ended_goes_unharmed(ledger, postgresql):
    owner = ledger.enlist(0, 1).owner
    end_sessions(postgresql, "idle")

    assert len(ledger.reserve(owner, 3)) == 3


def test_call_whose_session_is_ended_is_told_and_may_be_made_again(ledger, url, postgresql):
    owner = ledger.enlist(0, 1).owner
    engine = connect(url)
    with ThreadPoolExecutor() as threads, engine.begin():
        reserved = threads.submit(ledger.reserve, owner, 3)
        is_waiting = f"SELECT FROM pg_stat_activity WHERE {IS_LEDGER} AND wait_event = 'advisory'"
        wait_until(lambda: postgresql.execute(is_waiting), "the call waits for the writer")
        end_sessions(postgresql, "active")
        with pytest.raises(LedgerUnavailable, match=r"^the database .*: terminating connection"):
            reserved.result(timeout=10)
    engine.dispose()

    assert [place.trial for place in ledger.reserve(owner, 3)] == [1, 2, 3]


def test_server_that_is_not_there_is_named_without_a_password(tmp_path):
    url = f"postgresql://me:hunter2@/name?host={tmp_path}"

    with (
        Ledger(url) as ledger,
        pytest.raises(
            LedgerUnavailable,
            match=r"^the database \S+://me:\*\*\*@/name\?host=\S+: connection .* failed: ",
        ) as raised,
    ):
        ledger.beat(1)

    assert "\n" not in str(raised.value)
    assert "hunter2" not in repr(raised.value.__cause__)


class Writer:
    """A replica that runs trials until it is told to stop, and makes unanswered calls again."""

    def __init__(self, ledger, replica):
        self._ledger = ledger
        self._replica = replica
        self.is_told_to_stop = threading.Event()
        self.answered = {}  # the stamps of trials, as they were answered
        self.num_failures = 0

    def run(self):
        owner = self._again(lambda: self._ledger.enlist(self._replica, 1).owner)
        while not self.is_told_to_stop.is_set():
            [place] = self._again(lambda: self._ledger.reserve(owner, 1))
            trial = place.trial
            self._again(lambda trial=trial: self._ledger.start(owner, [start_of(trial)]))
            result = completed(trial % 16 / 16)
            self.answered[trial] = self._again(
                lambda trial=trial, result=result: record_one(self._ledger, owner, trial, result)
            )

    def _again(self, call):
        while True:
            try:
                return call()
            except LedgerUnavailable:
                self.num_failures += 1
                self.is_told_to_stop.wait(0.05)


def test_server_killed_while_it_is_written_loses_nothing_that_was_answered(
    create_ledger, open_ledger, postgresql
):
    create_ledger(num_trials=10**6)
    writers = [Writer(open_ledger(), replica) for replica in range(NUM_REPLICAS)]

    def num_answered():
        return sum(len(writer.answered) for writer in writers)

    with ThreadPoolExecutor(NUM_REPLICAS) as threads:
        running = [threads.submit(writer.run) for writer in writers]
        try:
            for _ in range(2):
                before = num_answered()
                failures = [writer.num_failures for writer in writers]
                wait_until(lambda n=before: num_answered() > n + 30, "calls are answered", 20)
                postgresql.kill()
                wait_until(
                    lambda n=failures: all(
                        w.num_failures > f for w, f in zip(writers, n, strict=True)
                    ),
                    "all were told",
                    20,
                )
                postgresql.start()
            before = num_answered()
            wait_until(lambda: num_answered() > before + 30, "calls are answered again", 20)
        finally:
            for writer in writers:
                writer.is_told_to_stop.set()
        for each in running:
            each.result(timeout=20)

    rows = open_ledger().trials()
    assert [row.trial for row in rows] == list(range(1, len(rows) + 1))
    recorded = {row.trial: Stamp(row.reward, row.baseline) for row in rows if row.recorded_at}
    assert {t: s for writer in writers for t, s in writer.answered.items()} == recorded
    in_order = sorted((r for r in rows if r.recorded_at), key=lambda row: row.record_number)
    assert [row.record_number for row in in_order] == list(range(1, len(in_order) + 1))
    average = 0.0
    for row in in_order:
        assert row.baseline == pytest.approx(average, rel=1e-12)
        average = row.reward if row is in_order[0] else 0.75 * average + 0.25 * row.reward
