"""The durable record of a search: its trials, their rewards, and the pushes that carry them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import NoReturn

import sqlalchemy as sql

from child.result import TrialResult
from controller.baseline import Baseline
from controller.database import (
    PUSHES,
    REPLICAS,
    SEARCH,
    TESTS,
    TRIALS,
    create_tables,
    named_failures,
)
from controller.errors import NotOwner, WrongState
from controller.ledger_reader import LedgerReader
from controller.records import SearchRecord, SearchState
from controller.schedule import ScheduleSettings
from controller.trial import RECORDED, Owner, Reservation, Stamp, Start


class Ledger(LedgerReader):
    """The record of one search in a database.

    Laws:
        The budget is exact: never more than num_trials are reserved.
        A recorded trial is durable; recording it again gives the same stamp and changes nothing.
        The stamp of a reward is the baseline of the rewards recorded before it.
        A reward is in at most one push; a replica has at most one open push; its sequence grows
        by one and never restarts.
        Only the newest incarnation of a replica changes anything, and only its own trials.

    Each method is one transaction, and the laws hold by what the database says inside it, not by
    what this object remembers: several ledgers on one database do no harm.

    Threads: may be called from many.
    """

    def __init__(self, url: str, clock: Callable[[], float] = time.time) -> None:
        """Open the ledger at a database URL, such as sqlite:////absolute/path/ledger.sqlite."""
        super().__init__(url)
        self._clock = clock

    @classmethod
    def create(
        cls, url: str, search: SearchRecord, clock: Callable[[], float] = time.time
    ) -> Ledger:
        """Make the tables and the record of a new search in an empty database.

        Raises:
            WrongState: the database holds a search already.
        """
        ledger = cls(url, clock)
        row = SEARCH.insert().values(
            id=1,
            num_trials=search.num_trials,
            schedule=search.schedule.model_dump(mode="json"),
            settings=search.settings,
            code_versions=search.code_versions,
            metric=asdict(search.metric),
            baseline_decay=search.baseline.decay,
            baseline_start=search.baseline.start,
            baseline_average=search.baseline.average,
            state="running",
            reason="",
            started_at=clock(),
        )
        try:
            with named_failures(ledger._engine):
                create_tables(ledger._engine)
            with ledger._write() as connection:
                connection.execute(row)
        except sql.exc.IntegrityError as error:
            raise WrongState(
                f"{url} holds a search already; a new one needs a database of its own"
            ) from error
        return ledger

    def enlist(self, replica: int) -> Owner:
        """Begin a life of a replica: hand it an incarnation higher than any before."""
        with self._write() as connection:
            known = connection.execute(
                REPLICAS.update()
                .where(REPLICAS.c.replica == replica)
                .values(incarnation=REPLICAS.c.incarnation + 1)
                .returning(REPLICAS.c.incarnation)
            ).scalar()
            if known is None:
                connection.execute(
                    REPLICAS.insert().values(replica=replica, incarnation=1, last_sequence=0)
                )
            return Owner(replica, known or 1)

    def reserve(self, owner: Owner, num_trials: int) -> list[Reservation]:
        """Take up to num_trials places in the budget; an empty list says that it is spent.

        Raises:
            NotOwner: a newer life of the replica is known.
        """
        with self._write() as connection:
            _check_life(connection, owner)
            search = connection.execute(sql.select(SEARCH)).one()
            schedule = ScheduleSettings.model_validate(search.schedule)
            taken = connection.execute(sql.select(sql.func.max(TRIALS.c.trial))).scalar() or 0
            last = min(taken + num_trials, search.num_trials)
            places = [Reservation(t, schedule.depth(t)) for t in range(taken + 1, last + 1)]
            if places:
                connection.execute(
                    TRIALS.insert(),
                    [
                        {
                            "trial": place.trial,
                            "depth": place.depth,
                            "state": "reserved",
                            "replica": owner.replica,
                            "incarnation": owner.incarnation,
                            "reserved_at": self._clock(),
                        }
                        for place in places
                    ],
                )
            return places

    def start(self, owner: Owner, starts: Sequence[Start]) -> None:
        """Write down what was sampled, before the children train.

        Raises:
            NotOwner, WrongState: the trial is not the owner's, or not reserved.
        """
        with self._write() as connection:
            _check_life(connection, owner)
            for start in starts:
                changed = connection.execute(
                    TRIALS.update()
                    .where(TRIALS.c.trial == start.trial, _owned_by(owner))
                    .where(TRIALS.c.state == "reserved")
                    .values(**asdict(start), state="started", started_at=self._clock())
                ).rowcount
                if not changed:
                    _refuse(connection, owner, start.trial, "start it", "reserved")

    def record(self, owner: Owner, trial: int, result: TrialResult) -> Stamp:
        """Write down the result of a trial with the baseline as it is, then move the baseline.

        Repeats: the stamp of the first call, and nothing changes.

        Raises:
            NotOwner, WrongState: the trial is not the owner's, or not started.
            ValueError: the reward is not finite.
        """
        if not math.isfinite(result.reward):
            raise ValueError(
                f"trial {trial}: reward={result.reward}: must be finite; the baseline would be lost"
            )
        with self._write() as connection:
            _check_life(connection, owner)
            row = connection.execute(
                sql.select(TRIALS).where(TRIALS.c.trial == trial, _owned_by(owner))
            ).one_or_none()
            if row is not None and row.state in RECORDED:
                return Stamp(row.reward, row.baseline)
            if row is None or row.state != "started":
                _refuse(connection, owner, trial, "record it", "started")
            search = connection.execute(sql.select(SEARCH)).one()
            baseline = Baseline(
                search.baseline_decay, search.baseline_start, search.baseline_average
            )
            latest = connection.execute(sql.select(sql.func.max(TRIALS.c.record_number))).scalar()
            connection.execute(
                TRIALS.update()
                .where(TRIALS.c.trial == trial)
                .values(
                    **asdict(result),
                    baseline=baseline.stamp,
                    record_number=(latest or 0) + 1,
                    recorded_at=self._clock(),
                )
            )
            connection.execute(
                SEARCH.update().values(baseline_average=baseline.moved_by(result.reward).average)
            )
            return Stamp(result.reward, baseline.stamp)

    def open_push(
        self, owner: Owner, trials: Sequence[int], base_versions: Sequence[int], gradient: bytes
    ) -> int:
        """Make a push durable before it leaves, and give its sequence.

        Args:
            trials: whose rewards the gradient carries.
            gradient: packed float32 of the whole parameter vector.

        Raises:
            NotOwner: a newer life of the replica is known.
            WrongState: the replica has an open push, or a trial is not its own, not recorded, or in
                a push already.
        """
        with self._write() as connection:
            _check_life(connection, owner)
            still_open = connection.execute(
                sql.select(PUSHES.c.sequence).where(
                    PUSHES.c.replica == owner.replica, PUSHES.c.closed_at.is_(None)
                )
            ).scalar()
            if still_open is not None:
                raise WrongState(
                    f"push r{owner.replica}#{still_open} is open; close it before the next"
                )
            sequence: int = connection.execute(
                REPLICAS.update()
                .where(REPLICAS.c.replica == owner.replica)
                .values(last_sequence=REPLICAS.c.last_sequence + 1)
                .returning(REPLICAS.c.last_sequence)
            ).scalar_one()
            connection.execute(
                PUSHES.insert().values(
                    replica=owner.replica,
                    sequence=sequence,
                    incarnation=owner.incarnation,
                    base_versions=list(base_versions),
                    gradient=gradient,
                    opened_at=self._clock(),
                )
            )
            carried = connection.execute(
                TRIALS.update()
                .where(TRIALS.c.trial.in_(trials), _owned_by(owner))
                .where(TRIALS.c.state.in_(RECORDED), TRIALS.c.push_sequence.is_(None))
                .values(push_replica=owner.replica, push_sequence=sequence)
            ).rowcount
            if not trials or carried != len(trials):
                raise WrongState(
                    f"push r{owner.replica}#{sequence} of trials {list(trials)}: each must be "
                    f"recorded, replica {owner.replica}'s, and in no push yet; {carried} are"
                )
            return sequence

    def replace_push(
        self, owner: Owner, sequence: int, base_versions: Sequence[int], gradient: bytes
    ) -> None:
        """Put another gradient of the same trials into an open push that a shard found too stale.

        Shards that have accepted the push already take no notice of what it now carries.

        Raises:
            NotOwner: a newer life of the replica is known.
            WrongState: there is no such push, or it is closed.
        """
        with self._write() as connection:
            _check_life(connection, owner)
            replaced = connection.execute(
                PUSHES.update()
                .where(PUSHES.c.replica == owner.replica, PUSHES.c.sequence == sequence)
                .where(PUSHES.c.closed_at.is_(None))
                .values(base_versions=list(base_versions), gradient=gradient)
            ).rowcount
            if replaced != 1:
                raise WrongState(f"push r{owner.replica}#{sequence} is not open")

    def close_push(
        self, owner: Owner, sequence: int, versions: Sequence[int], staleness: Sequence[int]
    ) -> None:
        """Write down that all shards have acknowledged a push; its gradient is let go.

        Repeats: nothing changes.

        Raises:
            NotOwner: a newer life of the replica is known.
            WrongState: there is no such push.
        """
        with self._write() as connection:
            _check_life(connection, owner)
            named = sql.and_(PUSHES.c.replica == owner.replica, PUSHES.c.sequence == sequence)
            if connection.execute(sql.select(PUSHES.c.sequence).where(named)).scalar() is None:
                raise WrongState(f"push r{owner.replica}#{sequence} is not in the ledger")
            connection.execute(
                PUSHES.update()
                .where(named, PUSHES.c.closed_at.is_(None))
                .values(
                    closed_at=self._clock(),
                    versions=list(versions),
                    staleness=list(staleness),
                    gradient=None,
                )
            )

    def record_test(self, trial: int, figure: float) -> None:
        """Write down the test figure of a trial's network, once.

        Raises:
            WrongState: the trial has been tested before, or does not exist.
        """
        try:
            with self._write() as connection:
                connection.execute(
                    TESTS.insert().values(trial=trial, figure=figure, tested_at=self._clock())
                )
        except sql.exc.IntegrityError as error:
            raise WrongState(f"trial {trial}: must exist, and is tested at most once") from error

    def end(self, state: SearchState, reason: str = "") -> None:
        """Write down how the search ended."""
        with self._write() as connection:
            connection.execute(
                SEARCH.update().values(state=state, reason=reason, ended_at=self._clock())
            )

    @contextmanager
    def _write(self) -> Iterator[sql.Connection]:
        with named_failures(self._engine), self._engine.begin() as connection:
            yield connection


