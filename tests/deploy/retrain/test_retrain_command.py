"""`nasrl retrain`: on a run of two small networks, in real processes."""

from __future__ import annotations

import fcntl
import re
from contextlib import nullcontext
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from child.convergence import Convergence
from child.final_result import FinalResult
from child.final_training import FinalTrainer
from child.training import ChildTrainer
from controller.baseline import Baseline
from controller.ledger import Ledger
from controller.records import SearchRecord
from controller.search_ledger import SearchLedger
from controller.seeds import final_seed, grid_seed
from deploy.cli import main
from deploy.cluster import Shortage
from deploy.retrain import course
from deploy.retrain.final_network import FinalNetwork
from deploy.run import Run
from deploy.settings_file import load_settings
from workers.placement import Placement
from workers.remote import THIS_MACHINE, call

CPU = torch.device("cpu")
SMALL = [
    "grid={training: {learning_rate: [0.05, 0.2]}}",
    "final.num_epochs=3",
    "final.max_epochs=3",
    "final.num_seeds=2",
]


@pytest.fixture(autouse=True)
def _joined(ray_for_all, monkeypatch):
    placement = Placement(is_spread=False, is_on_gpus=False)
    monkeypatch.setattr(course, "cluster", lambda *_: nullcontext(placement))


@pytest.fixture
def over(images):
    """A run of digits whose search is over."""
    end(images.run)
    return images


def end(run):
    with SearchLedger(run.ledger_url) as ledger:
        ledger.end(1, "finished")


def retrain(run, *overrides, arguments=()):
    given = [part for override in (*SMALL, *overrides) for part in ("--set", override)]
    return main(["retrain", str(run.path), *given, *arguments])


def trainings(run, stage):
    with run.ledger() as ledger:
        return [row for row in ledger.trainings() if row.stage == stage]


@pytest.fixture
def no_cluster(monkeypatch):
    """Nothing may be trained."""

    def refuse(*_):
        raise AssertionError("Ray was asked for")

    monkeypatch.setattr(course, "cluster", refuse)


def test_best_of_the_grid_is_trained_on_all_data_and_tested_once(over, capsys, monkeypatch):
    assert retrain(over.run) == 0
    said = capsys.readouterr().out

    # The same by other hands: every network at every point, in this process.
    settings, data = over.settings, over.data
    with over.run.ledger() as ledger:
        rows = {trial: ledger.trial(trial) for trial in (1, 2)}
    expected = {}
    for trial, row in rows.items():
        architecture = settings.task.architecture(row.architecture)
        build = partial(settings.task.build, architecture, data.search)
        trainer = ChildTrainer(settings.task.passes(data.search, CPU))
        for rate in (0.05, 0.2):
            result = trainer.train(build, grid_seed(settings.seed, 1), learning_rate=rate)
            expected[trial, rate] = result.validations
    in_grid = {
        (row.trial, row.settings["training"]["learning_rate"]): tuple(row.validations)
        for row in trainings(over.run, "grid")
    }
    assert in_grid == expected

    best = max(expected, key=lambda key: (max(expected[key]), key[0] == over.best))
    finals = trainings(over.run, "final")
    assert len(finals) == 2
    assert {row.trial for row in finals} == {best[0]}
    whole = settings.data.load().search.with_validation()
    last = settings.training.model_copy(update={"num_epochs": 3, "learning_rate": best[1]})
    task = settings.model_copy(update={"training": last}).task
    build = partial(task.build, task.architecture(rows[best[0]].architecture), whole)
    by_seed = {row.seed: row for row in finals}
    for number in (1, 2):
        row = by_seed[final_seed(settings.seed, number)]
        epochs = FinalTrainer(task.passes(whole, CPU), Convergence(), 3).train(
            build, row.seed, data.test
        )
        try:
            while True:
                next(epochs)
        except StopIteration as ended:
            result, weights = ended.value
        assert (tuple(row.losses), row.test) == (result.losses, result.test)
        kept = FinalNetwork.find(over.run, row.sha256)
        assert kept.result.test == row.test
        for name, values in weights.items():
            assert np.array_equal(kept.weights[name], values), name

    tests = [row.test for row in finals]
    mean, spread = np.mean(tests), np.std(tests, ddof=1)
    assert f"test         {mean:.1%}, standard deviation {spread:.1%} over 2 seeds" in said
    assert f"trial {best[0]}, trained on all 1,500 images\n" in said
    assert "2 had not converged when final.max_epochs ended them" in said
    assert not re.search(r"and -?\d+ more", said), "all of the grid are shown"


def test_same_command_again_trains_nothing_and_says_the_same(over, capsys, monkeypatch):
    retrain(over.run)
    first = capsys.readouterr().out
    before = trainings(over.run, "final")

    monkeypatch.setattr(course, "cluster", None)  # a call would raise
    assert retrain(over.run) == 0

    again = capsys.readouterr().out
    assert "Retraining finished: 0 new trainings." in again.splitlines()
    assert again[again.index("Grid ") :] == first[first.index("Grid ") :]
    assert trainings(over.run, "final") == before


