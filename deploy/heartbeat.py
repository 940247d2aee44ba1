"""The sign of life that a search gives while it runs, so that nobody resumes it meanwhile."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from types import TracebackType

from controller.errors import LedgerUnavailable, StillAlive, Superseded
from controller.records import Life
from controller.search_ledger import SearchLedger

logger = logging.getLogger(__name__)

BEAT_EVERY_S = 2.0
# A life that gives no sign for so long is over: several beats of a busy machine.
SILENCE_S = 10.0
# How long whoever wants to resume a search waits for the end of the life before.
PATIENCE_S = 30.0


class Heartbeat:
    """Beats for a life of a search, in a thread of its own, from its entry to its exit.

    Threads: `check` may be called from any.
    """

    def __init__(self, ledger: SearchLedger, life: int) -> None:
        self.life = life
        self._ledger = ledger
        self._has_ended = threading.Event()
        self._superseded: Superseded | None = None
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._has_ended.set()
        self._thread.join()

    def check(self) -> None:
        """Return if the search is this life's still.

        Raises:
            Superseded: it was resumed elsewhere.
        """
        if self._superseded is not None:
            raise self._superseded

    def _beat(self) -> None:
        while not self._has_ended.wait(BEAT_EVERY_S):
            try:
                self._ledger.beat(self.life)
            except LedgerUnavailable as error:
                logger.warning("no sign of life could be given: %s", error)
            except Superseded as error:
                self._superseded = error
                return


def await_silence(
    ledger: SearchLedger,
    say: Callable[[str], None],
    is_stopping: Callable[[], bool],
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Life | None:
    """Wait until the newest life of a search has ended, or has given no sign for ten seconds.

    Returns:
        The life that gave no sign; None if it has ended, or there was none.

    Raises:
        StillAlive: it gives signs still, after 30 s.
        KeyboardInterrupt: told to stop meanwhile.
    """
    began = seen_at = clock()
    seen: Life | None = None
    while True:
        lives = ledger.lives()
        newest = lives[-1] if lives else None
        if newest is None or newest.ended_at is not None:
            return None
        if seen is None:
            say(
                f"{newest} has not ended this search: waiting for a sign of its life, for "
                f"{SILENCE_S:g} to {PATIENCE_S:g} s"
            )
        if seen is None or (newest.life, newest.num_beats) != (seen.life, seen.num_beats):
            seen, seen_at = newest, clock()
        elif clock() - seen_at >= SILENCE_S:
            return seen
        if clock() - began >= PATIENCE_S:
            raise StillAlive(
                f"the search is being run by {newest}, which gave a sign of life "
                f"{clock() - seen_at:.0f} s ago; stop it first, with nasrl stop"
            )
        if is_stopping():
            raise KeyboardInterrupt
        sleep(0.5)
