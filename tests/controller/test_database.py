from __future__ import annotations

import contextlib

import pytest
import sqlalchemy as sql

from controller.database import READS_ONLY, connect, create_tables


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
    create_tables(engine)
    with contextlib.ExitStack() as stack:
        stack.callback(engine.dispose)
        for _ in range(3):
            connection = stack.enter_context(engine.connect().execution_options(**READS_ONLY))
            assert connection.execute(sql.text(f"PRAGMA {pragma}")).scalar() == value
