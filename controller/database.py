"""The database of a ledger: its tables, and how transactions begin."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import sqlalchemy as sql
from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Float,
    ForeignKeyConstraint,
    Integer,
    LargeBinary,
    String,
)

from controller.errors import LedgerUnavailable

# Execution options of a connection that only reads: it does not wait for the writer.
READS_ONLY = {"nasrl_reads_only": True}

METADATA = sql.MetaData()

SEARCH = sql.Table(
    "search",
    METADATA,
    Column("id", Integer, sql.CheckConstraint("id = 1"), primary_key=True),
    Column("num_trials", Integer, nullable=False),
    Column("schedule", JSON, nullable=False),
    Column("metric", JSON, nullable=False),
    Column("settings", JSON, nullable=False),
    Column("code_versions", JSON, nullable=False),
    Column("baseline_decay", Float, nullable=False),
    Column("baseline_start", Float, nullable=False),
    Column("baseline_average", Float),
    Column("state", String, nullable=False),
    Column("reason", String, nullable=False),
    Column("started_at", Float, nullable=False),
    Column("ended_at", Float),
)

REPLICAS = sql.Table(
    "replicas",
    METADATA,
    Column("replica", Integer, primary_key=True, autoincrement=False),
    Column("incarnation", Integer, nullable=False),
    Column("last_sequence", Integer, nullable=False),
)

PUSHES = sql.Table(
    "pushes",
    METADATA,
    Column("replica", Integer, primary_key=True),
    Column("sequence", Integer, primary_key=True),
    Column("incarnation", Integer, nullable=False),
    Column("base_versions", JSON, nullable=False),
    Column("gradient", LargeBinary),
    Column("opened_at", Float, nullable=False),
    Column("closed_at", Float),
    Column("versions", JSON),
    Column("staleness", JSON),
)

TRIALS = sql.Table(
    "trials",
    METADATA,
    Column("trial", Integer, primary_key=True, autoincrement=False),
    Column("state", String, nullable=False, index=True),
    Column("replica", Integer, nullable=False),
    Column("incarnation", Integer, nullable=False),
    Column("depth", Integer, nullable=False),
    Column("reserved_at", Float, nullable=False),
    Column("started_at", Float),
    Column("recorded_at", Float),
    Column("record_number", Integer, unique=True),
    Column("decisions", JSON(none_as_null=True)),
    Column("log_probs", JSON(none_as_null=True)),
    Column("architecture", JSON(none_as_null=True)),
    Column("architecture_text", String),
    Column("seed", Integer),
    Column("versions", JSON(none_as_null=True)),
    Column("reward", Float),
    Column("baseline", Float),
    Column("validations", JSON(none_as_null=True)),
    Column("validation", Float),
    Column("num_parameters", Integer),
    Column("seconds", Float),
    Column("reason", String, nullable=False, server_default=""),
    Column("is_out_of_memory", Boolean, nullable=False, server_default=sql.false()),
    Column("push_replica", Integer),
    Column("push_sequence", Integer),
    ForeignKeyConstraint(["push_replica", "push_sequence"], ["pushes.replica", "pushes.sequence"]),
)

TESTS = sql.Table(
    "tests",
    METADATA,
    Column("trial", Integer, sql.ForeignKey("trials.trial"), primary_key=True),
    Column("figure", Float, nullable=False),
    Column("tested_at", Float, nullable=False),
)


def connect(url: str) -> sql.Engine:
    """Give the database at a URL. In SQLite what was committed has reached the disk."""
    engine = sql.create_engine(url)
    if engine.dialect.name == "sqlite":
        sql.event.listen(engine, "connect", _prepare_sqlite)
        sql.event.listen(engine, "begin", _begin_sqlite)
    return engine


def create_tables(engine: sql.Engine) -> None:
    """Make the tables in an empty database."""
    if engine.dialect.name == "sqlite":
        # The file keeps it: with a write-ahead log readers and writer do not wait for each other.
        with closing(engine.raw_connection()) as connection:
            connection.cursor().execute("PRAGMA journal_mode = WAL")
    METADATA.create_all(engine)


@contextmanager
def named_failures(engine: sql.Engine) -> Iterator[None]:
    """Turn a failure of the database into LedgerUnavailable.

    A key that is there already is none: it says that a law would be broken.
    """
    try:
        yield
    except sql.exc.DBAPIError as error:
        if isinstance(error, sql.exc.IntegrityError):
            raise
        raise LedgerUnavailable(f"the database {engine.url}: {error.orig}") from error


def _prepare_sqlite(connection: sqlite3.Connection, _: Any) -> None:
    # The driver's own way of beginning transactions takes the write lock late, so that two writers
    # can both read first and one of them then fails; `_begin_sqlite` begins them instead.
    connection.isolation_level = None
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA busy_timeout = 30000")


def _begin_sqlite(connection: sql.Connection) -> None:
    reads_only = READS_ONLY.items() <= connection.get_execution_options().items()
    connection.exec_driver_sql("BEGIN" if reads_only else "BEGIN IMMEDIATE")
