"""`nasrl train`: one network, trained in this process and tested once."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from support.children import completed, start_of
from support.rounds import record_one

from child.data.errors import DownloadFailed
from child.data.text_file import TextFileSettings
from child.zoo import FIGURE_7, NAS_CELL
from controller.baseline import Baseline
from controller.ledger import Ledger
from controller.records import SearchRecord
from deploy.cli import main
from deploy.known_architecture import ArchitectureError, known_architecture
from deploy.run import Run
from deploy.settings_file import SettingsError, load_settings, load_train_settings

TEXT = "the cat sat on the mat. " * 60
SMALL = [
    "model.hidden_size=6", "model.embedding_size=5", "training.num_epochs=2",
    "training.learning_rate=0.01", "training.num_steps=10", "training.batch_size=4",
]  # fmt: skip


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    return f"data={{name: text, path: {path}, unit: characters}}"


@pytest.fixture
def task(text):
    return load_train_settings("characters", [text]).task


def train(*overrides, out=None):
    given = [part for override in overrides for part in ("--set", override)]
    return main(["train", "characters", *given, *(["--out", str(out)] if out else [])])


@pytest.mark.parametrize("architecture", ["nas-cell", "lstm"])
def test_network_is_trained_and_tested_once(architecture, text, tmp_path, capsys):
    out = tmp_path / "result.json"

    assert train(text, *SMALL, f"architecture={architecture}", out=out) == 0

    said, result = capsys.readouterr().out, json.loads(out.read_text())
    epochs = re.findall(r"epoch (\d) of 2: loss [\d.]+, bits per character ([\d.]+)", said)
    assert [float(bits) for _, bits in epochs] == pytest.approx(result["validations"], abs=5e-4)
    assert (result["metric"], result["state"]) == ("bits per character", "completed")
    assert f"test {result['test']:.3f}, of 144 characters that it had not met" in said
    # 11 different characters; two layers of N leaves, in a width of 5 and of 6, 6 units each.
    leaves = {"nas-cell": 8, "lstm": 4}[architecture]
    assert result["num_parameters"] == 11 * 5 + leaves * 6 * (5 + 6 + 6 + 6) + 11 * 7


def test_same_seed_gives_the_same_result(text, tmp_path):
    results = []
    for number, seed in enumerate((3, 3, 4)):
        out = tmp_path / f"{number}.json"
        train(text, *SMALL, f"seed={seed}", out=out)
        results.append(json.loads(out.read_text()))
    one, again, other = ((r["validations"], r["test"]) for r in results)
    assert again == one
    assert other != one


def test_network_that_cannot_be_trained_is_a_failure_with_its_reason(text, capsys):
    assert train(text, *SMALL, "training.max_parameters=3") == 1
    assert "max_parameters=3: the network has" in capsys.readouterr().err


def test_result_is_not_written_over(text, tmp_path, capsys):
    out = tmp_path / "result.json"
    out.write_text("mine")

    assert train(text, *SMALL, out=out) == 2

    assert "exists already" in capsys.readouterr().err
    assert out.read_text() == "mine"


def test_download_that_fails_is_no_mistake_of_the_user_s(text, monkeypatch, capsys):
    def fail(_):
        raise DownloadFailed("no download: the server sleeps")

    monkeypatch.setattr(TextFileSettings, "load", fail)

    assert train(text, *SMALL) == 1
    assert "the server sleeps" in capsys.readouterr().err


def test_text_that_is_missing_is_the_user_s_mistake(tmp_path, capsys):
    assert train(f"data={{name: text, path: {tmp_path / 'nope'}}}") == 2
    assert "nope" in capsys.readouterr().err


def test_name_that_does_not_exist_is_refused_with_those_that_do():
    with pytest.raises(SettingsError, match=r"nope does not exist; .*: characters"):
        load_train_settings("nope")


def test_data_of_no_kind_is_the_only_mistake_that_is_named():
    with pytest.raises(
        SettingsError, match=r"1 mistake .*\n.*data.name='x': must be one of digits"
    ):
        load_train_settings("characters", ["data.name=x"])


# --- Architectures by name.


def test_known_ones_go_by_their_names(task):
    assert known_architecture("nas-cell", task) is NAS_CELL
    images = load_settings("digits").task
    assert known_architecture("figure-7", images) is FIGURE_7


def test_one_of_another_kind_is_refused(task):
    with pytest.raises(ArchitectureError, match=r"architecture=figure-7: .* trained on images"):
        known_architecture("figure-7", task)


def test_file_is_read(task, tmp_path):
    path = tmp_path / "cell.json"
    path.write_text(json.dumps(NAS_CELL.to_json()))
    assert known_architecture(str(path), task) == NAS_CELL


@pytest.mark.parametrize("content", ["{", "[]", "{}", json.dumps(FIGURE_7.to_json())])
def test_file_that_describes_none_is_refused(task, tmp_path, content):
    path = tmp_path / "cell.json"
    path.write_text(content)
    with pytest.raises(ArchitectureError, match=r"architecture=.*cell\.json: "):
        known_architecture(str(path), task)


@pytest.fixture
def run(tmp_path):
    """A run of two trials, the second of which is better and found NASCell."""
    made = Run.create(tmp_path / "run", load_settings("cells"))
    task = made.settings.task
    other = task.space.decode([0] * 34, 8)
    record = SearchRecord(2, Baseline(0.9), made.settings.depths, task.metric, {}, {})
    with Ledger.create(made.ledger_url, record) as ledger:
        owner = ledger.enlist(0, ledger.begin_life("here", 1)).owner
        for trial, (cell, reward) in enumerate(((other, 0.1), (NAS_CELL, 0.9)), start=1):
            ledger.reserve(owner, 1)
            ledger.start(owner, [replace(start_of(trial), architecture=cell.to_json())])
            record_one(ledger, owner, trial, completed(reward))
    return made.path, other


def test_run_gives_its_best_or_the_trial_that_is_named(task, run):
    path, other = run
    assert known_architecture(str(path), task) == NAS_CELL
    assert known_architecture(f"{path}:1", task) == other


def test_trial_that_is_not_there_is_refused(task, run):
    with pytest.raises(ArchitectureError, match="has no trial 7"):
        known_architecture(f"{run[0]}:7", task)


@pytest.mark.parametrize("name", ["nope", "nope:3", "/tmp:x"])
def test_name_of_nothing_is_refused(task, name):
    with pytest.raises(ArchitectureError, match="must be one of figure-7, nas-cell, lstm, a JSON"):
        known_architecture(name, task)
