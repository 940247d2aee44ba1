from __future__ import annotations

import contextlib

import psycopg
import pytest
import sqlalchemy as sql

from controller.database import READS_ONLY, connect, named_failures, new_tables
from controller.errors import LedgerUnavailable


@pytest.mark.parametrize(
    ("pragma", "value"),
    [
        ("journal_mode", "wal"),  # readers do not wait
        ("synchronous", 2),  # FULL: a commit has reached the disk
        ("foreign_keys", 1),  # a test is of a trial that exists
        ("busy_timeout", 30_000),  # writers wait for each other
    ],
)
def test_database_is_set_up_on_every_connection(url, pragma, value):
    engine = connect(url)
    with new_tables(engine):
        pass
    with contextlib.ExitStack() as stack:
        stack.callback(engine.dispose)
        for _ in range(3):
            connection = stack.enter_context(engine.connect().execution_options(**READS_ONLY))
            assert connection.execute(sql.text(f"PRAGMA {pragma}")).scalar() == value


@pytest.mark.parametrize(
    "failure",
    [
        sql.exc.OperationalError("SELECT 1", {}, psycopg.OperationalError("disk I/O\n  error")),
        sql.exc.TimeoutError("disk I/O error"),  # all connections were in use for too long
        psycopg.OperationalError("disk I/O error"),
    ],
)
def test_failure_of_a_database_names_it_and_not_its_password(failure):
    engine = connect("postgresql://me:hunter2@host/name")

    named = r"^the database postgresql\+psycopg://me:\*\*\*@host/name: disk I/O error$"
    with pytest.raises(LedgerUnavailable, match=named) as raised, named_failures(engine):
        raise failure

    assert raised.value.__cause__ is failure


@pytest.mark.parametrize("kind", [sql.exc.IntegrityError, sql.exc.DataError])
def test_value_that_can_never_be_written_is_no_failure_of_the_database(kind):
    engine = connect("postgresql://host/name")

    with pytest.raises(kind), named_failures(engine):
        raise kind("INSERT", {}, psycopg.IntegrityError("no"))
