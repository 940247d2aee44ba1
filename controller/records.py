"""What the ledger holds beside its trials: the search itself, its pushes, and how far it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from child.metric import Metric
from controller.baseline import Baseline
from controller.schedule import ScheduleSettings
from controller.trial import Trial

SearchState = Literal["running", "finished", "stopped", "failed"]


@dataclass(frozen=True)
class SearchRecord:
    """What a search is, fixed when it begins.

    settings and code_versions are JSON objects, kept so that a trial can be trained again.
    """

    num_trials: int
    baseline: Baseline  # before any reward
    schedule: ScheduleSettings
    metric: Metric
    settings: dict[str, Any]
    code_versions: dict[str, str]


@dataclass(frozen=True)
class PushRecord:
    """One push: its name, the trials whose rewards it carries, and what the shards answered.

    base_versions are of the slices the gradient was computed at; versions and staleness, one for
    each shard, are None until all have acknowledged; gradient, packed float32, is None from then.
    """

    replica: int
    sequence: int
    incarnation: int
    trials: tuple[int, ...]
    base_versions: list[int]
    gradient: bytes | None
    opened_at: float
    closed_at: float | None
    versions: list[int] | None
    staleness: list[int] | None


@dataclass(frozen=True)
class Progress:
    """How far a search is.

    num_infeasible are among those recorded; num_in_flight are reserved or started and not recorded
    yet. recent_reward is the mean of the last 30 rewards, None before any. metric is what the
    validation figures are of.
    """

    state: SearchState
    reason: str
    metric: Metric
    num_trials: int
    num_recorded: int
    num_infeasible: int
    num_in_flight: int
    recent_reward: float | None
    best: Trial | None
    started_at: float
    ended_at: float | None

    @property
    def num_begun(self) -> int:
        """Trials that took their place in the budget."""
        return self.num_recorded + self.num_in_flight
