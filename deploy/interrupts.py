"""Ctrl-C and SIGTERM: the first asks for a drain, the second ends at once."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """Takes over the signals while it is entered, in the main thread.

    The first one is only remembered, the second raises KeyboardInterrupt, and later ones are
    ignored, so that nothing disturbs the cleaning up.
    """

    def __init__(self) -> None:
        self._num_signals = 0
        self._before: dict[signal.Signals, signal._HANDLER] = {}

    def __enter__(self) -> Interrupts:
        self._before = {number: signal.signal(number, self._handle) for number in SIGNALS}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @property
    def is_requested(self) -> bool:
        """Whether a signal has come."""
        return self._num_signals > 0

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._num_signals += 1
        if self._num_signals == 2:
            raise KeyboardInterrupt
