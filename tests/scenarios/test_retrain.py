"""Trainings after a search whose processes are killed: nothing is lost or tested twice."""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
from support.runs import SearchProcess, pid_of
from support.waiting import wait_until

from deploy.run import Run

SETTINGS = [
    "top=2",
    "grid={training: {learning_rate: [0.02, 0.05, 0.1]}}",
    "final.num_epochs=200",
    "final.max_epochs=200",
    "final.num_seeds=3",
    "final.snapshot_every_s=0.5",
]

NUM_KILLS = 6


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """The run of a small search that is over."""
    path = tmp_path_factory.mktemp("search") / "run"
    with SearchProcess.new(path, num_trials=4) as search:
        code, output = search.end(150)
    assert code == 0, output
    return path


def start(path):
    given = [part for setting in SETTINGS for part in ("--set", setting)]
    return subprocess.Popen(
        [sys.executable, "-m", "nasrl", "retrain", str(path), *given],
        cwd=path.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def trainings(path):
    with Run(path).ledger() as ledger:
        return ledger.trainings()


def outcomes(path):
    return {
        row.sha256: (row.stage, row.validations, row.losses, row.test) for row in trainings(path)
    }


def signs(path):
    """Give what changes as the trainings go on: those recorded, and the snapshots."""
    snapshots = sorted((path / "networks").glob("*.snapshot"))
    return len(trainings(path)), [(file.name, file.stat().st_mtime_ns) for file in snapshots]


def wait_for_signs(path, process, before, *, in_final):
    """Wait until it has gone on, of final trainings if so asked, or has ended."""

    def is_there():
        now = signs(path)
        return process.poll() is not None or (now[1] != before[1] if in_final else now != before)

    wait_until(is_there, "progress", 120)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_retraining_that_is_killed_again_and_again_ends_as_one_that_was_not(searched, tmp_path):
    whole, killed = tmp_path / "whole" / "run", tmp_path / "killed" / "run"
    shutil.copytree(searched, whole)
    shutil.copytree(searched, killed)
    process = start(whole)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    expected = outcomes(whole)
    assert sorted(stage for stage, *_ in expected.values()) == ["final"] * 3 + ["grid"] * 6

    draw = random.Random(2)
    for number in range(NUM_KILLS):
        before, process = signs(killed), start(killed)
        wait_for_signs(killed, process, before, in_final=number >= NUM_KILLS / 2)
        time.sleep(draw.uniform(0.0, 1.5))
        assert process.poll() is None, "it has ended before it was killed so often"
        process.send_signal(signal.SIGKILL)
        process.communicate()
    process = start(killed)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    assert outcomes(killed) == expected
    went_on = [
        log.name
        for log in (killed / "logs").glob("final-*.log")
        if len(re.findall(r"process \d+$", log.read_text(), re.M)) > 1
    ]
    assert went_on, "no final training was interrupted"
    assert list((killed / "networks").glob("*.snapshot")) == []


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_training_whose_process_is_killed_goes_on_from_its_snapshot(searched, tmp_path):
    path = tmp_path / "run"
    shutil.copytree(searched, path)
    process = start(path)
    snapshots = path / "networks"
    wait_until(lambda: list(snapshots.glob("*.snapshot")), "a snapshot", 120)
    name = next(snapshots.glob("*.snapshot")).stem
    victim = pid_of(path, name)
    os.kill(victim, signal.SIGKILL)

    output, _ = process.communicate(timeout=200)

    assert process.returncode == 0, output
    assert len(trainings(path)) == 9
    log = (path / "logs" / f"{name}.log").read_text()
    _, first, *lives = re.split(r"process \d+$", log, flags=re.M)
    assert lives, "it was not killed in the middle"
    ends = [[int(number) for number in re.findall(r"epoch (\d+): loss", part)] for part in lives]
    assert ends[-1][0] > 1, "it began anew"
    assert ends[-1][-1] == 200
    assert "epoch 1: loss" in first
