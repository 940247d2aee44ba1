"""What Prometheus sees of a shard."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from ps.push import PushAnswer

_SECONDS = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
_PUSHES = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 5000)


class ShardMetrics:
    """Counters, gauges and histograms of one shard, in a registry of its own.

    All names begin with nasrl_shard_, and all have the label `shard`.

    port: where they are served; 0 until they are.

    Threads: may be called from many.
    """

    def __init__(self, shard: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.registry = CollectorRegistry()
        self.port = 0
        self._clock = clock
        self._shard = str(shard)
        self._pushes = self._counter("pushes", "Pushes by what became of them.", "result")
        self._accepted = self._pushes.labels(self._shard, "accepted")
        self._repeated = self._pushes.labels(self._shard, "repeated")
        self._staleness = self._histogram("staleness_pushes", "Staleness of pushes.", _PUSHES)
        self._sample_staleness = self._histogram(
            "sample_staleness_pushes", "Staleness of the oldest rollout in a push.", _PUSHES
        )
        self._apply = self._histogram("apply_seconds", "Checking and applying a push.")
        self._sync = self._histogram("sync_seconds", "One sync of the journal.")
        self._checkpoint = self._histogram("checkpoint_seconds", "Writing a checkpoint.")
        self._upload = self._histogram("upload_seconds", "Copying a checkpoint to its URL.")
        failed = self._counter("failed_uploads", "Checkpoints not copied to their URL.")
        self._failed_uploads = failed.labels(self._shard)
        self._recovery = self._gauge("recovery_seconds", "How long this life took to begin.")
        self._is_serving = self._gauge("is_serving", "Whether its health is SERVING: 1, or 0.")
        self._version = self._gauge("version", "Pushes accepted since the search began.")
        self._epoch = self._gauge("epoch", "Which life of the shard this is; 0 without a disk.")
        self._journal = self._gauge("journal_bytes", "Journal since the last checkpoint.")
        self._calls = self._gauge("calls", "Calls being answered, or waiting to be.")
        turned_away = self._counter("turned_away", "Calls refused because of overload.")
        self._turned_away = turned_away.labels(self._shard)
        self._last_push: dict[int, float] = {}
        self.registry.register(_LastPushes(self._shard, self._last_push, clock))

    def accepted(self, push_replica: int, answer: PushAnswer) -> None:
        """Count a push that was answered, a repeated one apart."""
        self._last_push[push_replica] = self._clock()
        if answer.is_repeated:
            self._repeated.inc()
            return
        self._accepted.inc()
        self._staleness.observe(answer.staleness)
        self._sample_staleness.observe(answer.sample_staleness)

    def refused(self, why: str) -> None:
        """Count a push that was refused; why is the name of the error."""
        self._pushes.labels(self._shard, why).inc()

    def applied(self, seconds: float) -> None:
        """Take note of how long a push was checked and applied."""
        self._apply.observe(seconds)

    def synced(self, seconds: float) -> None:
        """Take note of how long a sync of the journal took."""
        self._sync.observe(seconds)

    def checkpointed(self, seconds: float) -> None:
        """Take note of how long a checkpoint took."""
        self._checkpoint.observe(seconds)

    def uploaded(self, seconds: float) -> None:
        """Take note of how long it took to copy a checkpoint to its URL."""
        self._upload.observe(seconds)

    def failed_to_upload(self) -> None:
        """Count a checkpoint that could not be copied to its URL."""
        self._failed_uploads.inc()

    def recovered(self, seconds: float, epoch: int) -> None:
        """Take note of a life that has begun, and of how long that took."""
        self._recovery.set(seconds)
        self._epoch.set(epoch)

    def watch(self, version: Callable[[], int], journal_bytes: Callable[[], int]) -> None:
        """Ask these whenever somebody looks."""
        self._version.set_function(version)
        self._journal.set_function(journal_bytes)

    def watch_health(self, is_serving: Callable[[], bool]) -> None:
        """Ask this for the health of the shard whenever somebody looks."""
        self._is_serving.set_function(is_serving)

    def watch_calls(self, calls: Callable[[], int]) -> None:
        """Ask this for the calls under way whenever somebody looks."""
        self._calls.set_function(calls)

    def turned_away(self) -> None:
        """Count a call that was refused because of overload."""
        self._turned_away.inc()

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"nasrl_shard_{name}", text, ("shard", *labels), registry=self.registry)

    def _gauge(self, name: str, text: str) -> Gauge:
        gauge = Gauge(f"nasrl_shard_{name}", text, ("shard",), registry=self.registry)
        return gauge.labels(self._shard)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...] = _SECONDS) -> Histogram:
        histogram = Histogram(
            f"nasrl_shard_{name}", text, ("shard",), registry=self.registry, buckets=buckets
        )
        return histogram.labels(self._shard)


class _LastPushes(Collector):
    """How long ago each replica pushed, reckoned when somebody looks."""

    def __init__(self, shard: str, last: dict[int, float], clock: Callable[[], float]) -> None:
        self._shard = shard
        self._last = last
        self._clock = clock

    def collect(self) -> Iterator[GaugeMetricFamily]:
        family = GaugeMetricFamily(
            "nasrl_shard_last_push_seconds",
            "Seconds since the last push of each replica, in this life of the shard.",
            labels=("shard", "replica"),
        )
        now = self._clock()
        for replica, when in sorted(self._last.copy().items()):
            family.add_metric((self._shard, str(replica)), now - when)
        yield family
