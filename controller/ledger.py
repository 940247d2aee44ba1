"""The durable record of a search: its trials, their rewards, and the pushes that carry them."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import asdict
from typing import Any

import sqlalchemy as sql

from child.result import TrialResult
from controller.baseline import Baseline
from controller.database import IS_IN_FLIGHT, REPLICAS, SEARCH, TRIALS
from controller.errors import NotOwner, WrongState
from controller.replica_ledger import ReplicaLedger, owned_by
from controller.schedule import ScheduleSettings
from controller.trial import RECORDED, Owner, Reservation, Stamp, Start


class Ledger(ReplicaLedger):
    """The record of one search in a database.

    Laws, beside those of `SearchLedger` and `ReplicaLedger`:
        The budget is exact: never more than num_trials are reserved, and a trial in flight whose
        owner is gone is reserved again by another, with what was sampled for it.
        A recorded trial is durable; recording it again gives the same stamp and changes nothing.
        The stamp of a reward is the baseline of the rewards recorded before it.

    Each method is one transaction, and the laws hold by what the database says inside it, not by
    what this object remembers: several ledgers on one database do no harm.

    Threads: may be called from many. Repeats: every call of a replica is safe to repeat.
    """

    def reserve(
        self, owner: Owner, num_trials: int, held: Collection[int] = ()
    ) -> list[Reservation]:
        """Take up to num_trials places in the budget; an empty list says that none is free.

        Trials whose owner is gone come first, then those that nobody had.

        Args:
            held: the trials in flight that the owner knows to be its own. Others of its own were
                reserved by a call whose answer was lost, and are given again.

        Raises:
            Superseded: a newer life of the replica is known.
        """
        with self._write() as connection:
            self._check_life(connection, owner)
            mine = sql.and_(owned_by(owner), TRIALS.c.trial.not_in(held))
            rows = connection.execute(
                sql.select(TRIALS)
                .where(IS_IN_FLIGHT, mine | ~self._has_living_owner())
                .order_by(TRIALS.c.trial)
                .limit(num_trials)
            ).all()
            if rows:
                connection.execute(
                    TRIALS.update()
                    .where(TRIALS.c.trial.in_([row.trial for row in rows]))
                    .values(replica=owner.replica, incarnation=owner.incarnation)
                )
            places = [Reservation(row.trial, row.depth, _start_of(row)) for row in rows]
            newest = sql.select(sql.func.max(TRIALS.c.trial)).scalar_subquery()
            search = connection.execute(
                sql.select(SEARCH.c.num_trials, SEARCH.c.schedule, newest.label("newest"))
            ).one()
            schedule = ScheduleSettings.model_validate(search.schedule)
            taken = search.newest or 0
            last = min(taken + num_trials - len(places), search.num_trials)
            new = [Reservation(t, schedule.depth(t)) for t in range(taken + 1, last + 1)]
            if new:
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
                        for place in new
                    ],
                )
            return places + new

    def release(self, owner: Owner, trials: Collection[int]) -> None:
        """Give back trials in flight for any replica to reserve.

        Raises:
            Superseded: a newer life of the replica is known.
        """
        with self._write() as connection:
            self._check_life(connection, owner)
            connection.execute(
                TRIALS.update()
                .where(TRIALS.c.trial.in_(trials), owned_by(owner), IS_IN_FLIGHT)
                .values(incarnation=0)
            )

    def start(
        self, owner: Owner, starts: Sequence[Start], *, reuse: bool = False
    ) -> dict[int, Stamp]:
        """Write down what was sampled, before the children train.

        Args:
            reuse: take the result of a completed trial with the same architecture, where there is
                one, instead of training it again.

        Returns:
            The stamps of those trials that are recorded already, by reuse.

        Raises:
            Superseded: a newer life of the replica is known.
            NotOwner, WrongState: the trial is not the owner's, or not reserved.
        """
        with self._write() as connection:
            self._check_life(connection, owner)
            stamps: dict[int, Stamp] = {}
            for start in starts:
                row = self._own_row(connection, owner, start.trial, "start it")
                sha256 = start.architecture_sha256
                if row.state == "reserved":
                    connection.execute(
                        TRIALS.update()
                        .where(TRIALS.c.trial == start.trial)
                        .values(
                            **asdict(start),
                            architecture_sha256=sha256,
                            state="started",
                            started_at=self._clock(),
                        )
                    )
                elif row.architecture_sha256 != sha256:
                    raise WrongState(
                        f"trial {start.trial} is {row.state}: must be reserved to start it"
                    )
                if row.state in RECORDED:
                    stamps[start.trial] = Stamp(row.reward, row.baseline)
                elif reuse and (known := _known(connection, sha256)) is not None:
                    stamps[start.trial] = self._record(
                        connection, start.trial, _result_of(known), reused_from=known.trial
                    )
            return stamps

    def record(self, owner: Owner, trial: int, result: TrialResult) -> Stamp:
        """Write down the result of a trial with the baseline as it is, then move the baseline.

        Repeats: the stamp of the first call, and nothing changes.

        Raises:
            Superseded: a newer life of the replica is known.
            NotOwner, WrongState: the trial is not the owner's, or not started.
            ValueError: the reward is not finite.
        """
        if not math.isfinite(result.reward):
            raise ValueError(
                f"trial {trial}: reward={result.reward}: must be finite; the baseline would be lost"
            )
        with self._write() as connection:
            self._check_life(connection, owner)
            row = self._own_row(connection, owner, trial, "record it")
            if row.state in RECORDED:
                return Stamp(row.reward, row.baseline)
            if row.state != "started":
                raise WrongState(f"trial {trial} is {row.state}: must be started to record it")
            return self._record(connection, trial, result)

    def _record(
        self,
        connection: sql.Connection,
        trial: int,
        result: TrialResult,
        reused_from: int | None = None,
    ) -> Stamp:
        search = connection.execute(sql.select(SEARCH)).one()
        baseline = Baseline(search.baseline_decay, search.baseline_start, search.baseline_average)
        latest = connection.execute(sql.select(sql.func.max(TRIALS.c.record_number))).scalar()
        connection.execute(
            TRIALS.update()
            .where(TRIALS.c.trial == trial)
            .values(
                **asdict(result),
                baseline=baseline.stamp,
                record_number=(latest or 0) + 1,
                recorded_at=self._clock(),
                reused_from=reused_from,
            )
        )
        connection.execute(
            SEARCH.update().values(baseline_average=baseline.moved_by(result.reward).average)
        )
        return Stamp(result.reward, baseline.stamp)

    def _has_living_owner(self) -> sql.ColumnElement[bool]:
        return sql.exists().where(
            REPLICAS.c.replica == TRIALS.c.replica,
            REPLICAS.c.incarnation == TRIALS.c.incarnation,
            REPLICAS.c.lease_until > self._clock(),
        )

    @staticmethod
    def _own_row(
        connection: sql.Connection, owner: Owner, trial: int, purpose: str
    ) -> sql.Row[Any]:
        row = connection.execute(sql.select(TRIALS).where(TRIALS.c.trial == trial)).one_or_none()
        if row is None:
            raise WrongState(f"trial {trial}: must exist to {purpose}; it does not")
        if (row.replica, row.incarnation) != owner:
            raise NotOwner(
                f"trial {trial} belongs to replica {row.replica}, incarnation {row.incarnation}; "
                f"replica {owner.replica}, incarnation {owner.incarnation}, must not {purpose}"
            )
        return row


def _start_of(row: sql.Row[Any]) -> Start | None:
    """Give what was sampled for a trial, if it was."""
    if row.decisions is None:
        return None
    return Start(
        trial=row.trial,
        decisions=tuple((kind, choice) for kind, choice in row.decisions),
        log_probs=tuple(row.log_probs),
        architecture=row.architecture,
        architecture_text=row.architecture_text,
        seed=row.seed,
        versions=tuple(row.versions),
    )


def _known(connection: sql.Connection, architecture_sha256: str) -> sql.Row[Any] | None:
    """Give the first trial that trained an architecture to the end."""
    return connection.execute(
        sql.select(TRIALS)
        .where(TRIALS.c.architecture_sha256 == architecture_sha256)
        .where(TRIALS.c.state == "completed", TRIALS.c.reused_from.is_(None))
        .order_by(TRIALS.c.trial)
        .limit(1)
    ).one_or_none()


def _result_of(row: sql.Row[Any]) -> TrialResult:
    return TrialResult(
        state=row.state,
        reward=row.reward,
        validations=tuple(row.validations),
        validation=row.validation,
        num_parameters=row.num_parameters,
        seconds=0.0,
        reason=row.reason,
        is_out_of_memory=row.is_out_of_memory,
    )
