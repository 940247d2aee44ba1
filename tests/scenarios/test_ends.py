"""How a search ends when it is stopped, or when one of its processes is killed."""

import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.runs import is_alive, overrides, pid_of
from support.waiting import wait_until

from deploy.run import Run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

START_S = 90


class Process:
    """`nasrl search` in a process of its own."""

    def __init__(self, home: Path, **changes: object) -> None:
        self.path = home / "run"
        command = [sys.executable, "-m", "nasrl", "search", *overrides(**changes)]
        self._process = subprocess.Popen(
            [*command, "--run-dir", str(self.path)],
            cwd=home,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def wait_for_trials(self, number: int) -> None:
        wait_until(lambda: self.num_recorded() >= number, f"{number} trials", START_S)

    def num_recorded(self) -> int:
        if not (self.path / "endpoints.json").exists():
            return 0
        with Run(self.path).ledger() as ledger:
            return ledger.progress().num_recorded

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def end(self, timeout_s: float) -> tuple[int, str]:
        """Wait for the end; give exit code and output."""
        output, _ = self._process.communicate(timeout=timeout_s)
        return self._process.returncode, output

    def pids(self) -> dict[str, int]:
        names = [log.stem for log in (self.path / "logs").glob("*.log") if log.stem != "search"]
        return {name: pid_of(self.path, name) for name in names}


@pytest.fixture
def start(tmp_path):
    started = []

    def start(**changes):
        started.append(Process(tmp_path, **changes))
        return started[-1]

    yield start
    for process in started:
        process._process.kill()
        process._process.wait()
        process._process.stdout.close()


def assert_one_file_says(path, state):
    """The ledger is whole without a look at its write-ahead log, which would fold it in."""
    assert not (path / "ledger.sqlite-wal").exists()
    with Run(path).ledger() as ledger:
        assert ledger.progress().state == state


def assert_nothing_is_left(pids):
    for name, pid in pids.items():
        wait_until(lambda pid=pid: not is_alive(pid), f"the end of {name}", 15)


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
    assert_nothing_is_left(pids)


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
    wait_until(lambda: "stopping" in search_log(search), "the drain", 30)
    search.send(signal.SIGINT)
    code, output = search.end(60)
    assert code == 130, output
    assert "stopped at once" in output
    assert "Traceback" not in output
    assert_one_file_says(search.path, "stopped")
    assert_nothing_is_left(pids)


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
    assert_nothing_is_left(search.pids())


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
    os.kill(pid_of(search.path, "test"), signal.SIGKILL)
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


@pytest.mark.parametrize(
    ("victim", "named"),
    [("shard-1", "shard 1"), ("replica-0", "replica 0"), ("ledger", "the ledger's process")],
)
def test_killed_process_ends_the_search_with_its_name(start, victim, named):
    search = start(num_trials=100_000)
    search.wait_for_trials(4)
    pids = search.pids()
    os.kill(pids[victim], signal.SIGKILL)
    code, output = search.end(30)
    assert code == 1, output
    assert named in output.partition("Error: ")[2]
    assert "Traceback" not in output
    assert "raylet" not in output, "Ray has its say"
    assert f"What was recorded stays in {search.path}" in output
    if victim != "ledger":  # who is killed leaves its log
        assert_one_file_says(search.path, "failed")
    with Run(search.path).ledger() as ledger:
        progress = ledger.progress()
    assert progress.state == "failed"
    assert progress.reason
    assert progress.num_recorded >= 4
    assert_nothing_is_left(pids)


def test_killed_child_worker_is_replaced_and_its_trial_trained_again(start):
    search = start(num_trials=30)
    search.wait_for_trials(2)
    os.kill(search.pids()["child-0-0"], signal.SIGKILL)
    code, output = search.end(120)
    assert code == 0, output
    assert (search.path / "logs" / "child-0-2.log").exists()
    with Run(search.path).ledger() as ledger:
        assert {t.state for t in ledger.trials()} == {"completed"}
        assert ledger.progress().num_recorded == 30


def test_machine_without_what_the_children_need_is_refused_and_nothing_is_left(start):
    search = start(**{"children.num_gpus": 64})
    code, output = search.end(60)
    assert code == 2
    assert "children.num_gpus=64" in output
    assert "Traceback" not in output
    assert not search.path.exists()
