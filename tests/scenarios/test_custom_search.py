"""Whole searches over a space of the user's, by a trainer that does whatever a trainer can."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest

from deploy.cli import main
from deploy.results import Results
from deploy.run import Run

EXAMPLES = Path(__file__).parents[2] / "examples"

CODE = """
import os, sys, time
from nasrl import ChoiceSpace, Infeasible, Outcome

class Deeds(ChoiceSpace):
    choices = {"deed": ["train", "raise", "hang", "nan", "print", "leave", "die", "refuse",
                        "spoil"]}

    def write(self, choose):
        deed = choose("deed")
        if deed == "spoil":
            raise KeyError("of a layer that has none")
        return {"deed": deed}

def train(architecture, *, device, seed, report):
    deed = architecture["deed"]
    report(0.25)
    if deed == "raise":
        raise ValueError("a shape that does not fit" + "!" * 1_000_000)
    if deed == "hang":
        time.sleep(10_000)
    if deed == "nan":
        return float("nan")
    if deed == "print":
        print("x" * 1_000_000)
        print("y" * 1_000_000, file=sys.stderr)
    if deed == "leave":
        sys.exit(3)
    if deed == "die":
        os._exit(4)
    if deed == "refuse":
        raise Infeasible("not worth a try")
    return Outcome(0.5, num_parameters=7, metrics={"latency": 0.125})
"""
SETTINGS = """
space: deeds:Deeds
trainer: deeds:train
strategy: random
seed: 23
num_trials: 16
num_replicas: 2
num_shards: 1
children: {per_replica: 2, num_cpus: 0.25, num_gpus: 0, max_deaths: 2}
training: {time_limit_s: 2.0}
"""
# What the ledger says of each deed; those that are not here complete.
REASONS = {
    "raise": "ValueError: a shape that does not fit!!!",
    "hang": "time_limit_s=2: over, and it did not end; its process was ended",
    "nan": "reward=nan: must be finite",
    "leave": "SystemExit: 3 (deeds.py, line ",
    "die": "its worker died 2 times",
    "refuse": "not worth a try",
    "spoil": "KeyError: 'of a layer that has none' (deeds.py, line ",
}


pytestmark = pytest.mark.usefixtures("own_modules")


def deed_of(trial):
    return trial.architecture.get("architecture", {"deed": "spoil"})["deed"]


def test_whatever_a_trainer_does_is_the_trials_and_the_search_ends_with_its_budget(
    tmp_path, capsys
):
    (tmp_path / "deeds.py").write_text(CODE)
    (tmp_path / "search.yaml").write_text(SETTINGS)
    run = tmp_path / "run"

    assert main(["search", str(tmp_path / "search.yaml"), "--run-dir", str(run)]) == 0

    with Run(run).ledger() as ledger:
        trials, pushes = ledger.trials(), ledger.pushes()
    assert [trial.trial for trial in trials] == list(range(1, 17))
    deeds = Counter()
    for trial in trials:
        deed = deed_of(trial)
        deeds[deed] += 1
        assert trial.state == ("infeasible" if deed in REASONS else "completed"), trial
        assert trial.reason.startswith(REASONS.get(deed, "")), trial
        assert len(trial.reason) < 500
        if deed in REASONS:
            assert (trial.reward, trial.validation) == (0.0, None)
        else:
            assert (trial.reward, trial.num_parameters) == (0.5, 7)
            assert trial.metrics == {"latency": 0.125}
        assert bool(trial.traceback) == (deed in ("raise", "leave", "spoil"))
    assert set(deeds) == {*REASONS, "train", "print"}, deeds
    assert sorted(number for push in pushes for number in push.trials) == list(range(1, 17))
    # What people look at afterwards.
    failed = next(t.trial for t in trials if deed_of(t) == "raise")
    capsys.readouterr()
    assert main(["show", str(run), str(failed)]) == 0
    shown = capsys.readouterr().out
    assert 'raise ValueError("a shape that does not fit"' in shown
    assert main(["show", str(run), "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["deed"] in ("train", "print")
    assert main(["report", str(run), "-o", str(tmp_path / "report.html")]) == 0
    assert main(["retrain", str(run)]) == 2
    assert main(["export", str(run), "-o", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert said.count("its children are trained by a function of yours") == 2
    assert len(Results(run).trials) == 16


def test_example_of_a_table_of_tumours_learns_from_a_folder_of_its_own(tmp_path, monkeypatch):
    shutil.copytree(EXAMPLES / "breast_cancer", tmp_path / "mine")
    monkeypatch.chdir(tmp_path / "mine")

    # And minds the size of what it finds.
    objective = "objective={cost: num_parameters, target: 200, exponent_above: -0.5}"
    chosen = ["--set=num_trials=8", f"--set={objective}"]
    assert main(["search", "search.yaml", *chosen, "--run-dir", "run"]) == 0

    with Run("run").ledger() as ledger:
        trials = ledger.trials()
    assert {trial.state for trial in trials} == {"completed"}
    assert all(0.8 < trial.validation < 1 for trial in trials)
    assert len({trial.architecture_sha256 for trial in trials}) > 1
    for trial in trials:
        before, ratio = 1 / (1 + trial.metrics["loss"]), trial.num_parameters / 200
        assert trial.reward == pytest.approx(before * ratio ** (-0.5 if ratio > 1 else -0.07))
