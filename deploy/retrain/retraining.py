"""What is trained after a search: which trainings there are, and what came of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import mean, stdev
from typing import Any

from controller.retraining import Training, TrainingRecord
from controller.seeds import final_seed, grid_seed
from controller.trial import Trial
from deploy.count import counted
from deploy.retrain.points import Point, points
from deploy.retrain.settings import RetrainSettings
from deploy.settings import NetworkSearchSettings
from deploy.settings_file import SettingsError


@dataclass(frozen=True)
class Candidate:
    """A network with settings to be trained by, and its trainings, one for each seed."""

    trial: Trial
    point: Point
    architecture: Any
    trainings: tuple[Training, ...]

    @property
    def learning_rate(self) -> float | None:
        """The learning rate of the first epoch, where it is not that of the settings."""
        return self.point.learning_rate(self.architecture)


@dataclass(frozen=True)
class Outcome:
    """What came of a candidate: the records of its trainings, in the order of their seeds.

    is_complete: whether all are there.
    """

    candidate: Candidate
    records: tuple[TrainingRecord, ...]

    @property
    def is_complete(self) -> bool:
        return len(self.records) == len(self.candidate.trainings)

    @property
    def is_feasible(self) -> bool:
        """Whether every network could be trained."""
        return self.is_complete and all(record.state == "completed" for record in self.records)

    @property
    def validation(self) -> float | None:
        """The mean validation figure; None where a network could not be trained."""
        seen = [record.validation for record in self.records if record.validation is not None]
        return mean(seen) if len(seen) == len(self.candidate.trainings) else None

    @property
    def tests(self) -> list[float]:
        """The test figures of those that could be trained."""
        return [record.test for record in self.records if record.test is not None]

    @property
    def spread(self) -> float | None:
        """The standard deviation of the test figures; None of fewer than two."""
        return stdev(self.tests) if len(self.tests) > 1 else None


class Retraining:
    """The trainings after a search.

    First every point of the grid with every one of the best networks; then, with the best of these,
    every variant, to the end. Both follow from the settings and the search alone, and a training
    has a name of its own: whatever is recorded under it is not trained again.
    """

    def __init__(
        self, search: NetworkSearchSettings, settings: RetrainSettings, trials: Sequence[Trial]
    ) -> None:
        """Plan the trainings after a search.

        Args:
            trials: completed ones that are to be trained, the best first.

        Raises:
            SettingsError: the grid or a variant changes what cannot be changed.
        """
        self._search = search
        self._settings = settings
        self._trials = trials
        self._points = points(search, settings.grid)
        variants = settings.final.variants
        for number, changes in enumerate(variants):
            if changes in variants[:number]:
                raise SettingsError(f"final.variants[{number}]={changes}: must be there once")
            for point in self._points:
                point.variant(changes, settings.final.num_epochs)

    @property
    def summary(self) -> str:
        """What is trained, in a line."""
        settings = self._settings
        in_grid = counted(
            len(self._trials) * len(self._points) * settings.num_grid_seeds, "training"
        )
        num_final = len(settings.final.variants) * settings.final.num_seeds
        return (
            f"{in_grid} in the grid: {counted(len(self._trials), 'network')} x "
            f"{counted(len(self._points), 'point')} x {counted(settings.num_grid_seeds, 'seed')}; "
            f"then {num_final:,} to the end"
        )

    @cached_property
    def grid(self) -> list[Candidate]:
        """All candidates of the grid."""
        numbers = range(1, 1 + self._settings.num_grid_seeds)
        seeds = [grid_seed(self._search.seed, number) for number in numbers]
        found = []
        for trial in self._trials:
            for point in self._points:
                architecture = _architecture(point.settings, trial)
                settings = _what_counts(point, architecture)
                trainings = tuple(
                    Training("grid", trial.trial, architecture.to_json(), settings, seed)
                    for seed in seeds
                )
                found.append(Candidate(trial, point, architecture, trainings))
        return found

    def best(self, records: dict[str, TrainingRecord]) -> list[Outcome]:
        """Give the outcomes of the grid, that of the best validation first.

        Those that could not be trained are last. Of equal ones that of the better trial is first,
        then the earlier point.
        """
        sign = -1 if self._search.task.metric.is_higher_better else 1
        outcomes = [outcome_of(candidate, records) for candidate in self.grid]
        complete = [outcome for outcome in outcomes if outcome.is_complete]
        return sorted(
            complete,
            key=lambda outcome: (not outcome.is_feasible, sign * (outcome.validation or 0.0)),
        )

    def final(self, winner: Candidate) -> list[Candidate]:
        """Give the candidates that are trained to their end, one for each variant."""
        final = self._settings.final
        numbers = range(1, 1 + final.num_seeds)
        seeds = [final_seed(self._search.seed, number) for number in numbers]
        found = []
        for changes in final.variants:
            point = winner.point.variant(changes, final.num_epochs)
            architecture = _architecture(point.settings, winner.trial)
            settings = _what_counts(point, architecture) | {
                "convergence": final.convergence.model_dump(mode="json"),
                "max_epochs": final.limit,
            }
            trainings = tuple(
                Training("final", winner.trial.trial, architecture.to_json(), settings, seed)
                for seed in seeds
            )
            found.append(Candidate(winner.trial, point, architecture, trainings))
        return found


def outcome_of(candidate: Candidate, records: dict[str, TrainingRecord]) -> Outcome:
    """Give what has come of a candidate so far."""
    known = [records.get(training.sha256) for training in candidate.trainings]
    return Outcome(candidate, tuple(record for record in known if record is not None))


def _architecture(settings: NetworkSearchSettings, trial: Trial) -> Any:
    assert trial.decisions is not None, "a completed trial has its decisions"
    choices = [choice for _, choice in trial.decisions]
    return settings.task.space.decode(choices, trial.depth)


def _what_counts(point: Point, architecture: Any) -> dict[str, Any]:
    """Give all settings that have a say in what comes out of a training."""
    data = point.settings.model_dump(mode="json")
    if (rate := point.learning_rate(architecture)) is not None:
        data["training"]["learning_rate"] = rate
    return {name: data[name] for name in ("data", "training", "network", "model") if name in data}
