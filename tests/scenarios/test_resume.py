"""Searches that were stopped or killed, and go on."""

import random
import signal
import subprocess
import sys
import time

import pytest
from support.audit import audit
from support.runs import SMALL, SearchProcess, wait_until_gone
from support.waiting import wait_until

from deploy.run import Run

NUM_SHARDS = SMALL["num_shards"]


@pytest.mark.timeout(240)
def test_search_whose_driver_was_killed_is_resumed_and_ends_with_its_exact_budget(tmp_path):
    path = tmp_path / "run"
    with SearchProcess.new(path, num_trials=100_000) as search:
        search.wait_for_trials(2)
        search.send(signal.SIGKILL)
        num_trials = search.num_recorded() + 60  # its replicas go on for a moment
        pids = search.pids()
    with SearchProcess.resumed(path, f"--set=num_trials={num_trials}") as search:
        code, output = search.end(150)

    assert code == 0, output
    assert "has not ended this search: waiting for a sign of its life" in output
    assert "Traceback" not in output
    audit(path, num_trials, NUM_SHARDS)
    wait_until_gone(pids | search.pids())
    with Run(path).ledger() as ledger:
        assert [life.ended_at is None for life in ledger.lives()] == [True, False]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_driver_that_is_killed_at_ten_random_points_ends_with_its_exact_budget(tmp_path):
    path, draw = tmp_path / "run", random.Random(1)
    for life in range(10):
        start = SearchProcess.resumed(path) if life else SearchProcess.new(path, num_trials=60)
        with start as search:
            wait_until(lambda life=life: num_lives(search) > life, "a new life", 120)
            time.sleep(draw.uniform(0.0, 15.0))
            search.send(signal.SIGKILL)
    with SearchProcess.resumed(path) as search:
        code, output = search.end(300)

    assert code == 0, output
    audit(path, 60, NUM_SHARDS)
    with Run(path).ledger() as ledger:
        assert len(ledger.lives()) == 11


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_stopped_search_goes_on_with_other_replicas_and_children_and_a_larger_budget(tmp_path):
    path = tmp_path / "run"
    with SearchProcess.new(path, num_trials=100_000) as search:
        search.wait_for_trials(4)
        search.send(signal.SIGINT)
        code, output = search.end(120)
    assert code == 130, output
    assert f"nasrl search --resume {path}" in output
    num_recorded = search.num_recorded()
    changes = {"num_trials": num_recorded + 9, "num_replicas": 3, "children.per_replica": 1}
    with SearchProcess.resumed(path, *(f"--set={k}={v}" for k, v in changes.items())) as search:
        code, output = search.end(200)

    assert code == 0, output
    audit(path, num_recorded + 9, NUM_SHARDS)
    run = Run(path)
    assert run.settings.num_replicas == 3
    with run.ledger() as ledger:
        assert {trial.replica for trial in ledger.trials()} == {0, 1, 2}


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_resumed_search_is_refused_what_may_not_change_and_while_it_runs(tmp_path):
    path = tmp_path / "run"
    with SearchProcess.new(path, num_trials=100_000) as search:
        search.wait_for_trials(1)
        with SearchProcess.resumed(path, "--set=seed=5", "--set=num_shards=2") as other:
            code, output = other.end(60)
        assert code == 2
        assert "seed=5: must stay 0; trials that are trained again are drawn from it" in output
        assert "num_shards=2: must stay 3; " in output
        assert "change it with nasrl reshard" in output
        with SearchProcess.resumed(path) as other:
            code, output = other.end(120)
        assert code == 2, output
        assert "the search is being run by process" in output
        assert "nasrl stop" in output
        assert search.is_running


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_search_is_stopped_from_outside_resharded_and_resumed(tmp_path):
    path = tmp_path / "run"
    with SearchProcess.new(path, num_trials=100_000) as search:
        search.wait_for_trials(4)
        code, output = nasrl("stop", path)
        assert code == 0, output
        assert "stopped: " in output
        code, output = search.end(60)
    assert code == 130, output
    assert "stopped by nasrl stop" in output
    num_recorded = search.num_recorded()
    code, output = nasrl("reshard", path, "--num-shards", "2")
    assert code == 0, output
    with SearchProcess.resumed(path, f"--set=num_trials={num_recorded + 6}") as search:
        code, output = search.end(200)

    assert code == 0, output
    with Run(path).ledger() as ledger:
        progress, pushes = ledger.progress(), ledger.pushes()
    assert progress.is_complete
    assert progress.num_recorded == num_recorded + 6
    for shard in range(2):
        versions = sorted(push.versions[shard] for push in pushes)
        assert versions == list(range(1, len(pushes) + 1))


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("limit", "reason"),
    [
        ({"time_limit_s": 25}, "time_limit_s=25 is over"),
        ({"target_reward": 0.0001}, "target_reward=0.0001 was reached"),
    ],
)
def test_search_with_a_limit_ends_as_if_it_were_finished(tmp_path, limit, reason):
    with SearchProcess.new(tmp_path / "run", num_trials=100_000, **limit) as search:
        code, output = search.end(200)

    assert code == 0, output
    progress = search.progress()
    assert (progress.state, progress.reason) == ("finished", reason)
    assert 1 <= progress.num_recorded < 100_000
    assert "  test         " in output
    audit(search.path, progress.num_recorded, NUM_SHARDS)


def nasrl(verb, path, *arguments):
    done = subprocess.run(
        [sys.executable, "-m", "nasrl", verb, str(path), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return done.returncode, done.stdout + done.stderr


def log_of(path):
    return (path / "logs" / "search.log").read_text()


def num_lives(search):
    if search.progress() is None:
        return 0
    with Run(search.path).ledger() as ledger:
        return len(ledger.lives())
