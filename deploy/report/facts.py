"""What a report says of a search, as it was read from its run directory."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from child.space import Space
from controller.records import Progress, PushRecord
from controller.retraining import TrainingRecord
from controller.trial import RECORDED, Trial
from deploy.heartbeat import SILENCE_S
from deploy.run import Run, RunError
from deploy.settings import SearchSettings

MAX_BRIEF = 24


@dataclass(frozen=True)
class Facts:
    """A search at one moment.

    name: of its run directory, as it can be printed. tests: the test figure of each trial that was
    tested. trainings: those after the search. versions: of the software that it ran on, by name.
    is_silent: whether it says that it runs, and gives no sign of life.
    """

    name: str
    settings: SearchSettings
    progress: Progress
    trials: Sequence[Trial]
    pushes: Sequence[PushRecord]
    tests: dict[int, float]
    trainings: Sequence[TrainingRecord]
    versions: dict[str, str]
    is_silent: bool = False

    @classmethod
    def read(cls, run: Run) -> Facts:
        """Read all of it.

        Raises:
            RunError: the search has not begun, or something cannot be read.
            deploy.settings_file.SettingsError: the settings were changed, and are none any more.
            controller.errors.LedgerError: the ledger cannot be read.
        """
        name = "".join(letter if letter.isprintable() else "?" for letter in run.path.name)
        with run.ledger() as ledger:
            progress, lives = ledger.progress(), ledger.lives()
            is_silent = (
                progress.state == "running"
                and bool(lives)
                and time.time() - lives[-1].beat_at > SILENCE_S
            )
            facts = cls(
                name,
                run.settings,
                progress,
                ledger.trials(),
                ledger.pushes(),
                ledger.tests(),
                ledger.trainings(),
                ledger.code_versions(),
                is_silent,
            )
        facts._check_space(run)
        return facts

    @property
    def quoted(self) -> str:
        """The name as it stands in a sentence."""
        return f"“{self.name}”"

    @property
    def brief(self) -> str:
        """The name as it stands in a legend."""
        long = len(self.name) > MAX_BRIEF
        return f"“{self.name[:MAX_BRIEF]}…”" if long else self.quoted

    @property
    def space(self) -> Space:
        return self.settings.task.space

    @cached_property
    def recorded(self) -> list[Trial]:
        """The trials that have a result, in the order of these."""
        found = (trial for trial in self.trials if trial.state in RECORDED)
        return sorted(found, key=lambda trial: trial.record_number or 0)

    @cached_property
    def rewards(self) -> list[float]:
        """The rewards of those recorded."""
        return [trial.reward or 0.0 for trial in self.recorded]

    @cached_property
    def sampled(self) -> list[Trial]:
        """The trials whose architecture was sampled, in the order of their numbers."""
        return [trial for trial in self.trials if trial.decisions]

    @cached_property
    def seconds(self) -> list[float]:
        """How long each child trained, in the order of results; where one was reused, none did."""
        return [
            trial.seconds
            for trial in self.recorded
            if trial.seconds is not None and trial.reused_from is None
        ]

    def _check_space(self, run: Run) -> None:
        """Refuse settings with another space than that of the trials."""
        known = {decision.kind: decision.num_choices for decision in self.space.decisions}
        for trial in self.sampled:
            for kind, choice in trial.decisions or ():
                is_known = (
                    self.space.has_anchors if kind == "anchor" else choice < known.get(kind, 0)
                )
                if not is_known:
                    raise RunError(
                        f"{run.path}/settings.yaml: space: trial {trial.trial} was sampled from "
                        f"another, with choice {choice} of {kind}; restore the file"
                    )
