"""Training after a search, as a whole."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from controller.search_ledger import SearchLedger
from deploy.best_trials import best_trials
from deploy.heartbeat import await_silence
from deploy.retrain.course import Course
from deploy.retrain.retraining import Outcome, Retraining
from deploy.retrain.settings import RetrainSettings
from deploy.retrain.watch import RetrainWatch
from deploy.run import Run
from deploy.settings import NetworkSearchSettings, SplitData


class RetrainRefused(Exception):
    """Nothing can be trained after this search, or not now; the message says why."""


@dataclass(frozen=True)
class RetrainResult:
    """What came of the trainings after a search.

    grid: all outcomes, the best first. final: one for each variant; empty where no point of the
    grid could be trained. searched: the test figure of the network that the search tested, if it
    did. num_new: trainings that had not been recorded before.
    """

    grid: list[Outcome]
    final: list[Outcome]
    searched: float | None
    num_new: int
    seconds: float

    @property
    def is_whole(self) -> bool:
        """Whether there is a network of every variant that was trained to its end."""
        return bool(self.final) and all(outcome.tests for outcome in self.final)


def retrain(
    run: Run,
    search: NetworkSearchSettings,
    settings: RetrainSettings,
    data: SplitData,
    watch: RetrainWatch,
    is_stopping: Callable[[], bool],
) -> RetrainResult:
    """Train what is not recorded yet of the trainings after a search.

    Args:
        data: what the settings of the search load.
        is_stopping: asked about twice a second.

    Raises:
        SettingsError: what is to be trained cannot be.
        RetrainRefused: the search has no network, or another process does this now.
        controller.errors.StillAlive: the search runs still.
        KeyboardInterrupt, ClusterError, TrainingsLost: see `Course`.
        RunError, LedgerError: something cannot be read or written.
    """
    began_at = time.monotonic()
    run.ledger().close()  # there is one
    with _alone(run), SearchLedger(run.ledger_url) as ledger:
        await_silence(ledger, watch.say, is_stopping)
        trials = best_trials(ledger.trials(), settings.top)
        if not trials:
            raise RetrainRefused(
                f"{run.path} has no completed trial: there is no network to train; see `nasrl "
                f"trials {run.path}`"
            )
        num_lives, progress = len(ledger.lives()), ledger.progress()
        if not progress.is_complete:
            watch.say(
                f"the search has {progress.num_recorded:,} of {progress.num_trials:,} trials; the "
                "best of these are trained"
            )
        plan = Retraining(search, settings, trials)
        watch.say(plan.summary)
        with Course(run, search, settings.final, data, ledger, watch, is_stopping) as course:
            grid = course.grid(plan)
            winner = next((outcome for outcome in grid if outcome.is_feasible), None)
            if len(ledger.lives()) > num_lives:  # it was resumed meanwhile
                await_silence(ledger, watch.say, is_stopping)
            final = [] if winner is None else course.final(plan.final(winner.candidate))
        best = ledger.progress().best
        searched = None if best is None else ledger.tests().get(best.trial)
        return RetrainResult(grid, final, searched, course.num_new, time.monotonic() - began_at)


@contextmanager
def _alone(run: Run) -> Iterator[None]:
    """Hold the lock of a run, so that nobody trains the same at the same time on this machine.

    Two machines would only work in vain: what is kept and recorded first stays.
    """
    path = run.path / "retrain.lock"
    with ExitStack() as stack:
        try:
            lock = stack.enter_context(path.open("a", encoding="utf-8"))
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RetrainRefused(f"{run.path}: another nasrl retrain is at work here") from error
        except OSError as error:
            raise RetrainRefused(
                f"{path}: must be a file that can be written and locked ({error.strerror}); the "
                "weights of networks are written beside it"
            ) from error
        yield
