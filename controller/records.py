"""What the ledger holds beside its trials: the search itself, its pushes, and how far it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from child.metric import Metric
from controller.baseline import Baseline
from controller.schedule import ScheduleSettings
from controller.trial import Owner, Trial

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
class Life:
    """One process that runs, or ran, a search, from its launch to its end.

    is_job is whether it is a job of a cluster. num_beats grows while it lives; beat_at, by its own
    clock, is when it last did. ended_at is None while it lives, and for ever if it was killed.
    """

    life: int
    host: str
    process: int
    is_job: bool
    began_at: float
    num_beats: int
    beat_at: float
    ended_at: float | None

    def __str__(self) -> str:
        return f"process {self.process} on {self.host}"


@dataclass(frozen=True)
class Enlistment:
    """What a new life of a replica takes over from the lives before.

    open_push: the one that not all shards may have acknowledged; it is to be sent, as it is.
    carried: the trials whose rewards it carries. unpushed: recorded trials whose rewards are in no
    push yet.
    """

    owner: Owner
    open_push: PushRecord | None
    carried: list[Trial]
    unpushed: list[Trial]


@dataclass(frozen=True)
class PushRecord:
    """One push: its name, the trials whose rewards it carries, and what the shards answered.

    base_versions are of the slices the gradient was computed at, the oldest for each shard;
    sample_versions of those that the oldest trial was sampled with. versions, staleness (since
    base_versions) and sample_staleness (since sample_versions), one for each shard, are None until
    all have acknowledged; gradient, packed float32, is None from then.
    """

    replica: int
    sequence: int
    incarnation: int
    trials: tuple[int, ...]
    base_versions: list[int]
    sample_versions: list[int]
    gradient: bytes | None
    opened_at: float
    closed_at: float | None
    versions: list[int] | None
    staleness: list[int] | None
    sample_staleness: list[int] | None


@dataclass(frozen=True)
class ChildAtWork:
    """A child in training: of which replica, on what device, and for how long."""

    replica: int
    trial: int
    device: str
    seconds: float


@dataclass(frozen=True)
class Activity:
    """What a search has done lately, of its last 100 trials and pushes, or as many as there are.

    curve is the mean reward of each part of the search so far, the oldest first: at most 24 equal
    parts of at least 4 trials, of which the last may have fewer. mean_reward and the rates are None
    before there are any: a rate needs two. staleness is that of every shard. baseline is what the
    next reward is compared with.
    """

    curve: Sequence[float] = ()
    mean_reward: float | None = None
    last_reward: float | None = None
    trials_per_s: float | None = None
    pushes_per_s: float | None = None
    mean_staleness: float | None = None
    max_staleness: int | None = None
    num_training: int = 0
    num_reserved: int = 0
    baseline: float | None = None


@dataclass(frozen=True)
class Progress:
    """How far a search is.

    num_infeasible and num_reused are among those recorded; num_in_flight are reserved or started
    and not recorded yet; num_unpushed are recorded, and their rewards not acknowledged by all
    shards. metric is what the validation figures are of. seconds is how long the search ran, in all
    its lives. requested_changes are those of settings, by their names in dots, that the search has
    not seen to yet.
    """

    state: SearchState
    reason: str
    metric: Metric
    num_trials: int
    num_recorded: int
    num_infeasible: int
    num_reused: int
    num_in_flight: int
    num_unpushed: int
    best: Trial | None
    started_at: float
    ended_at: float | None
    seconds: float
    is_stop_requested: bool
    requested_changes: dict[str, Any] | None = None

    @property
    def is_complete(self) -> bool:
        """Whether the budget is recorded and every reward acknowledged by all shards."""
        return self.num_recorded == self.num_trials and not self.num_unpushed

    @property
    def num_begun(self) -> int:
        """Trials that took their place in the budget."""
        return self.num_recorded + self.num_in_flight
