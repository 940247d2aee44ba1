"""What Prometheus sees of a search as a whole."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from deploy.status import Status
from workers.replica_set import Workforce

Family = CounterMetricFamily | GaugeMetricFamily


@dataclass(frozen=True)
class _Seen:
    """What was told of a search last."""

    status: Status
    workforce: Workforce
    deaths: Mapping[str, int]


class SearchMetrics(Collector):
    """How one life of a search is doing, in a registry of its own; from the first `update` on.

    All names begin with nasrl_search_.

    Threads: `update` by one; `collect` may be called from many.
    """

    def __init__(self, folder: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """Know nothing yet.

        Args:
            folder: the run directory, of whose disk the room is told.
        """
        self.registry = CollectorRegistry()
        self.registry.register(self)
        self._folder = folder
        self._clock = clock
        self._seen: _Seen | None = None
        self._num_recorded: int | None = None
        self._recorded_at = clock()

    def update(self, status: Status, workforce: Workforce, deaths: Mapping[str, int]) -> None:
        """Take note of how the search is doing.

        Args:
            deaths: how often the process of each name has died in this life of the search.
        """
        if status.progress.num_recorded != self._num_recorded:
            self._num_recorded, self._recorded_at = status.progress.num_recorded, self._clock()
        self._seen = _Seen(status, workforce, deaths)

    def describe(self) -> Iterator[Family]:
        """Name nothing in advance: what there is to collect is known later."""
        return iter(())

    def collect(self) -> Iterator[Family]:
        """Give what Prometheus is told."""
        yield from self._disk()
        if (seen := self._seen) is not None:
            yield from _trials(seen.status)
            yield _gauge(
                "last_recorded_seconds",
                "Since a trial was recorded, or since this life of the search began.",
                self._clock() - self._recorded_at,
            )
            yield from _rewards(seen.status)
            yield from _processes(seen.workforce, seen.deaths)

    def _disk(self) -> Iterator[Family]:
        try:
            room = shutil.disk_usage(self._folder)
        except OSError:
            return  # that it is away is told by others
        yield _gauge("disk_free_bytes", "Free on the disk of the run directory.", room.free)
        yield _gauge("disk_bytes", "Size of the disk of the run directory.", room.total)


def _trials(status: Status) -> Iterator[Family]:
    progress, activity = status.progress, status.activity
    yield _gauge("budget_trials", "Trials that the search is to record.", progress.num_trials)
    for name, text, number in (
        ("recorded_trials", "Trials recorded.", progress.num_recorded),
        ("infeasible_trials", "Trials recorded as infeasible.", progress.num_infeasible),
        ("reused_trials", "Trials that took a reward that was known.", progress.num_reused),
    ):
        yield CounterMetricFamily(f"nasrl_search_{name}", text, number)
    in_flight = GaugeMetricFamily(
        "nasrl_search_trials_in_flight",
        "Trials begun and not recorded: reserved, or sampled and to be trained.",
        labels=("state",),
    )
    in_flight.add_metric(("reserved",), activity.num_reserved)
    in_flight.add_metric(("started",), activity.num_training)
    yield in_flight
    yield _gauge(
        "unpushed_trials", "Trials recorded, and not yet in a closed push.", progress.num_unpushed
    )
    yield _gauge("seconds", "How long the search ran, in all its lives.", progress.seconds)


def _rewards(status: Status) -> Iterator[Family]:
    best = status.progress.best
    for name, text, figure in (
        ("last_reward", "Reward of the trial recorded last.", status.activity.last_reward),
        ("mean_reward", "Mean reward of the last 100 trials.", status.activity.mean_reward),
        ("best_reward", "The greatest reward so far.", None if best is None else best.reward),
        ("baseline", "What the next reward is compared with.", status.activity.baseline),
    ):
        if figure is not None:
            yield _gauge(name, text, figure)


def _processes(workforce: Workforce, deaths: Mapping[str, int]) -> Iterator[Family]:
    replicas = GaugeMetricFamily(
        "nasrl_search_replicas", "Controller replicas, wanted and alive.", labels=("state",)
    )
    replicas.add_metric(("wanted",), workforce.replicas_wanted)
    replicas.add_metric(("alive",), workforce.replicas_alive)
    yield replicas
    workers = GaugeMetricFamily(
        "nasrl_search_child_workers",
        "Child workers: wanted by the settings, placed where there is room, and how these are.",
        labels=("state",),
    )
    for state, number in workforce.workers.items():
        workers.add_metric((state,), number)
    yield workers
    died = CounterMetricFamily(
        "nasrl_search_deaths",
        "Processes that died and were replaced, in this life of the search.",
        labels=("kind",),
    )
    for kind in ("ledger", "replica", "shard"):  # also before the first dies
        died.add_metric((kind,), sum(deaths[name] for name in deaths if kind in name))
    yield died


def _gauge(name: str, text: str, figure: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"nasrl_search_{name}", text, figure)
