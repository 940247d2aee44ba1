"""How a search ends when it is stopped, or when one of its processes is killed."""

import math
import os
import signal
from contextlib import ExitStack

import pytest
from support.runs import START_S, SearchProcess, wait_until_gone
from support.waiting import wait_until

from deploy.run import Run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def start(tmp_path):
    with ExitStack() as stack:
        yield lambda **changes: stack.enter_context(SearchProcess.new(tmp_path / "run", **changes))


def assert_one_file_says(path, state):
    """The ledger is whole without a look at its write-ahead log, which would fold it in."""
    assert not (path / "ledger.sqlite-wal").exists()
    with Run(path).ledger() as ledger:
        assert ledger.progress().state == state


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_first_signal_finishes_the_trials_in_training(start, number):
    search = start(num_trials=100_000)
    search.wait_for_trials(4)
    pids = search.pids()
    search.send(number)
    code, output = search.end(60)
    assert code == 130, output
    assert "Search stopped" in output
    assert "Traceback" not in output
    with Run(search.path).ledger() as ledger:
        trials, pushes = ledger.trials(), ledger.pushes()
        assert ledger.progress().state == "stopped"
    assert {t.state for t in trials} == {"completed"}
    assert all(t.push_sequence is not None for t in trials)
    assert all(push.closed_at is not None for push in pushes)
    wait_until_gone(pids)


def test_second_signal_ends_at_once_and_keeps_what_was_recorded(start):
    # Children that would train for hours.
    search = start(**{"num_trials": 100_000, "training.num_epochs": 1_000_000})
    wait_until(lambda: (search.path / "endpoints.json").exists(), "shards", START_S)
    children = [search.path / "logs" / f"child-{name}.log" for name in ("0-0", "0-1", "1-0", "1-1")]
    wait_until(
        lambda: all(log.exists() and "process" in log.read_text() for log in children),
        "children",
        START_S,
    )
    pids = search.pids()
    search.send(signal.SIGINT)
    wait_until(lambda: "waiting for the children" in search_log(search), "the drain", 30)
    search.send(signal.SIGINT)
    code, output = search.end(60)
    assert code == 130, output
    assert "stopped at once" in output
    assert "Traceback" not in output
    assert_one_file_says(search.path, "stopped")
    wait_until_gone(pids)


@pytest.mark.parametrize(
    ("moment", "is_kept"), [("starting Ray", False), ("3 shards", True), ("serving at", True)]
)
def test_signal_before_the_first_trial_ends_at_once(start, moment, is_kept):
    search = start()
    log = search.path / "logs" / "search.log"
    wait_until(lambda: log.exists() and moment in log.read_text(), moment, START_S)
    search.send(signal.SIGINT)
    code, output = search.end(60)
    assert code == 130, output
    assert "stopped at once" in output
    assert "Traceback" not in output
    assert search.path.exists() == is_kept
    wait_until_gone(search.pids())


def test_killed_worker_of_the_test_takes_nothing_from_the_search(start):
    search = start(
        **{
            "num_trials": 1,
            "num_replicas": 1,
            "children.per_replica": 1,
            "training.num_epochs": 300,
        }
    )
    log = search.path / "logs" / "test.log"
    wait_until(lambda: log.exists() and "process" in log.read_text(), "the test", START_S)
    os.kill(search.pids()["test"], signal.SIGKILL)
    code, output = search.end(60)
    assert code == 0, output
    assert "its best network was not tested: the test: its process died" in output
    assert "Search finished: 1 of 1 trials" in output
    assert_one_file_says(search.path, "finished")


def test_random_search_goes_through_the_same_harness(start):
    search = start(strategy="random")
    code, output = search.end(120)
    assert code == 0, output
    with Run(search.path).ledger() as ledger:
        trials, pushes = ledger.trials(), ledger.pushes()
    space = Run(search.path).settings.task.space
    for trial in trials:
        choices = [choice for _, choice in trial.decisions]
        uniform = [
            -math.log(space.next_decision(choices[:step], trial.depth).num_choices)
            for step in range(len(choices))
        ]
        assert trial.log_probs == pytest.approx(uniform)
    assert max(push.versions[0] for push in pushes) == len(pushes)


def search_log(search):
    return (search.path / "logs" / "search.log").read_text()


def test_machine_without_what_the_children_need_is_refused_and_nothing_is_left(start):
    search = start(**{"children.num_gpus": 64})
    code, output = search.end(60)
    assert code == 2
    assert "children.num_gpus=64" in output
    assert "a child fits nowhere" in output
    assert "Traceback" not in output
    assert not search.path.exists()
