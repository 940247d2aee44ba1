"""The figures of a search for TensorBoard, written while it runs."""

from __future__ import annotations

import logging
import math
import shutil
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from controller.errors import LedgerError
from controller.ledger_reader import LedgerReader
from controller.trial import Trial

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

logger = logging.getLogger(__name__)

WRITE_EVERY_S = 10.0
AT_ONCE = 1000  # trials that are read
JOIN_S = 60.0  # how long the end of a search waits for the last of them


class Scalars:
    """Writes the figures of all trials, in the order of their results, from its entry to its exit.

    They are read from the ledger by a thread of its own, from the first trial on in every life of
    the search: so they are whole, whoever died before. Nothing that goes wrong here reaches the
    search.

    Threads: one at a time.
    """

    def __init__(self, ledger_url: str, folder: Path) -> None:
        """Write nothing yet.

        Args:
            folder: what is in it is replaced.
        """
        self._ledger_url = ledger_url
        self._folder = folder
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tensorboard", daemon=True)
        self._num_written = 0
        self._is_abandoned = False

    def __enter__(self) -> Scalars:
        self._thread.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._is_abandoned = kind is not None
        self._is_over.set()
        # The last trials are written. Nor is it left behind where the search failed: whoever starts
        # processes beside a thread that imports may find a lock held in them for ever.
        self._thread.join(JOIN_S)

    def _run(self) -> None:
        # The import takes seconds of a processor, which a search has better uses for as it starts.
        is_over = self._is_over.wait(WRITE_EVERY_S)
        if self._is_abandoned:
            return
        try:
            from torch.utils.tensorboard import SummaryWriter

            shutil.rmtree(self._folder, ignore_errors=True)
            with LedgerReader(self._ledger_url) as ledger, SummaryWriter(self._folder) as writer:
                while True:
                    self._write_new(ledger, writer)
                    if is_over:
                        return
                    is_over = self._is_over.wait(WRITE_EVERY_S)
        except Exception:
            logger.exception("the figures for TensorBoard are not written any more")

    def _write_new(self, ledger: LedgerReader, writer: SummaryWriter) -> None:
        while not self._is_abandoned:
            try:
                trials = ledger.recorded_after(self._num_written, AT_ONCE)
            except LedgerError as error:
                logger.warning("waiting for the ledger: %s", error)
                return
            for trial in trials:
                for name, figure in _figures(trial).items():
                    if figure is not None and math.isfinite(figure):
                        writer.add_scalar(name, figure, trial.record_number, trial.recorded_at)
            if trials:
                self._num_written = trials[-1].record_number or 0
                writer.flush()
            if len(trials) < AT_ONCE:
                return


def _figures(trial: Trial) -> dict[str, float | None]:
    return {
        "reward/of the trial": trial.reward,
        "reward/baseline before it": trial.baseline,
        "child/validation": trial.validation,
        "child/parameters": trial.num_parameters,
        "child/seconds": trial.seconds,
        "child/infeasible": float(trial.state == "infeasible"),
        "policy/log-probability": sum(trial.log_probs) if trial.log_probs else None,
    }
