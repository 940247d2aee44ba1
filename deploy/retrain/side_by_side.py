"""Trainings that go on side by side on the cluster, until all have ended."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import ray

from controller.retraining import Training
from workers.remote import result_of, summary_of

logger = logging.getLogger(__name__)

POLL_S = 0.5
# For what a training has yielded, such as a snapshot, to come from its node.
FETCH_TIMEOUT_S = 120.0


class SideBySide:
    """Begins trainings all at once, wherever there is room, and gives what comes of them.

    A training whose process or machine dies is nobody's fault: it begins again. After so many
    deaths in a row it is given up, and when it raises an error; the others go on.

    lost: of those that were given up, why, by their names.

    Threads: one at a time.
    """

    def __init__(
        self,
        begin: Callable[[Training], Any],
        max_deaths: int,
        is_stopping: Callable[[], bool],
    ) -> None:
        """Begin nothing yet.

        Args:
            begin: gives the references of what a training yields, see `workers.retraining`.
            max_deaths: of one training.
            is_stopping: asked about twice a second.
        """
        self._begin = begin
        self._max_deaths = max_deaths
        self._is_stopping = is_stopping
        self._deaths: Counter[str] = Counter()
        self._running: dict[Any, Training] = {}
        self.lost: dict[str, str] = {}

    def run(self, trainings: Sequence[Training]) -> Iterator[tuple[Training, Any] | None]:
        """Give (training, what it yielded), as it comes, and None while nothing does.

        Raises:
            KeyboardInterrupt: told to stop.
        """
        for training in trainings:
            self._running[self._begin(training)] = training
        while self._running:
            if self._is_stopping():
                raise KeyboardInterrupt
            ready, _ = ray.wait(
                list(self._running), num_returns=1, timeout=POLL_S, fetch_local=False
            )
            if not ready:
                yield None
            for yields in ready:
                yield from self._take(yields)

    def has_advanced(self, training: Training) -> None:
        """Forget the deaths of a training: it would go on from further ahead than it began."""
        self._deaths.pop(training.sha256, None)

    def _take(self, yields: Any) -> Iterator[tuple[Training, Any]]:
        training = self._running[yields]
        try:
            given = result_of(next(yields), FETCH_TIMEOUT_S)
        except StopIteration:
            del self._running[yields]
        except ray.exceptions.RayError as error:
            del self._running[yields]
            with suppress(ray.exceptions.RayError):
                ray.cancel(yields)  # where it lives and cannot be reached
            self._mourn(training, summary_of(error))
        except Exception as error:
            del self._running[yields]
            logger.exception("training %s failed", training.sha256[:16])
            self.lost[training.sha256] = f"{type(error).__name__}: {summary_of(error)}"
        else:
            yield training, given

    def _mourn(self, training: Training, reason: str) -> None:
        self._deaths[training.sha256] += 1
        num_deaths = self._deaths[training.sha256]
        logger.warning("training %s lost its process: %s", training.sha256[:16], reason)
        if num_deaths < self._max_deaths:
            self._running[self._begin(training)] = training
        else:
            self.lost[training.sha256] = f"lost its process {num_deaths} times: {reason}"
