"""The durable record of a search as a whole: its lives, where its shards are, how it ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, astuple
from pathlib import Path
from typing import Any, Self

import sqlalchemy as sql

from child.final_result import FinalResult
from child.result import TrialResult
from controller.database import (
    CHILDREN,
    LIVES,
    REPLICAS,
    SEARCH,
    SHARDS,
    TESTS,
    TRAININGS,
    TRIALS,
    named_failures,
    new_tables,
    shown,
)
from controller.errors import StillAlive, Superseded, WrongState
from controller.file_system import refuse_network_file_system
from controller.ledger_reader import LedgerReader
from controller.records import ChildAtWork, Life, SearchRecord, SearchState
from controller.retraining import Training, TrainingRecord


class SearchLedger(LedgerReader):
    """The part of the ledger that is written by whoever runs the search; see `Ledger`.

    Laws:
        A search has one life at a time: a new one begins when the one before has ended, or gives no
        sign any more; from then on the one before, and all its replicas, change nothing.
        A trained network is tested at most once. A training is recorded once.

    Whether a life still gives signs is for the caller to see: it looks at `Life.num_beats` for as
    long as its own clock says, so that no two clocks need to agree.

    Threads: may be called from many. Repeats: all but begin_life are safe to repeat.
    """

    def __init__(self, url: str, clock: Callable[[], float] = time.time) -> None:
        """Open the ledger at a database URL, to write it.

        Raises:
            UnusableDatabase: see `LedgerReader`; or it is SQLite on a network file system.
        """
        super().__init__(url)
        if self._engine.dialect.name == "sqlite":
            refuse_network_file_system(Path(self._engine.url.database or ""))
        self._clock = clock

    @classmethod
    def create(cls, url: str, search: SearchRecord, clock: Callable[[], float] = time.time) -> Self:
        """Make the tables and the record of a new search in an empty database.

        Raises:
            WrongState: the database holds a search already.
        """
        ledger = cls(url, clock)
        row = SEARCH.insert().values(
            id=1,
            **_revisable(search),
            metric=asdict(search.metric),
            baseline_decay=search.baseline.decay,
            baseline_start=search.baseline.start,
            baseline_average=search.baseline.average,
            state="running",
            reason="",
            life=0,
            is_stop_requested=False,
            started_at=clock(),
        )
        try:
            with named_failures(ledger._engine), new_tables(ledger._engine) as connection:
                connection.execute(row)
        except BaseException as error:
            ledger.close()
            if not isinstance(error, sql.exc.IntegrityError):
                raise
            raise WrongState(
                f"{shown(ledger._engine)} holds a search already; a new one needs a database of "
                "its own"
            ) from error
        return ledger

    def begin_life(
        self,
        host: str,
        process: int,
        *,
        is_job: bool = False,
        last: Life | None = None,
        search: SearchRecord | None = None,
    ) -> int:
        """Begin a life of the search, the first or a resumed one, and give its number.

        Args:
            host, process: whose life it is, for messages.
            is_job: whether that is a job of a cluster.
            last: the newest life as the caller has last seen it, if it has not ended: it is over if
                it has given no sign since.
            search: its budget, schedule, settings and code from now on; the rest stays.

        Raises:
            StillAlive: another life has not ended, and is not `last`, or gave a sign since.
            WrongState: more trials have begun than the budget would have.
        """
        with self._write() as connection:
            newest = _newest_life(connection)
            if (
                newest is not None
                and newest.ended_at is None
                and (last is None or (newest.life, newest.num_beats) != (last.life, last.num_beats))
            ):
                raise StillAlive(f"the search is being run by {newest}")
            if search is not None:
                begun = connection.execute(sql.select(sql.func.max(TRIALS.c.trial))).scalar() or 0
                if begun > search.num_trials:
                    raise WrongState(
                        f"num_trials={search.num_trials}: must be at least {begun}, the trials "
                        "that have begun"
                    )
                connection.execute(SEARCH.update().values(**_revisable(search)))
            life = 1 if newest is None else newest.life + 1
            now = self._clock()
            connection.execute(
                LIVES.insert().values(
                    life=life,
                    host=host,
                    process=process,
                    is_job=is_job,
                    began_at=now,
                    num_beats=0,
                    beat_at=now,
                )
            )
            connection.execute(
                SEARCH.update().values(
                    life=life,
                    state="running",
                    reason="",
                    ended_at=None,
                    is_stop_requested=False,
                    requested_changes=None,
                )
            )
            # Whatever is left of the life before is refused from now on, and its trials are free.
            connection.execute(
                REPLICAS.update().values(incarnation=REPLICAS.c.incarnation + 1, lease_until=0.0)
            )
            connection.execute(SHARDS.delete())
            connection.execute(CHILDREN.delete())
            return life

    def beat(self, life: int) -> None:
        """Give a sign of life.

        Raises:
            Superseded: a newer life of the search has begun.
        """
        with self._write() as connection:
            check_search_life(connection, life)
            connection.execute(
                LIVES.update()
                .where(LIVES.c.life == life)
                .values(num_beats=LIVES.c.num_beats + 1, beat_at=self._clock())
            )

    def publish(self, life: int, shard: int, address: str) -> None:
        """Make known where a shard listens.

        Raises:
            Superseded: a newer life of the search has begun.
        """
        with self._write() as connection:
            check_search_life(connection, life)
            connection.execute(SHARDS.delete().where(SHARDS.c.shard == shard))
            connection.execute(SHARDS.insert().values(shard=shard, address=address))

    def publish_children(self, life: int, children: Sequence[ChildAtWork]) -> None:
        """Make known which children are in training.

        Raises:
            Superseded: a newer life of the search has begun.
        """
        with self._write() as connection:
            check_search_life(connection, life)
            told = [astuple(child) for child in children]
            connection.execute(CHILDREN.delete())
            connection.execute(CHILDREN.insert().values(id=1, told=told))

    def request_stop(self) -> None:
        """Ask whoever runs the search to let its children finish, and end.

        Raises:
            WrongState: the search has ended.
        """
        with self._write() as connection:
            state = connection.execute(sql.select(SEARCH.c.state)).scalar_one()
            if state != "running":
                raise WrongState(f"the search is {state}: there is nothing to stop")
            connection.execute(SEARCH.update().values(is_stop_requested=True))

    def request_changes(self, changes: Mapping[str, Any]) -> None:
        """Ask whoever runs the search to go on with other settings, given by their names in dots.

        What was asked for before, and not seen to yet, stays, but where it is asked for anew.

        Raises:
            WrongState: the search has ended.
        """
        with self._write() as connection:
            search = connection.execute(
                sql.select(SEARCH.c.state, SEARCH.c.requested_changes)
            ).one()
            if search.state != "running":
                raise WrongState(f"the search is {search.state}: there is nothing to change")
            before = search.requested_changes or {}
            connection.execute(SEARCH.update().values(requested_changes={**before, **changes}))

    def answer_changes(
        self, life: int, changes: Mapping[str, Any], settings: Mapping[str, Any] | None
    ) -> None:
        """Write down that the search has seen to these changes, and the settings it goes on with.

        If more was asked for meanwhile, the whole is still to be seen to.

        Args:
            settings: all of them; None where they stay as they were.

        Raises:
            Superseded: a newer life of the search has begun.
        """
        with self._write() as connection:
            check_search_life(connection, life)
            if settings is not None:
                connection.execute(SEARCH.update().values(settings=settings))
            asked = connection.execute(sql.select(SEARCH.c.requested_changes)).scalar_one()
            if asked == changes:
                connection.execute(SEARCH.update().values(requested_changes=None))

    def record_test(self, trial: int, figure: float) -> None:
        """Write down the test figure of a trial's network, once.

        Raises:
            WrongState: the trial has been tested before, with another figure, or does not exist.
        """
        try:
            with self._write() as connection:
                known = sql.select(TESTS.c.figure).where(TESTS.c.trial == trial)
                if connection.execute(known).scalar() == figure:
                    return
                connection.execute(
                    TESTS.insert().values(trial=trial, figure=figure, tested_at=self._clock())
                )
        except sql.exc.IntegrityError as error:
            raise WrongState(f"trial {trial}: must exist, and is tested at most once") from error

    def record_training(
        self, training: Training, result: TrialResult | FinalResult
    ) -> TrainingRecord:
        """Write down what became of a training after the search, once.

        Repeats: the first record stays, and is given again.

        Raises:
            WrongState: the trial does not exist.
        """
        record = TrainingRecord.of(training, result, self._clock())
        known = sql.select(TRAININGS).where(TRAININGS.c.sha256 == training.sha256)
        try:
            with self._write() as connection:
                row = connection.execute(known).one_or_none()
                if row is not None:
                    return TrainingRecord(**row._mapping)
                connection.execute(TRAININGS.insert().values(**asdict(record)))
        except sql.exc.IntegrityError as error:
            raise WrongState(f"trial {training.trial}: must exist") from error
        return record

    def end(self, life: int, state: SearchState, reason: str = "") -> None:
        """Write down how a life of the search ended.

        Raises:
            Superseded: a newer life of the search has begun.
        """
        with self._write() as connection:
            check_search_life(connection, life)
            now = self._clock()
            connection.execute(SEARCH.update().values(state=state, reason=reason, ended_at=now))
            connection.execute(
                LIVES.update().where(LIVES.c.life == life).values(ended_at=now, beat_at=now)
            )

    @contextmanager
    def _write(self) -> Iterator[sql.Connection]:
        with named_failures(self._engine), self._engine.begin() as connection:
            yield connection


def check_search_life(connection: sql.Connection, life: int) -> None:
    """Raise Superseded where this is not the newest life of the search."""
    newest = connection.execute(sql.select(SEARCH.c.life)).scalar_one()
    if newest != life:
        raise Superseded(
            f"life {life} of the search: must be the newest, {newest}; the search was resumed "
            "elsewhere, and this life of it is over and must end"
        )


def _newest_life(connection: sql.Connection) -> Life | None:
    row = connection.execute(sql.select(LIVES).order_by(LIVES.c.life.desc()).limit(1)).one_or_none()
    return None if row is None else Life(**row._mapping)


def _revisable(search: SearchRecord) -> dict[str, object]:
    return {
        "num_trials": search.num_trials,
        "schedule": search.schedule.model_dump(mode="json"),
        "settings": search.settings,
        "code_versions": search.code_versions,
    }
