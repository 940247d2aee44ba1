"""A look into the durable record of a search; it changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

import sqlalchemy as sql

from child.metric import Metric
from controller.database import (
    PUSHES,
    READS_ONLY,
    SEARCH,
    TESTS,
    TRIALS,
    connect,
    named_failures,
)
from controller.records import Progress, PushRecord
from controller.trial import RECORDED, Trial


class LedgerReader:
    """The record of one search in a database, to be read while the search runs and afterwards.

    A reader does not wait for the writer, nor the writer for it; it sees what was committed.
    What cannot be read raises LedgerUnavailable.

    Threads: may be called from many.
    """

    def __init__(self, url: str) -> None:
        """Open the ledger at a database URL, such as sqlite:////absolute/path/ledger.sqlite."""
        self._engine = connect(url)

    @property
    def is_begun(self) -> bool:
        """Whether the database holds a search."""
        with self._read() as connection:
            if not sql.inspect(connection).has_table(SEARCH.name):
                return False
            return connection.execute(sql.select(SEARCH.c.id)).scalar() is not None

    def progress(self) -> Progress:
        """Give how far the search is."""
        with self._read() as connection:
            search = connection.execute(sql.select(SEARCH)).one()
            counts = _pairs(
                connection,
                sql.select(TRIALS.c.state, sql.func.count()).group_by(TRIALS.c.state),
            )
            recent = (
                connection.execute(
                    sql.select(TRIALS.c.reward)
                    .where(TRIALS.c.state.in_(RECORDED))
                    .order_by(TRIALS.c.record_number.desc())
                    .limit(30)
                )
                .scalars()
                .all()
            )
            best = connection.execute(_top(1)).one_or_none()
        return Progress(
            state=search.state,
            reason=search.reason,
            metric=Metric(**search.metric),
            num_trials=search.num_trials,
            num_recorded=sum(counts.get(state, 0) for state in RECORDED),
            num_infeasible=counts.get("infeasible", 0),
            num_in_flight=sum(n for state, n in counts.items() if state not in RECORDED),
            recent_reward=sum(recent) / len(recent) if recent else None,
            best=None if best is None else _trial(best),
            started_at=search.started_at,
            ended_at=search.ended_at,
        )

    def trials(self, top: int | None = None) -> list[Trial]:
        """Give all trials by number; with top, the completed ones of the highest reward."""
        query = sql.select(TRIALS).order_by(TRIALS.c.trial) if top is None else _top(top)
        with self._read() as connection:
            return [_trial(row) for row in connection.execute(query)]

    def pushes(self) -> list[PushRecord]:
        """Give all pushes, in the order in which they were opened."""
        with self._read() as connection:
            rows = connection.execute(
                sql.select(PUSHES).order_by(PUSHES.c.opened_at, PUSHES.c.replica, PUSHES.c.sequence)
            ).all()
            carried: dict[tuple[int, int], list[int]] = {}
            for trial, replica, sequence in connection.execute(
                sql.select(TRIALS.c.trial, TRIALS.c.push_replica, TRIALS.c.push_sequence)
                .where(TRIALS.c.push_sequence.is_not(None))
                .order_by(TRIALS.c.trial)
            ):
                carried.setdefault((replica, sequence), []).append(trial)
        return [
            PushRecord(**row._mapping, trials=tuple(carried[row.replica, row.sequence]))
            for row in rows
        ]

    def tests(self) -> dict[int, float]:
        """Give the test figure of every trial that was tested."""
        with self._read() as connection:
            return _pairs(connection, sql.select(TESTS.c.trial, TESTS.c.figure))

    def close(self) -> None:
        """Close the connections to the database."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _read(self) -> Iterator[sql.Connection]:
        with (
            named_failures(self._engine),
            self._engine.connect().execution_options(**READS_ONLY) as connection,
        ):
            yield connection


def _top(number: int) -> sql.Select[Any]:
    return (
        sql.select(TRIALS)
        .where(TRIALS.c.state == "completed")
        .order_by(TRIALS.c.reward.desc(), TRIALS.c.trial)
        .limit(number)
    )


def _pairs(connection: sql.Connection, query: sql.Select[Any]) -> dict[Any, Any]:
    return {key: value for key, value in connection.execute(query).all()}  # noqa: C416 (rows)


def _trial(row: sql.Row[Any]) -> Trial:
    fields = dict(row._mapping)
    if row.decisions is not None:
        fields["decisions"] = [(kind, choice) for kind, choice in row.decisions]
    return Trial(**fields)
