"""Trainings go on side by side, although processes die."""

from __future__ import annotations

import os
import signal
import time

import pytest

from controller.retraining import Training
from deploy.retrain.side_by_side import SideBySide
from workers.remote import THIS_MACHINE, call

pytestmark = pytest.mark.usefixtures("ray_for_all")

TRAININGS = [Training("grid", trial, {}, {}, seed=trial) for trial in (1, 2, 3)]


def steps(trial, fate):
    """Yield twice; between these, do to itself what a file says, and forget it then."""
    yield trial, "first"
    if fate.is_file():
        todo = fate.read_text()
        fate.unlink()
        if todo == "fail":
            raise ValueError("a bug")
        if todo == "wait":
            signal.pause()
        if todo == "die when told":
            fate.with_name("told").read_text()  # a pipe
        os.kill(os.getpid(), signal.SIGKILL)
    yield trial, "last"


@pytest.fixture
def begin(tmp_path):
    def begin(training):
        fate = tmp_path / str(training.trial)
        return call(steps, training.trial, fate, num_cpus=1, num_gpus=0, place=THIS_MACHINE)

    return begin


def run(begin, *, max_deaths=3, is_stopping=lambda: False):
    side_by_side = SideBySide(begin, max_deaths, is_stopping)
    return [
        (given[0].trial, *given[1]) for given in side_by_side.run(TRAININGS) if given is not None
    ]


def test_all_that_is_yielded_comes_with_its_training(begin):
    expected = [(trial, trial, word) for trial in (1, 2, 3) for word in ("first", "last")]
    assert sorted(run(begin)) == expected


def test_training_whose_process_dies_begins_again(begin, tmp_path):
    (tmp_path / "2").write_text("die")
    given = run(begin)
    assert given.count((2, 2, "last")) == 1
    assert given.count((2, 2, "first")) == 2
    assert given.count((1, 1, "first")) == 1


def test_training_whose_processes_all_die_is_given_up_and_the_others_go_on(begin, tmp_path):
    def dying(training):
        if training.trial == 1:
            (tmp_path / "1").write_text("die")
        return begin(training)

    side_by_side = SideBySide(dying, 2, lambda: False)
    given = [each for each in side_by_side.run(TRAININGS) if each]
    assert list(side_by_side.lost) == [TRAININGS[0].sha256]
    assert side_by_side.lost[TRAININGS[0].sha256].startswith("lost its process 2 times: ")
    lasts = [training.trial for training, (_, word) in given if word == "last"]
    assert sorted(lasts) == [2, 3]


def test_training_that_got_further_between_its_deaths_is_not_given_up(begin, tmp_path):
    num_lives = 0

    def dying(training):
        nonlocal num_lives
        if training.trial == 1:
            num_lives += 1
            if num_lives < 5:
                (tmp_path / "1").write_text("die when told")
        return begin(training)

    os.mkfifo(tmp_path / "told")
    side_by_side = SideBySide(dying, 2, lambda: False)
    for given in side_by_side.run(TRAININGS):
        if given is not None:
            side_by_side.has_advanced(given[0])
            if num_lives < 5 and given == (TRAININGS[0], (1, "first")):
                (tmp_path / "told").write_text("now")
    assert num_lives == 5
    assert side_by_side.lost == {}


def test_training_that_raises_an_error_is_given_up_and_the_others_go_on(begin, tmp_path):
    (tmp_path / "3").write_text("fail")
    side_by_side = SideBySide(begin, 3, lambda: False)
    given = [each for each in side_by_side.run(TRAININGS) if each]
    assert side_by_side.lost == {TRAININGS[2].sha256: "ValueError: a bug"}
    assert sum(word == "last" for _, (_, word) in given) == 2


def test_stop_ends_the_waiting(begin, tmp_path):
    (tmp_path / "1").write_text("wait")
    began_at = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run(begin, is_stopping=lambda: not (tmp_path / "1").exists())
    assert time.monotonic() - began_at < 60