def _owned_by(owner: Owner) -> sql.ColumnElement[bool]:
    return sql.and_(TRIALS.c.replica == owner.replica, TRIALS.c.incarnation == owner.incarnation)


def _check_life(connection: sql.Connection, owner: Owner) -> None:
    newest = connection.execute(
        sql.select(REPLICAS.c.incarnation).where(REPLICAS.c.replica == owner.replica)
    ).scalar()
    if newest != owner.incarnation:
        raise NotOwner(
            f"replica {owner.replica}, incarnation {owner.incarnation}: must be the newest, "
            f"{newest}; this life of the replica is over and must end"
        )


def _refuse(
    connection: sql.Connection, owner: Owner, trial: int, purpose: str, needed: str
) -> NoReturn:
    row = connection.execute(sql.select(TRIALS).where(TRIALS.c.trial == trial)).one_or_none()
    if row is None:
        raise WrongState(f"trial {trial}: must be {needed} to {purpose}; it does not exist")
    if (row.replica, row.incarnation) != owner:
        raise NotOwner(
            f"trial {trial} belongs to replica {row.replica}, incarnation {row.incarnation}; "
            f"replica {owner.replica}, incarnation {owner.incarnation}, must not {purpose}"
        )
    raise WrongState(f"trial {trial} is {row.state}: must be {needed} to {purpose}")