def test_more_seeds_train_only_what_is_new(over, capsys):
    retrain(over.run)
    before = trainings(over.run, "final")
    assert retrain(over.run, "final.num_seeds=3") == 0

    assert "Retraining finished: 1 new training in" in capsys.readouterr().out
    after = trainings(over.run, "final")
    assert [row.sha256 for row in after[:2]] == [row.sha256 for row in before]
    assert len(after) == 3


def test_network_that_was_tested_and_not_recorded_is_not_tested_again(over, capsys, monkeypatch):
    def dies(ledger, training, result):
        if training.stage == "final":
            raise KeyboardInterrupt  # after its weights were kept, before its row
        return recorded(ledger, training, result)

    recorded = SearchLedger.record_training
    with monkeypatch.context() as patch:
        patch.setattr(SearchLedger, "record_training", dies)
        assert retrain(over.run, "final.num_seeds=1") == 130
    assert "stopped; what was trained stays" in capsys.readouterr().out
    assert trainings(over.run, "final") == []
    [kept] = (over.run.path / "networks").glob("final-*.safetensors")

    monkeypatch.setattr(course, "cluster", None)  # a call would raise
    assert retrain(over.run, "final.num_seeds=1") == 0

    [row] = trainings(over.run, "final")
    assert row.sha256.startswith(kept.stem.removeprefix("final-"))
    assert row.test == FinalNetwork.find(over.run, row.sha256).result.test


def test_network_that_another_process_has_kept_meanwhile_is_the_one_that_is_recorded(
    over, monkeypatch
):
    keep, others = FinalNetwork.keep, []

    def late(network, run, training):
        other = FinalNetwork(replace(network.result, test=0.125), network.weights)
        others.append(keep(other, run, training))
        return keep(network, run, training)

    monkeypatch.setattr(FinalNetwork, "keep", late)
    assert retrain(over.run, "final.num_seeds=1") == 0
    [row] = trainings(over.run, "final")
    assert row.test == FinalNetwork.find(over.run, row.sha256).result.test == 0.125
    assert list((over.run.path / "networks").glob("*.tmp")) == []


def test_weights_that_cannot_be_written_leave_the_training_to_be_ended_later(
    over, capsys, monkeypatch
):
    def full(*_):
        raise OSError(28, "No space left on device")

    everything = ["final.num_seeds=1", "final.snapshot_every_s=1e-9"]
    with monkeypatch.context() as patch:
        patch.setattr(FinalNetwork, "keep", full)
        assert retrain(over.run, *everything) == 1
    said = capsys.readouterr().err
    assert "1 training of the final could not be ended:" in said
    assert "its weights cannot be written: [Errno 28] No space left on device (see " in said
    assert "What was trained stays; the same command goes on with the rest" in said
    assert trainings(over.run, "final") == []
    [snapshot] = (over.run.path / "networks").glob("*.snapshot")

    assert retrain(over.run, *everything) == 0
    assert len(trainings(over.run, "final")) == 1
    assert not snapshot.exists()


def test_snapshot_that_a_crash_has_left_is_removed(over, monkeypatch):
    retrain(over.run)
    kept = next((over.run.path / "networks").glob("final-*.safetensors"))
    kept.with_suffix(".snapshot").write_bytes(b"left")
    monkeypatch.setattr(course, "cluster", None)  # a call would raise
    assert retrain(over.run) == 0
    assert list((over.run.path / "networks").glob("*.snapshot")) == []


def test_network_that_found_no_memory_is_not_recorded(over, capsys, monkeypatch):
    def full(*_, **__):
        result = FinalResult("infeasible", (), False, None, 9, 1.0, "CUDA out of memory", True)
        return call(yielding, result, num_cpus=1, num_gpus=0, place=THIS_MACHINE)

    monkeypatch.setattr(course, "begin_final", full)
    assert retrain(over.run) == 1
    assert "seed" in (said := capsys.readouterr().err)
    assert said.count("CUDA out of memory (see ") == 2
    assert trainings(over.run, "final") == []


def yielding(result):
    yield result, None


def test_result_is_said_again_where_nothing_could_be_trained(over, capsys, monkeypatch):
    retrain(over.run)
    capsys.readouterr()

    def refuse(_):
        raise Shortage("no GPU")

    monkeypatch.setattr(course, "check_machine", refuse)
    assert retrain(over.run) == 0
    assert retrain(over.run, "final.num_seeds=7") == 2
    assert "no GPU" in capsys.readouterr().err


