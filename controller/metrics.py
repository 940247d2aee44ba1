"""What Prometheus sees of a controller replica."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from child.result import TrialResult
from ps.push import PushAnswer

_SECONDS = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
_CHILD_SECONDS = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0, 10_000.0, 30_000.0, 100_000.0)
_PUSHES = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 5000)


class ReplicaMetrics:
    """Counters, gauges and histograms of one life of a replica, in a registry of its own.

    All names begin with nasrl_replica_, and all have the label `replica`.

    Threads: may be called from many.
    """

    def __init__(self, replica: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.registry = CollectorRegistry()
        self._clock = clock
        self._replica = str(replica)
        self._incarnation = self._gauge("incarnation", "Which life of the replica this is.")
        self._trials = self._counter("trials", "Trials recorded, by what became of them.", "result")
        for result in ("completed", "infeasible", "reused"):
            self._trials.labels(self._replica, result)  # counted from 0 on
        self._child = self._histogram(
            "child_seconds", "Building, training and validating a child.", _CHILD_SECONDS
        )
        self._reward = self._gauge("reward", "Mean reward of the trials in the last push.")
        self._pushes = self._counter("pushes", "Pushes acknowledged by all shards.")
        self._refused = self._counter("refused_pushes", "Gradients too stale, computed again.")
        self._lost = self._counter(
            "lost_rewards", "Rewards that count for nothing: they have no finite gradient."
        )
        self._staleness = self._histogram(
            "staleness_pushes", "Staleness of pushes; the greatest of their shards.", _PUSHES
        )
        self._sample_staleness = self._histogram(
            "sample_staleness_pushes",
            "Staleness of the oldest rollout in a push; the greatest of its shards.",
            _PUSHES,
        )
        self._gradient = self._histogram(
            "gradient_seconds", "Computing a gradient, with the pull that it may need.", _SECONDS
        )
        self._calls = Histogram(
            "nasrl_replica_call_seconds",
            "A call to all shards, with its resends.",
            ("replica", "method"),
            registry=self.registry,
            buckets=_SECONDS,
        )
        self._resends = self._counter("resends", "Attempts at a call after the first.", "method")
        for method in ("Pull", "Push"):
            self._calls.labels(self._replica, method)
            self._resends.labels(self._replica, method)
        self._unanswered = self._counter("unanswered_calls", "Calls that all attempts failed of.")
        for counter in (self._pushes, self._refused, self._lost, self._unanswered):
            counter.labels(self._replica)

    def began(self, incarnation: int) -> None:
        """Take note of which life of the replica this is."""
        self._incarnation.set(incarnation)

    def recorded(self, result: TrialResult) -> None:
        """Count a trial that was trained and recorded."""
        self._trials.labels(self._replica, result.state).inc()
        self._child.observe(result.seconds)

    def reused(self) -> None:
        """Count a trial that took the known reward of its architecture."""
        self._trials.labels(self._replica, "reused").inc()

    def pushed(self, rewards: Sequence[float], answers: Sequence[PushAnswer]) -> None:
        """Count a push that all shards have acknowledged.

        Args:
            rewards: those that its gradient was made from.
        """
        self._pushes.labels(self._replica).inc()
        self._reward.set(sum(rewards) / len(rewards))
        self._staleness.observe(max(answer.staleness for answer in answers))
        self._sample_staleness.observe(max(answer.sample_staleness for answer in answers))

    def refused(self) -> None:
        """Count a gradient that has to be computed again, since it is too stale."""
        self._refused.labels(self._replica).inc()

    def lost(self, number: int) -> None:
        """Count rewards that a gradient has nothing of, since theirs is not finite."""
        self._lost.labels(self._replica).inc(number)

    def unanswered(self) -> None:
        """Count a call that is made anew, since a shard answered none of its attempts."""
        self._unanswered.labels(self._replica).inc()

    def called(self, method: str, seconds: float, num_attempts: int) -> None:
        """Take note of a call to all shards; see `ps.client.CallObserver`."""
        self._calls.labels(self._replica, method).observe(seconds)
        self._resends.labels(self._replica, method).inc(num_attempts - 1)

    @contextmanager
    def computing(self) -> Iterator[None]:
        """Take note of how long the gradient takes that is computed inside."""
        began = self._clock()
        yield
        self._gradient.observe(self._clock() - began)

    def watch_workers(
        self, workers: Callable[[], Mapping[str, int]], deaths: Callable[[], int]
    ) -> None:
        """Ask these whenever somebody looks.

        Args:
            workers: gives the child workers, by how they are. deaths: how many have died.
        """
        self.registry.register(_Workers(self._replica, workers, deaths))

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"nasrl_replica_{name}", text, ("replica", *labels), registry=self.registry)

    def _gauge(self, name: str, text: str) -> Gauge:
        gauge = Gauge(f"nasrl_replica_{name}", text, ("replica",), registry=self.registry)
        return gauge.labels(self._replica)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        histogram = Histogram(
            f"nasrl_replica_{name}", text, ("replica",), registry=self.registry, buckets=buckets
        )
        return histogram.labels(self._replica)


class _Workers(Collector):
    """The child workers of a replica, counted when somebody looks."""

    def __init__(
        self,
        replica: str,
        workers: Callable[[], Mapping[str, int]],
        deaths: Callable[[], int],
    ) -> None:
        self._replica = replica
        self._workers = workers
        self._deaths = deaths

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        family = GaugeMetricFamily(
            "nasrl_replica_child_workers",
            "Child workers, by how they are; placed: there are to be so many.",
            labels=("replica", "state"),
        )
        for state, number in self._workers().items():
            family.add_metric((self._replica, state), number)
        yield family
        died = CounterMetricFamily(
            "nasrl_replica_child_worker_deaths", "Child workers that died.", labels=("replica",)
        )
        died.add_metric((self._replica,), self._deaths())
        yield died
