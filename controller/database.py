"""The database of a ledger: its tables, and how transactions begin."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import sqlalchemy as sql
from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    String,
)
from sqlalchemy.dialects import postgresql

from controller.database_url import database_url
from controller.errors import LedgerUnavailable

# Execution options of a connection that only reads: it does not wait for the writer.
READS_ONLY = {"nasrl_reads_only": True}

# How long a writer waits for another.
LOCK_TIMEOUT_S = 30.0

METADATA = sql.MetaData()

# PostgreSQL's JSON has no inf and nan, which figures of a network may be.
_FIGURES = JSON(none_as_null=True).with_variant(postgresql.ARRAY(Float), "postgresql")

SEARCH = sql.Table(
    "search",
    METADATA,
    Column("id", Integer, sql.CheckConstraint("id = 1"), primary_key=True, autoincrement=False),
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
    Column("life", Integer, nullable=False),
    Column("is_stop_requested", Boolean, nullable=False),
    Column("requested_changes", JSON(none_as_null=True)),
    Column("started_at", Float, nullable=False),
    Column("ended_at", Float),
)

# The children in training, as the search has told last.
CHILDREN = sql.Table(
    "children",
    METADATA,
    Column("id", Integer, sql.CheckConstraint("id = 1"), primary_key=True, autoincrement=False),
    Column("told", JSON, nullable=False),
)

LIVES = sql.Table(
    "lives",
    METADATA,
    Column("life", Integer, primary_key=True, autoincrement=False),
    Column("host", String, nullable=False),
    Column("process", Integer, nullable=False),
    Column("is_job", Boolean, nullable=False),
    Column("began_at", Float, nullable=False),
    Column("num_beats", Integer, nullable=False),
    Column("beat_at", Float, nullable=False),
    Column("ended_at", Float),
)

SHARDS = sql.Table(
    "shards",
    METADATA,
    Column("shard", Integer, primary_key=True, autoincrement=False),
    Column("address", String, nullable=False),
)

REPLICAS = sql.Table(
    "replicas",
    METADATA,
    Column("replica", Integer, primary_key=True, autoincrement=False),
    Column("incarnation", Integer, nullable=False),
    Column("last_sequence", Integer, nullable=False),
    Column("lease_until", Float, nullable=False),
)

PUSHES = sql.Table(
    "pushes",
    METADATA,
    Column("replica", Integer, primary_key=True),
    Column("sequence", Integer, primary_key=True),
    Column("incarnation", Integer, nullable=False),
    Column("base_versions", JSON, nullable=False),
    Column("sample_versions", JSON, nullable=False),
    Column("gradient", LargeBinary),
    Column("opened_at", Float, nullable=False),
    Column("closed_at", Float),
    Column("versions", JSON),
    Column("staleness", JSON),
    Column("sample_staleness", JSON),
)
_IS_OPEN = PUSHES.c.closed_at.is_(None)
# A replica has at most one.
Index(
    "open_pushes",
    PUSHES.c.replica,
    unique=True,
    sqlite_where=_IS_OPEN,
    postgresql_where=_IS_OPEN,
)

TRIALS = sql.Table(
    "trials",
    METADATA,
    Column("trial", Integer, primary_key=True, autoincrement=False),
    Column("state", String, nullable=False),
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
    Column("architecture_sha256", String),
    Column("seed", BigInteger),
    Column("versions", JSON(none_as_null=True)),
    Column("reward", Float),
    Column("baseline", Float),
    Column("validations", _FIGURES),
    Column("validation", Float),
    Column("num_parameters", BigInteger),
    Column("seconds", Float),
    Column("reason", String, nullable=False, server_default=""),
    Column("is_out_of_memory", Boolean, nullable=False, server_default=sql.false()),
    Column("traceback", String, nullable=False, server_default=""),
    Column("metrics", JSON(none_as_null=True)),
    Column("reused_from", Integer, index=True),
    Column("push_replica", Integer),
    Column("push_sequence", Integer),
    ForeignKeyConstraint(["push_replica", "push_sequence"], ["pushes.replica", "pushes.sequence"]),
    # For the best of very many, and for those of a push.
    Index("trials_by_reward", "state", "reward"),
    Index("trials_by_push", "push_replica", "push_sequence"),
    # For the course of the rewards, without reading the rows.
    Index("trials_in_order", "record_number", "reward"),
)
IS_IN_FLIGHT = TRIALS.c.recorded_at.is_(None)
IS_UNPUSHED = sql.and_(TRIALS.c.push_sequence.is_(None), TRIALS.c.recorded_at.is_not(None))
# These are a few of very many, and asked for all the time. In a condition without a parameter both
# databases see, whatever they know of the table, that such an index has the rows.
for _name, _columns, _condition in (
    ("trials_in_flight", [TRIALS.c.trial], IS_IN_FLIGHT),
    ("trials_in_no_push", [TRIALS.c.replica], TRIALS.c.push_sequence.is_(None)),
    (
        "trials_by_architecture",
        [TRIALS.c.architecture_sha256, TRIALS.c.trial],
        TRIALS.c.reused_from.is_(None),
    ),
):
    Index(_name, *_columns, sqlite_where=_condition, postgresql_where=_condition)

TESTS = sql.Table(
    "tests",
    METADATA,
    Column("trial", Integer, sql.ForeignKey("trials.trial"), primary_key=True),
    Column("figure", Float, nullable=False),
    Column("tested_at", Float, nullable=False),
)

# What was trained after the search, each by what it is of.
TRAININGS = sql.Table(
    "trainings",
    METADATA,
    Column("sha256", String, primary_key=True),
    Column("stage", String, nullable=False),
    Column("trial", Integer, sql.ForeignKey("trials.trial"), nullable=False),
    Column("architecture", JSON, nullable=False),
    Column("settings", JSON, nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("state", String, nullable=False),
    Column("reason", String, nullable=False),
    Column("reward", Float),
    Column("validations", _FIGURES),
    Column("validation", Float),
    Column("losses", _FIGURES),
    Column("is_converged", Boolean),
    Column("test", Float),
    Column("num_parameters", BigInteger, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("recorded_at", Float, nullable=False),
)


# Of a connection to PostgreSQL, unless the URL says otherwise: in seconds, tcp_user_timeout in
# milliseconds. A server that is gone without a word is noticed in half a minute.
_POSTGRESQL = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
    "application_name": "nasrl",
}


def connect(url: str) -> sql.Engine:
    """Give the database at a URL. What was committed there has reached the disk.

    Its transactions that write come one after the other; those that only read (see READS_ONLY) see
    one state of it, wait for nobody, and nobody waits for them.

    Raises:
        UnusableDatabase: see `database_url`.
    """
    parsed = database_url(url)
    if parsed.get_backend_name() == "sqlite":
        engine = sql.create_engine(parsed)
        sql.event.listen(engine, "connect", _prepare_sqlite)
        sql.event.listen(engine, "begin", _begin_sqlite)
        return engine
    options: dict[str, Any] = {k: v for k, v in _POSTGRESQL.items() if k not in parsed.query}
    engine = sql.create_engine(
        parsed,
        # A server that restarts ends its connections: each is tried before it is used.
        pool_pre_ping=True,
        # Under the lock of `_begin_postgresql` a transaction has to see what was committed since.
        isolation_level="READ COMMITTED",
        # A statement prepared while the tables were small would keep the plan for small tables.
        connect_args={**options, "prepare_threshold": None},
    )
    sql.event.listen(engine, "connect", _prepare_postgresql)
    sql.event.listen(engine, "begin", _begin_postgresql)
    return engine


@contextmanager
def new_tables(engine: sql.Engine) -> Iterator[sql.Connection]:
    """Make the tables, where there are none, in the transaction in which they get their first rows.

    Of several that do so at once the others wait, and find the tables, and the rows.
    """
    if engine.dialect.name == "sqlite":
        with closing(engine.raw_connection()) as connection:
            _switch_to_write_ahead_log(connection.cursor())
    with engine.begin() as transaction:
        METADATA.create_all(transaction)
        yield transaction


def shown(engine: sql.Engine) -> str:
    """Give the URL of a database as it may be shown: without its password."""
    return engine.url.render_as_string(hide_password=True)


@contextmanager
def named_failures(engine: sql.Engine) -> Iterator[None]:
    """Turn a failure of the database into LedgerUnavailable.

    A key that is there already is none: it says that a law would be broken. Nor is a value that
    does not fit: it never will.
    """
    try:
        yield
    except (sql.exc.IntegrityError, sql.exc.DataError):
        raise
    except (sql.exc.DBAPIError, sql.exc.TimeoutError, engine.dialect.loaded_dbapi.Error) as error:
        cause = " ".join(str(getattr(error, "orig", error)).split())
        raise LedgerUnavailable(f"the database {shown(engine)}: {cause}") from error


def _prepare_sqlite(connection: sqlite3.Connection, _: Any) -> None:
    # The driver's own way of beginning transactions takes the write lock late, so that two writers
    # can both read first and one of them then fails; `_begin_sqlite` begins them instead.
    connection.isolation_level = None
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute(f"PRAGMA busy_timeout = {int(1000 * LOCK_TIMEOUT_S)}")


def _switch_to_write_ahead_log(cursor: Any) -> None:
    # The file keeps it: readers and writer do not wait for each other then. For this alone SQLite
    # does not wait itself while others use the file (busy_timeout).
    give_up_at = time.monotonic() + LOCK_TIMEOUT_S
    while True:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > give_up_at:
                raise
        time.sleep(0.01)


def _begin_sqlite(connection: sql.Connection) -> None:
    connection.exec_driver_sql("BEGIN" if _reads_only(connection) else "BEGIN IMMEDIATE")


def _prepare_postgresql(connection: Any, _: Any) -> None:
    # What waits is given up in the end; a process that was frozen in a transaction loses it, and
    # does not hold up all others; and what was committed has reached the disk.
    connection.execute(f"""
        SELECT set_config('lock_timeout', '{int(1000 * LOCK_TIMEOUT_S)}ms', false),
            set_config('statement_timeout', '{int(2000 * LOCK_TIMEOUT_S)}ms', false),
            set_config('idle_in_transaction_session_timeout', '20s', false),
            CASE current_setting('synchronous_commit') WHEN 'off'
                THEN set_config('synchronous_commit', 'on', false) END
    """)
    connection.commit()


def _begin_postgresql(connection: sql.Connection) -> None:
    if _reads_only(connection):
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
    else:
        # Held until the transaction ends. Every schema has a ledger, and a lock, of its own.
        connection.exec_driver_sql(
            "SELECT pg_advisory_xact_lock(hashtext('nasrl'), hashtext(current_schema()))"
        )


def _reads_only(connection: sql.Connection) -> bool:
    return READS_ONLY.items() <= connection.get_execution_options().items()
