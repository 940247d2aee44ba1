"""The ledger as a Ray actor: the one writer of a search, and how the others reach it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ray

from child.result import TrialResult
from controller.errors import LedgerUnavailable
from controller.ledger import Ledger
from controller.records import Progress, PushRecord, SearchState
from controller.trial import Owner, Reservation, Stamp, Start, Trial
from workers.process import ProcessSetup
from workers.remote import result_of

ANSWER_TIMEOUT_S = 60.0


class LedgerProcess(Ledger):
    """The ledger, in a process of its own."""

    def __init__(self, setup: ProcessSetup, url: str) -> None:
        setup.enter("ledger")
        super().__init__(url)


class RemoteLedger:
    """The ledger of another process; the methods are those of `controller.ledger.Ledger`.

    All raise LedgerUnavailable once that process is gone.
    """

    def __init__(self, actor: Any) -> None:
        """Reach the ledger through the handle of a LedgerProcess actor."""
        self._actor = actor

    def enlist(self, replica: int) -> Owner:
        owner: Owner = _answer(self._actor.enlist.remote(replica))
        return owner

    def reserve(self, owner: Owner, num_trials: int) -> list[Reservation]:
        places: list[Reservation] = _answer(self._actor.reserve.remote(owner, num_trials))
        return places

    def start(self, owner: Owner, starts: Sequence[Start]) -> None:
        _answer(self._actor.start.remote(owner, starts))

    def record(self, owner: Owner, trial: int, result: TrialResult) -> Stamp:
        stamp: Stamp = _answer(self._actor.record.remote(owner, trial, result))
        return stamp

    def open_push(
        self, owner: Owner, trials: Sequence[int], base_versions: Sequence[int], gradient: bytes
    ) -> int:
        sequence: int = _answer(
            self._actor.open_push.remote(owner, trials, base_versions, gradient)
        )
        return sequence

    def replace_push(
        self, owner: Owner, sequence: int, base_versions: Sequence[int], gradient: bytes
    ) -> None:
        _answer(self._actor.replace_push.remote(owner, sequence, base_versions, gradient))

    def close_push(
        self, owner: Owner, sequence: int, versions: Sequence[int], staleness: Sequence[int]
    ) -> None:
        _answer(self._actor.close_push.remote(owner, sequence, versions, staleness))

    def record_test(self, trial: int, figure: float) -> None:
        _answer(self._actor.record_test.remote(trial, figure))

    def end(self, state: SearchState, reason: str = "") -> None:
        _answer(self._actor.end.remote(state, reason))

    def progress(self) -> Progress:
        progress: Progress = _answer(self._actor.progress.remote())
        return progress

    def pushes(self) -> list[PushRecord]:
        pushes: list[PushRecord] = _answer(self._actor.pushes.remote())
        return pushes

    def close(self) -> None:
        _answer(self._actor.close.remote())

    def trials(self, top: int | None = None) -> list[Trial]:
        trials: list[Trial] = _answer(self._actor.trials.remote(top))
        return trials


def _answer(reference: Any) -> Any:
    try:
        return result_of(reference, ANSWER_TIMEOUT_S)
    except ray.exceptions.RayActorError as error:
        raise LedgerUnavailable(
            "the ledger's process died; what it had recorded is in the database"
        ) from error
    except ray.exceptions.GetTimeoutError as error:
        raise LedgerUnavailable(
            f"the ledger's process did not answer within {ANSWER_TIMEOUT_S:g} s"
        ) from error
