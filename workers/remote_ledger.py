"""How a process reaches the ledger of another."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import ray

from child.result import TrialResult
from controller.errors import LedgerUnavailable
from controller.population import Individual
from controller.records import Enlistment
from controller.trial import Owner, Reservation, Stamp, Start
from workers.remote import result_of, summary_of

logger = logging.getLogger(__name__)

ANSWER_TIMEOUT_S = 20.0
PATIENCE_S = 600.0
BACKOFF_S = 0.1
MAX_BACKOFF_S = 2.0


class RemoteLedger:
    """The ledger of another process; the methods are those of `controller.ledger.Ledger`.

    Its process is restarted when it dies, and its database may be away for a while: calls are made
    again until they are answered, which they may be, since each is safe to repeat. All raise
    LedgerUnavailable once there is no answer for ten minutes.
    """

    def __init__(
        self,
        actor: Any,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Reach the ledger through the handle of a LedgerProcess actor."""
        self._actor = actor
        self._clock = clock
        self._sleep = sleep

    def enlist(self, replica: int, life: int) -> Enlistment:
        enlistment: Enlistment = self._call("enlist", replica, life)
        return enlistment

    def renew(self, owner: Owner) -> None:
        self._call("renew", owner)

    def reserve(
        self, owner: Owner, num_trials: int, held: Collection[int] = ()
    ) -> list[Reservation]:
        places: list[Reservation] = self._call("reserve", owner, num_trials, list(held))
        return places

    def release(self, owner: Owner, trials: Collection[int]) -> None:
        self._call("release", owner, list(trials))

    def start(
        self, owner: Owner, starts: Sequence[Start], *, reuse: bool = False
    ) -> dict[int, Stamp]:
        stamps: dict[int, Stamp] = self._call("start", owner, starts, reuse=reuse)
        return stamps

    def record(self, owner: Owner, results: Mapping[int, TrialResult]) -> dict[int, Stamp]:
        stamps: dict[int, Stamp] = self._call("record", owner, results)
        return stamps

    def open_push(
        self,
        owner: Owner,
        trials: Sequence[int],
        base_versions: Sequence[int],
        sample_versions: Sequence[int],
        gradient: bytes,
    ) -> int:
        arguments = (owner, trials, base_versions, sample_versions, gradient)
        sequence: int = self._call("open_push", *arguments)
        return sequence

    def replace_push(
        self,
        owner: Owner,
        sequence: int,
        base_versions: Sequence[int],
        sample_versions: Sequence[int],
        gradient: bytes,
    ) -> None:
        self._call("replace_push", owner, sequence, base_versions, sample_versions, gradient)

    def close_push(
        self,
        owner: Owner,
        sequence: int,
        versions: Sequence[int],
        staleness: Sequence[int],
        sample_staleness: Sequence[int],
    ) -> None:
        self._call("close_push", owner, sequence, versions, staleness, sample_staleness)

    def newest(self, number: int) -> list[Individual]:
        individuals: list[Individual] = self._call("newest", number)
        return individuals

    def publish(self, life: int, shard: int, address: str) -> None:
        self._call("publish", life, shard, address)

    def addresses(self) -> dict[int, str]:
        addresses: dict[int, str] = self._call("addresses")
        return addresses

    def close(self) -> None:
        self._call("close")

    def _call(self, method: str, *arguments: Any, **options: Any) -> Any:
        give_up_at = self._clock() + PATIENCE_S
        wait_s = BACKOFF_S
        while True:
            try:
                reference = getattr(self._actor, method).remote(*arguments, **options)
                return result_of(reference, ANSWER_TIMEOUT_S)
            except ray.exceptions.ActorDiedError as error:
                raise LedgerUnavailable(
                    f"the ledger's process died for good; {summary_of(error)} What it had recorded "
                    "is in the database"
                ) from error
            except (
                ray.exceptions.ActorUnavailableError,
                ray.exceptions.GetTimeoutError,
                LedgerUnavailable,
            ) as error:
                if self._clock() > give_up_at:
                    raise LedgerUnavailable(
                        f"the ledger did not answer for {PATIENCE_S:g} s; {summary_of(error)}"
                    ) from error
                logger.warning("waiting for the ledger: %s", summary_of(error))
            self._sleep(wait_s)
            wait_s = min(2 * wait_s, MAX_BACKOFF_S)
