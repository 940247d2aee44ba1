"""A look into the durable record of a search; it changes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self

import sqlalchemy as sql

from child.metric import Metric
from controller.baseline import Baseline
from controller.database import (
    CHILDREN,
    IS_IN_FLIGHT,
    IS_UNPUSHED,
    LIVES,
    PUSHES,
    READS_ONLY,
    SEARCH,
    SHARDS,
    TESTS,
    TRAININGS,
    TRIALS,
    connect,
    named_failures,
)
from controller.population import Individual
from controller.records import Activity, ChildAtWork, Life, Progress, PushRecord
from controller.retraining import TrainingRecord
from controller.trial import RECORDED, Trial

_LATELY = 100
# Of fewer trials a mean says little.
_CURVE_PART = 4
_CURVE_PARTS = 24


class LedgerReader:
    """The record of one search in a database, to be read while the search runs and afterwards.

    A reader does not wait for the writer, nor the writer for it; it sees what was committed.
    What cannot be read raises LedgerUnavailable.

    Threads: may be called from many.
    """

    def __init__(self, url: str) -> None:
        """Open the ledger at a database URL.

        Args:
            url: such as sqlite:////absolute/path/ledger.sqlite or postgresql://user@host/database.

        Raises:
            UnusableDatabase: it is no URL of such a database, or its driver is not installed.
        """
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
            best = connection.execute(_top(1)).one_or_none()
            reused = sql.select(sql.func.count()).where(TRIALS.c.reused_from.is_not(None))
            lasted = sql.func.coalesce(LIVES.c.ended_at, LIVES.c.beat_at) - LIVES.c.began_at
            return Progress(
                state=search.state,
                reason=search.reason,
                metric=Metric(**search.metric),
                num_trials=search.num_trials,
                num_recorded=sum(counts.get(state, 0) for state in RECORDED),
                num_infeasible=counts.get("infeasible", 0),
                num_reused=connection.execute(reused).scalar_one(),
                num_in_flight=sum(n for state, n in counts.items() if state not in RECORDED),
                num_unpushed=_num_unpushed(connection),
                best=None if best is None else trial_of(best),
                started_at=search.started_at,
                ended_at=search.ended_at,
                seconds=connection.execute(sql.select(sql.func.sum(lasted))).scalar() or 0.0,
                is_stop_requested=search.is_stop_requested,
                requested_changes=search.requested_changes,
            )

    def code_versions(self) -> dict[str, str]:
        """Give the versions of what the search runs on, or ran on last, by their names."""
        with self._read() as connection:
            versions = connection.execute(sql.select(SEARCH.c.code_versions)).scalar_one()
        return dict(versions)

    def activity(self) -> Activity:
        """Give what the search has done lately."""
        with self._read() as connection:
            last = connection.execute(
                sql.select(TRIALS.c.reward, TRIALS.c.recorded_at)
                .where(TRIALS.c.record_number.is_not(None))
                .order_by(TRIALS.c.record_number.desc())
                .limit(_LATELY)
            ).all()
            pushes = connection.execute(
                sql.select(PUSHES.c.closed_at, PUSHES.c.staleness)
                .where(PUSHES.c.closed_at.is_not(None))
                .order_by(PUSHES.c.closed_at.desc())
                .limit(_LATELY)
            ).all()
            in_flight = _pairs(
                connection,
                sql.select(TRIALS.c.state, sql.func.count())
                .where(IS_IN_FLIGHT)
                .group_by(TRIALS.c.state),
            )
            curve = _curve(connection)
            search = connection.execute(sql.select(SEARCH)).one()
            began_at = (
                connection.execute(sql.select(sql.func.max(LIVES.c.began_at))).scalar() or 0.0
            )
        rewards = [row.reward for row in last]
        staleness = [each for row in pushes for each in row.staleness]
        return Activity(
            curve=curve,
            mean_reward=sum(rewards) / len(rewards) if rewards else None,
            last_reward=rewards[0] if rewards else None,
            # Between two lives of the search nothing happens.
            trials_per_s=_rate([row.recorded_at for row in last if row.recorded_at >= began_at]),
            pushes_per_s=_rate([row.closed_at for row in pushes if row.closed_at >= began_at]),
            mean_staleness=sum(staleness) / len(staleness) if staleness else None,
            max_staleness=max(staleness, default=None),
            num_training=in_flight.get("started", 0),
            num_reserved=in_flight.get("reserved", 0),
            baseline=Baseline(
                search.baseline_decay, search.baseline_start, search.baseline_average
            ).stamp,
        )

    def children(self) -> list[ChildAtWork]:
        """Give the children in training, as the search has told last; none where it has ended."""
        with self._read() as connection:
            state = connection.execute(sql.select(SEARCH.c.state)).scalar_one()
            told = connection.execute(sql.select(CHILDREN.c.told)).scalar() or ()
        return [ChildAtWork(*child) for child in told] if state == "running" else []

    def trials(self, top: int | None = None) -> list[Trial]:
        """Give all trials by number; with top, the completed ones of the highest reward."""
        query = sql.select(TRIALS).order_by(TRIALS.c.trial) if top is None else _top(top)
        with self._read() as connection:
            return [trial_of(row) for row in connection.execute(query)]

    def trial(self, number: int) -> Trial | None:
        """Give the trial of that number, if there is one."""
        with self._read() as connection:
            row = connection.execute(sql.select(TRIALS).where(TRIALS.c.trial == number)).first()
        return None if row is None else trial_of(row)

    def recorded_after(self, number: int, limit: int) -> list[Trial]:
        """Give recorded trials after the first so many, in the order of their results.

        limit: how many at the most.
        """
        query = (
            sql.select(TRIALS)
            .where(TRIALS.c.record_number > number)
            .order_by(TRIALS.c.record_number)
            .limit(limit)
        )
        with self._read() as connection:
            return [trial_of(row) for row in connection.execute(query)]

    def newest(self, number: int) -> list[Individual]:
        """Give the trials that were recorded last, at most so many, the last one first."""
        query = (
            sql.select(TRIALS.c.depth, TRIALS.c.decisions, TRIALS.c.reward)
            .where(TRIALS.c.record_number.is_not(None))
            .order_by(TRIALS.c.record_number.desc())
            .limit(number)
        )
        with self._read() as connection:
            return [
                Individual(depth, tuple(choice for _, choice in decisions), reward)
                for depth, decisions, reward in connection.execute(query)
            ]

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

    def lives(self) -> list[Life]:
        """Give all lives of the search, the newest last."""
        with self._read() as connection:
            rows = connection.execute(sql.select(LIVES).order_by(LIVES.c.life)).all()
        return [Life(**row._mapping) for row in rows]

    def addresses(self) -> dict[int, str]:
        """Give where each shard listens, of those that are up."""
        with self._read() as connection:
            return _pairs(connection, sql.select(SHARDS.c.shard, SHARDS.c.address))

    def acknowledged(self, num_shards: int) -> tuple[int, ...]:
        """Give the newest version that each shard is known to have acknowledged."""
        with self._read() as connection:
            answers = connection.execute(
                sql.select(PUSHES.c.versions).where(PUSHES.c.closed_at.is_not(None))
            ).scalars()
            # The number of shards may have changed between two lives of the search.
            versions = [each for each in answers if len(each) == num_shards]
        return tuple(map(max, zip(*versions, strict=True))) or (0,) * num_shards

    def unsettled_replicas(self) -> list[int]:
        """Give the replicas whose recorded rewards are not all acknowledged by all shards."""
        with self._read() as connection:
            return sorted(
                connection.execute(
                    sql.union(
                        sql.select(PUSHES.c.replica).where(PUSHES.c.closed_at.is_(None)),
                        sql.select(TRIALS.c.replica).where(IS_UNPUSHED),
                    )
                ).scalars()
            )

    def tests(self) -> dict[int, float]:
        """Give the test figure of every trial that was tested."""
        with self._read() as connection:
            return _pairs(connection, sql.select(TESTS.c.trial, TESTS.c.figure))

    def trainings(self) -> list[TrainingRecord]:
        """Give what was trained after the search, in the order in which it ended."""
        query = sql.select(TRAININGS).order_by(TRAININGS.c.recorded_at, TRAININGS.c.sha256)
        with self._read() as connection:
            return [TrainingRecord(**row._mapping) for row in connection.execute(query)]

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


def _curve(connection: sql.Connection) -> list[float]:
    """Give the mean reward of each equal part of the recorded trials, by their number."""
    number = TRIALS.c.record_number
    newest = connection.execute(sql.select(sql.func.max(number))).scalar() or 0
    each = max(_CURVE_PART, -(-newest // _CURVE_PARTS))
    part = (number - 1) // each
    query = (
        sql.select(part, sql.func.avg(TRIALS.c.reward))
        .where(number.is_not(None))
        .group_by(part)
        .order_by(part)
    )
    return [mean for _, mean in connection.execute(query)]


def _rate(times: Sequence[float]) -> float | None:
    """Give how many there were in a second, of these, the newest first; None of fewer than two."""
    if len(times) < 2 or times[0] <= times[-1]:
        return None
    return (len(times) - 1) / (times[0] - times[-1])


def _top(number: int) -> sql.Select[Any]:
    return (
        sql.select(TRIALS)
        .where(TRIALS.c.state == "completed")
        .order_by(TRIALS.c.reward.desc(), TRIALS.c.trial)
        .limit(number)
    )


def _pairs(connection: sql.Connection, query: sql.Select[Any]) -> dict[Any, Any]:
    return {key: value for key, value in connection.execute(query).all()}  # noqa: C416 (rows)


def trial_of(row: sql.Row[Any]) -> Trial:
    """Give the trial of a row of TRIALS."""
    fields = dict(row._mapping)
    if row.decisions is not None:
        fields["decisions"] = [(kind, choice) for kind, choice in row.decisions]
    return Trial(**fields)


def push_of(connection: sql.Connection, row: sql.Row[Any]) -> PushRecord:
    """Give the push of a row of PUSHES."""
    carried = connection.execute(
        sql.select(TRIALS.c.trial)
        .where(TRIALS.c.push_replica == row.replica, TRIALS.c.push_sequence == row.sequence)
        .order_by(TRIALS.c.trial)
    ).scalars()
    return PushRecord(**row._mapping, trials=tuple(carried))


def _num_unpushed(connection: sql.Connection) -> int:
    """Count the recorded trials in no push, and those in a push that is open."""
    in_none = sql.select(sql.func.count()).where(IS_UNPUSHED)
    in_open = (
        sql.select(sql.func.count())
        .select_from(PUSHES)
        .join(
            TRIALS,
            sql.and_(
                TRIALS.c.push_replica == PUSHES.c.replica,
                TRIALS.c.push_sequence == PUSHES.c.sequence,
            ),
        )
        .where(PUSHES.c.closed_at.is_(None))
    )
    return int(connection.execute(in_none).scalar_one() + connection.execute(in_open).scalar_one())
