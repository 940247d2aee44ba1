"""The durable record of a search: its trials, their rewards, and the pushes that carry them."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import sqlalchemy as sql

from child.result import MAX_REWARD, TrialResult
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
            rows = self._rows(connection, [start.trial for start in starts], "start")
            sha256s = {start.trial: start.architecture_sha256 for start in starts}
            stamps: dict[int, Stamp] = {}
            begun: list[Start] = []
            for start in starts:
                row = rows[start.trial]
                if not _is_of(row, owner):
                    raise NotOwner(
                        f"trial {start.trial} belongs to replica {row.replica}, incarnation "
                        f"{row.incarnation}; replica {owner.replica}, incarnation "
                        f"{owner.incarnation}, must not start it"
                    )
                if row.state == "reserved":
                    begun.append(start)
                elif row.architecture_sha256 != sha256s[start.trial]:
                    raise WrongState(
                        f"trial {start.trial} is {row.state}: must be reserved to start it"
                    )
                if row.state in RECORDED:
                    stamps[start.trial] = Stamp(row.reward, row.baseline)
            self._update(
                connection,
                {
                    start.trial: {
                        **asdict(start),
                        "architecture_sha256": sha256s[start.trial],
                        "state": "started",
                        "started_at": self._clock(),
                    }
                    for start in begun
                },
            )
            if not reuse:
                return stamps
            # One query for each: a query for all would not take the index.
            known = {
                trial: (_result_of(found), found.trial)
                for trial, sha256 in sha256s.items()
                if trial not in stamps and (found := _known(connection, sha256)) is not None
            }
            return stamps | self._record(connection, known)

    def record(self, owner: Owner, results: Mapping[int, TrialResult]) -> dict[int, Stamp]:
        """Write down results, each with the baseline as the one before has left it.

        Repeats: the stamps of the first call, and nothing changes.

        Args:
            results: by their trials, in the order in which they came.

        Returns:
            The stamp of each. Trials that are not the owner's any more are left out: they are
            another's, who has their rewards.

        Raises:
            Superseded: a newer life of the replica is known.
            WrongState: a trial is not started; none is recorded.
            ValueError: a reward is not finite, or above MAX_REWARD; none is recorded.
        """
        for trial, result in results.items():
            if not math.isfinite(result.reward):
                raise ValueError(
                    f"trial {trial}: reward={result.reward}: must be finite; the baseline would be "
                    "lost"
                )
            if result.reward > MAX_REWARD:
                raise ValueError(
                    f"trial {trial}: reward={result.reward:g}: must be at most {MAX_REWARD:g}; the "
                    "baseline would keep it"
                )
        with self._write() as connection:
            self._check_life(connection, owner)
            rows = self._rows(connection, results, "record")
            own = [trial for trial in results if _is_of(rows[trial], owner)]
            stamps: dict[int, Stamp] = {}
            for trial in own:
                row = rows[trial]
                if row.state in RECORDED:
                    stamps[trial] = Stamp(row.reward, row.baseline)
                elif row.state != "started":
                    raise WrongState(f"trial {trial} is {row.state}: must be started to record it")
            new = {trial: (results[trial], None) for trial in own if trial not in stamps}
            return stamps | self._record(connection, new)

    def _record(
        self, connection: sql.Connection, results: Mapping[int, tuple[TrialResult, int | None]]
    ) -> dict[int, Stamp]:
        """Record results, each with the trial that it is reused from, if it is."""
        if not results:
            return {}
        search = connection.execute(sql.select(SEARCH)).one()
        baseline = Baseline(search.baseline_decay, search.baseline_start, search.baseline_average)
        latest = connection.execute(sql.select(sql.func.max(TRIALS.c.record_number))).scalar() or 0
        stamps: dict[int, Stamp] = {}
        values: dict[int, dict[str, Any]] = {}
        for trial, (result, reused_from) in results.items():
            stamps[trial] = Stamp(result.reward, baseline.stamp)
            values[trial] = {
                **asdict(result),
                "baseline": baseline.stamp,
                "record_number": latest + len(stamps),
                "recorded_at": self._clock(),
                "reused_from": reused_from,
            }
            baseline = baseline.moved_by(result.reward)
        self._update(connection, values)
        connection.execute(SEARCH.update().values(baseline_average=baseline.average))
        return stamps

    @staticmethod
    def _update(connection: sql.Connection, values: Mapping[int, Mapping[str, Any]]) -> None:
        """Change the rows of trials, all in the same columns."""
        if values:
            connection.execute(
                TRIALS.update().where(TRIALS.c.trial == sql.bindparam("of_trial")),
                [{"of_trial": trial, **changed} for trial, changed in values.items()],
            )

    def _has_living_owner(self) -> sql.ColumnElement[bool]:
        return sql.exists().where(
            REPLICAS.c.replica == TRIALS.c.replica,
            REPLICAS.c.incarnation == TRIALS.c.incarnation,
            REPLICAS.c.lease_until > self._clock(),
        )

    @staticmethod
    def _rows(
        connection: sql.Connection, trials: Collection[int], purpose: str
    ) -> dict[int, sql.Row[Any]]:
        """Give the rows of trials, which must exist."""
        found = connection.execute(sql.select(TRIALS).where(TRIALS.c.trial.in_(trials)))
        rows = {row.trial: row for row in found}
        for trial in trials:
            if trial not in rows:
                raise WrongState(f"trial {trial}: must exist to {purpose} it; it does not")
        return rows


def _is_of(row: sql.Row[Any], owner: Owner) -> bool:
    return (row.replica, row.incarnation) == owner


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
        traceback=row.traceback,
        metrics=row.metrics,
    )
