"""The durable record of a search's replicas: their lives, and the pushes that carry rewards."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sql

from controller.database import IS_UNPUSHED, PUSHES, REPLICAS, TRIALS
from controller.errors import Superseded, WrongState
from controller.ledger_reader import push_of, trial_of
from controller.records import Enlistment
from controller.search_ledger import SearchLedger, check_search_life
from controller.trial import LEASE_S, Owner


class ReplicaLedger(SearchLedger):
    """The part of the ledger about replicas and their pushes; see `Ledger`.

    Laws:
        Only the newest incarnation of a replica changes anything, and only its own trials.
        A reward is in at most one push; a replica has at most one open push; its sequence grows
        by one and never restarts.

    Every call of a replica renews its lease.

    Threads: may be called from many. Repeats: every call is safe to repeat.
    """

    def enlist(self, replica: int, life: int) -> Enlistment:
        """Begin a life of a replica: hand it an incarnation higher than any before.

        What was recorded for the lives before is its own now; what they had in flight is free for
        any replica to reserve.

        Args:
            life: of the search that the replica belongs to.

        Raises:
            Superseded: a newer life of the search has begun.
        """
        with self._write() as connection:
            check_search_life(connection, life)
            lease_until = self._clock() + LEASE_S
            known = connection.execute(
                REPLICAS.update()
                .where(REPLICAS.c.replica == replica)
                .values(incarnation=REPLICAS.c.incarnation + 1, lease_until=lease_until)
                .returning(REPLICAS.c.incarnation)
            ).scalar()
            if known is None:
                connection.execute(
                    REPLICAS.insert().values(
                        replica=replica, incarnation=1, last_sequence=0, lease_until=lease_until
                    )
                )
            owner = Owner(replica, known or 1)
            is_unpushed = sql.and_(IS_UNPUSHED, TRIALS.c.replica == replica)
            connection.execute(
                TRIALS.update().where(is_unpushed).values(incarnation=owner.incarnation)
            )
            rows = connection.execute(
                sql.select(TRIALS).where(is_unpushed).order_by(TRIALS.c.record_number)
            ).all()
            still_open = connection.execute(
                sql.select(PUSHES).where(PUSHES.c.replica == replica, PUSHES.c.closed_at.is_(None))
            ).one_or_none()
            unpushed = [trial_of(row) for row in rows]
            if still_open is None:
                return Enlistment(owner, None, [], unpushed)
            carried = connection.execute(
                sql.select(TRIALS)
                .where(_carried_by(replica, still_open.sequence))
                .order_by(TRIALS.c.trial)
            ).all()
            return Enlistment(
                owner, push_of(connection, still_open), [trial_of(row) for row in carried], unpushed
            )

    def renew(self, owner: Owner) -> None:
        """Keep the trials of a replica its own while their children train.

        Raises:
            Superseded: a newer life of the replica is known.
        """
        with self._write() as connection:
            self._check_life(connection, owner)

    def open_push(
        self,
        owner: Owner,
        trials: Sequence[int],
        base_versions: Sequence[int],
        sample_versions: Sequence[int],
        gradient: bytes,
    ) -> int:
        """Make a push durable before it leaves, and give its sequence.

        Repeats: the sequence of the first call, if it was of the same trials.

        Args:
            trials: whose rewards the gradient carries.
            base_versions: of the slices that the gradient was computed at.
            sample_versions: of those that the oldest of the trials was sampled with.
            gradient: packed float32 of the whole parameter vector.

        Raises:
            Superseded: a newer life of the replica is known.
            WrongState: the replica has an open push, or a trial is not its own, not recorded, or in
                a push already.
        """
        with self._write() as connection:
            self._check_life(connection, owner)
            still_open = connection.execute(
                sql.select(PUSHES.c.sequence).where(
                    PUSHES.c.replica == owner.replica, PUSHES.c.closed_at.is_(None)
                )
            ).scalar()
            if still_open is not None:
                carried = connection.execute(
                    sql.select(TRIALS.c.trial).where(_carried_by(owner.replica, still_open))
                ).scalars()
                if set(carried) == set(trials):
                    return int(still_open)
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
                    sample_versions=list(sample_versions),
                    gradient=gradient,
                    opened_at=self._clock(),
                )
            )
            num_carried = connection.execute(
                TRIALS.update()
                .where(TRIALS.c.trial.in_(trials), owned_by(owner), IS_UNPUSHED)
                .values(push_replica=owner.replica, push_sequence=sequence)
            ).rowcount
            if not trials or num_carried != len(trials):
                raise WrongState(
                    f"push r{owner.replica}#{sequence} of trials {list(trials)}: each must be "
                    f"recorded, replica {owner.replica}'s, and in no push yet; {num_carried} are"
                )
            return sequence

    def replace_push(
        self,
        owner: Owner,
        sequence: int,
        base_versions: Sequence[int],
        sample_versions: Sequence[int],
        gradient: bytes,
    ) -> None:
        """Put another gradient of the same trials into an open push that a shard found too stale.

        Shards that have accepted the push already take no notice of what it now carries.

        Args:
            base_versions, sample_versions: see `open_push`; a shard may have gone back behind both.

        Raises:
            Superseded: a newer life of the replica is known.
            WrongState: there is no such push, or it is closed.
        """
        with self._write() as connection:
            self._check_life(connection, owner)
            replaced = connection.execute(
                PUSHES.update()
                .where(PUSHES.c.replica == owner.replica, PUSHES.c.sequence == sequence)
                .where(PUSHES.c.closed_at.is_(None))
                .values(
                    base_versions=list(base_versions),
                    sample_versions=list(sample_versions),
                    gradient=gradient,
                )
            ).rowcount
            if replaced != 1:
                raise WrongState(f"push r{owner.replica}#{sequence} is not open")

    def close_push(
        self,
        owner: Owner,
        sequence: int,
        versions: Sequence[int],
        staleness: Sequence[int],
        sample_staleness: Sequence[int],
    ) -> None:
        """Write down that all shards have acknowledged a push; its gradient is let go.

        Repeats: nothing changes.

        Raises:
            Superseded: a newer life of the replica is known.
            WrongState: there is no such push.
        """
        with self._write() as connection:
            self._check_life(connection, owner)
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
                    sample_staleness=list(sample_staleness),
                    gradient=None,
                )
            )

    def _check_life(self, connection: sql.Connection, owner: Owner) -> None:
        """Refuse past lives of a replica, and renew the lease of the newest."""
        replica = connection.execute(
            sql.select(REPLICAS).where(REPLICAS.c.replica == owner.replica)
        ).one_or_none()
        newest = None if replica is None else replica.incarnation
        if replica is None or newest != owner.incarnation:
            raise Superseded(
                f"replica {owner.replica}, incarnation {owner.incarnation}: must be the newest, "
                f"{newest}; this life of the replica is over and must end"
            )
        lease_until = self._clock() + LEASE_S
        if lease_until - replica.lease_until > LEASE_S / 8:
            connection.execute(
                REPLICAS.update()
                .where(REPLICAS.c.replica == owner.replica)
                .values(lease_until=lease_until)
            )


def owned_by(owner: Owner) -> sql.ColumnElement[bool]:
    """Say that a trial belongs to this life of a replica."""
    return sql.and_(TRIALS.c.replica == owner.replica, TRIALS.c.incarnation == owner.incarnation)


def _carried_by(replica: int, sequence: int) -> sql.ColumnElement[bool]:
    return sql.and_(TRIALS.c.push_replica == replica, TRIALS.c.push_sequence == sequence)
