"""What Prometheus is told of a search as a whole."""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import pytest
from support.clock import FakeClock
from support.statuses import progress, trial

from controller.records import Activity
from deploy import search_metrics
from deploy.search_metrics import SearchMetrics
from deploy.status import Status
from workers.replica_set import Workforce


def value(metrics, name, **labels):
    return metrics.registry.get_sample_value(f"nasrl_search_{name}", labels)


NOBODY, NOTHING = Workforce(0, 0, {}), Activity()


def update(metrics, workforce=NOBODY, deaths=(), activity=NOTHING, **changes):
    metrics.update(Status(progress(**changes), activity), workforce, dict(deaths))


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def metrics(tmp_path, clock):
    return SearchMetrics(tmp_path, clock)


def test_trials_are_counted_as_in_the_ledger(metrics):
    update(
        metrics,
        activity=Activity(num_training=3, num_reserved=2),
        num_recorded=40,
        num_infeasible=4,
        num_reused=5,
        num_unpushed=6,
        seconds=70.5,
    )
    assert value(metrics, "budget_trials") == 120
    assert value(metrics, "recorded_trials_total") == 40
    assert value(metrics, "infeasible_trials_total") == 4
    assert value(metrics, "reused_trials_total") == 5
    assert value(metrics, "unpushed_trials") == 6
    assert value(metrics, "trials_in_flight", state="reserved") == 2
    assert value(metrics, "trials_in_flight", state="started") == 3
    assert value(metrics, "seconds") == 70.5


def test_rewards_are_told_once_there_are_any(metrics):
    update(metrics, activity=Activity(baseline=0.25))
    assert value(metrics, "baseline") == 0.25
    assert value(metrics, "best_reward") is value(metrics, "last_reward") is None
    update(metrics, activity=Activity(last_reward=0.125, mean_reward=0.375), best=trial(0.9))
    assert value(metrics, "last_reward") == 0.125
    assert value(metrics, "mean_reward") == 0.375
    assert value(metrics, "best_reward") == 0.5


def test_seconds_since_a_trial_was_recorded_grow_until_the_next(metrics, clock):
    for num_recorded, seconds in ((7, 0), (7, 3), (7, 6), (8, 0)):
        update(metrics, num_recorded=num_recorded)
        assert value(metrics, "last_recorded_seconds") == seconds
        clock.advance(3)
    assert value(metrics, "last_recorded_seconds") == 3  # also where nobody updates it


def test_replicas_and_child_workers_are_counted_by_how_they_are(metrics):
    update(metrics, Workforce(4, 3, {"wanted": 8, "ready": 6}))
    assert value(metrics, "replicas", state="wanted") == 4
    assert value(metrics, "replicas", state="alive") == 3
    assert value(metrics, "child_workers", state="wanted") == 8
    assert value(metrics, "child_workers", state="ready") == 6


def test_deaths_are_counted_by_kind_of_process(metrics):
    update(metrics)
    assert value(metrics, "deaths_total", kind="replica") == 0
    deaths = {"shard 1": 2, "the ledger": 1, "replica 0": 3, "replica 7, of an earlier life": 4}
    update(metrics, deaths=deaths)
    for kind, number in {"shard": 2, "ledger": 1, "replica": 7}.items():
        assert value(metrics, "deaths_total", kind=kind) == number


def test_room_on_the_disk_of_the_run_is_told_from_the_beginning(metrics, tmp_path, monkeypatch):
    room = {tmp_path: SimpleNamespace(total=100, free=40)}
    monkeypatch.setattr(search_metrics.shutil, "disk_usage", lambda path: room[path])
    assert value(metrics, "disk_free_bytes") == 40
    assert value(metrics, "disk_bytes") == 100


def test_disk_that_cannot_be_looked_at_hides_nothing_else(metrics, tmp_path):
    update(metrics, num_recorded=7)
    shutil.rmtree(tmp_path)
    assert value(metrics, "disk_bytes") is None
    assert value(metrics, "recorded_trials_total") == 7