def test_command_that_is_proposed_works_after_another_retraining(over, capsys, tmp_path):
    retrain(over.run, "final.num_seeds=1")
    retrain(over.run, "final.num_seeds=1", "final.max_epochs=4", "final.num_epochs=4")
    proposed = capsys.readouterr().out.splitlines()[-1]
    arguments = proposed[proposed.index(" export ") :].split()
    assert main([*arguments[:-1], str(tmp_path / "out"), "--no-onnx"]) == 0


@pytest.mark.parametrize("kind", ["a folder", "no permission"])
def test_run_that_cannot_be_locked_is_refused(over, capsys, monkeypatch, no_cluster, kind):
    if kind == "a folder":
        (over.run.path / "retrain.lock").mkdir()
    else:

        def refuse(*_):
            raise OSError(37, "No locks available")

        monkeypatch.setattr("deploy.retrain.after_search.fcntl.flock", refuse)
    assert retrain(over.run) == 2
    said = capsys.readouterr().err
    assert "retrain.lock: must be a file that can be written and locked" in said
    assert "Traceback" not in said


def test_point_that_cannot_be_trained_is_recorded_and_comes_last(over, capsys):
    assert retrain(over.run, "grid.training.learning_rate=[0.05,1.0e+30]") == 0
    said = capsys.readouterr().out

    by_rate = {
        row.settings["training"]["learning_rate"]: row for row in trainings(over.run, "grid")
    }
    assert by_rate[1e30].state == "infeasible"
    assert by_rate[1e30].reason.startswith("the training loss of epoch 1 is")
    assert re.search(r"infeasible  trial \d, learning_rate 1e\+30", said)


def test_grid_of_which_nothing_can_be_trained_ends_with_a_failure(over, capsys):
    assert retrain(over.run, "grid.training.learning_rate=[1.0e+30]") == 1
    assert "none of them could be trained" in capsys.readouterr().out
    assert trainings(over.run, "final") == []


def test_language_models_are_trained_in_several_sizes(text, capsys):
    end(text.run)
    sizes = "final.variants=[{model: {hidden_size: 4}}, {model: {hidden_size: 9}}]"
    assert retrain(text.run, sizes, "final.num_seeds=1", arguments=["--top", "1"]) == 0

    said = capsys.readouterr().out
    small, large = sorted(trainings(text.run, "final"), key=lambda row: row.num_parameters)
    assert small.settings["model"]["hidden_size"] == 4
    assert large.settings["model"]["hidden_size"] == 9
    assert f"  hidden_size 9\n  test         bits per character {large.test:.3f}" in said
    assert len(trainings(text.run, "grid")) == 2


def test_search_that_was_not_finished_is_said_to_be_so(over, capsys):
    retrain(over.run)
    assert "the search has 4 of 5 trials; the best of these are trained" in capsys.readouterr().out


def test_search_that_runs_is_left_alone(images, capsys, monkeypatch, no_cluster):
    monkeypatch.setattr("deploy.heartbeat.SILENCE_S", 1e9)
    monkeypatch.setattr("deploy.heartbeat.PATIENCE_S", 0.0)
    assert retrain(images.run) == 2
    assert "is being run by process 1 on here" in capsys.readouterr().err


def test_run_without_a_completed_trial_is_refused(tmp_path, capsys, no_cluster):
    run = Run.create(tmp_path / "run", load_settings())
    record = SearchRecord(3, Baseline(0.9), run.settings.depths, run.settings.task.metric, {}, {})
    Ledger.create(run.ledger_url, record).close()
    assert retrain(run) == 2
    assert f"{run.path} has no completed trial: there is no network" in capsys.readouterr().err


def test_run_that_another_one_retrains_is_refused(over, capsys, no_cluster):
    with (over.run.path / "retrain.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert retrain(over.run) == 2
    assert "another nasrl retrain is at work here" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--top", "0"], "top=0: must be greater than or equal to 1"),
        (
            ["--set", "final.seeds=3"],
            "unknown setting 'final.seeds'; did you mean 'final.num_seeds'",
        ),
        (["--settings", "nowhere.yaml"], "settings file nowhere.yaml does not exist"),
        (["--set", "grid.data.x=[1]"], "grid.data.x: must be a setting of training or network"),
    ],
)
def test_mistake_is_one_message(over, capsys, no_cluster, arguments, message):
    assert main(["retrain", str(over.run.path), *arguments]) == 2
    assert message in capsys.readouterr().err


def test_directory_that_is_no_run_is_refused(tmp_path, capsys):
    assert main(["retrain", str(tmp_path)]) == 2
    assert f"{tmp_path}" in capsys.readouterr().err


def test_example_is_what_would_be_trained(over, capsys, tmp_path):
    assert main(["retrain", str(over.run.path), "--top", "3", "--example"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("top: 3\ngrid:\n  training:\n    learning_rate:\n")
    path = tmp_path / "retrain.yaml"
    path.write_text(printed)
    main(["retrain", str(over.run.path), "--settings", str(path), "--example"])
    assert capsys.readouterr().out == printed
