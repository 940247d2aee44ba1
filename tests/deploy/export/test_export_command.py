"""`nasrl export`, on runs whose networks were trained in this process."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace

import pytest
import safetensors
import safetensors.torch
import torch

from child.data.errors import DownloadFailed
from child.data.text_file import TextFileSettings
from child.training import ChildTrainer
from controller.baseline import Baseline
from controller.ledger import Ledger
from controller.records import SearchRecord
from deploy.cli import main
from deploy.export import onnx_file, planning, trial_export
from deploy.export.errors import ExportError
from deploy.known_architecture import known_architecture
from deploy.run import Run
from deploy.settings_file import load_settings

FILES = {"README.md", "architecture.json", "model.py", "model.safetensors"}


@pytest.fixture
def export(tmp_path, capsys):
    """Export, without ONNX but where it is asked for; give the code, what was said, the folder."""

    def export(run, *arguments, folder=tmp_path / "out", onnx=False):
        given = [*arguments, *([] if onnx else ["--no-onnx"])]
        capsys.readouterr()
        code = main(["export", str(run.path), *given, "-o", str(folder)])
        said = capsys.readouterr()
        return code, said.out + said.err, folder

    return export


@pytest.fixture
def never_trained(monkeypatch):
    def train(*_, **__):
        raise AssertionError("a network is trained")

    monkeypatch.setattr(ChildTrainer, "_run", train)


def state_of(folder):
    return safetensors.torch.load_file(folder / "model.safetensors")


def values_of(state):
    return [value for _, value in sorted(state.items())]


def left(tmp_path):
    """What an export left beside what was there."""
    return {path.name for path in tmp_path.iterdir()} - {"digits-run", "text-run", "text.txt"}


# --- Which weights.


def test_weights_that_were_kept_are_exported_and_nothing_is_trained(images, export, never_trained):
    kept = images.keep()
    images.record_test()

    code, said, folder = export(images.run)

    assert (code, {path.name for path in folder.iterdir()}) == (0, FILES), said
    state = state_of(folder)
    assert torch.equal(state["classifier.bias"], torch.tensor(kept.weights["classifier.bias"]))
    assert len(state) == len(kept.weights)
    test = f"test accuracy {images.tested.test:.1%}"
    assert test in said
    readme = (folder / "README.md").read_text()
    assert f"| test accuracy | {images.tested.test:.1%}, tested once |" in readme


def test_network_that_was_not_kept_is_trained_again_to_the_same_weights(images, export):
    code, said, folder = export(images.run, str(images.best))

    assert code == 0, said
    assert f"the weights of trial {images.best} were not kept" in said
    assert re.search(r"training it again on cpu; in the search that took [\d.]+ s", said)
    assert "epoch 2 of 2: accuracy" in said
    assert "not exactly those of the search" not in said
    kept = images.tested.weights
    assert torch.equal(
        state_of(folder)["classifier.weight"], torch.tensor(kept["classifier.weight"])
    )
    assert "| test accuracy | not tested |" in (folder / "README.md").read_text()


def test_nothing_is_tested(images, export):
    export(images.run)
    with images.run.ledger() as ledger:
        assert ledger.tests() == {}


def test_figures_that_do_not_repeat_are_said(unrepeatable, export):
    unrepeatable.record_test()
    code, said, folder = export(unrepeatable.run)

    assert code == 0, said
    assert "its validation figures are not exactly those of the search" in said
    readme = (folder / "README.md").read_text()
    assert "tested once, with other weights" in readme
    assert "did not repeat the validation figures" in readme


def test_weights_that_were_tested_and_did_not_repeat_are_told_from_others(unrepeatable, export):
    unrepeatable.keep()
    unrepeatable.record_test()
    _, _, folder = export(unrepeatable.run)
    readme = (folder / "README.md").read_text()
    assert ", tested once |" in readme
    assert "did not repeat the validation figures" in readme


def test_kept_file_that_is_damaged_is_said_and_the_network_trained_again(images, export):
    images.keep()
    path = images.run.network_path(images.best)
    path.write_bytes(path.read_bytes()[:100])

    code, said, _ = export(images.run)

    assert code == 0, said
    assert f"trial-{images.best}.safetensors cannot be read" in said
    assert "training it again" in said


def test_trial_is_chosen_by_its_number(images, export):
    other = 3 - images.best
    _, _, folder = export(images.run, str(other))
    described = json.loads((folder / "architecture.json").read_text())
    with images.run.ledger() as ledger:
        assert described == ledger.trials()[other - 1].architecture


def test_trial_with_the_result_of_another_is_exported_as_that_one(images, export):
    _, said, folder = export(images.run, "4")
    assert "the weights of trial 1 were not kept" in said
    assert (folder / "README.md").read_text().startswith("# Trial 1 of digits-run\n")


# --- What is in the folder.


def test_architecture_is_one_that_can_be_trained_by_name(images, export):
    _, _, folder = export(images.run)
    found = known_architecture(str(folder / "architecture.json"), images.settings.task)
    with images.run.ledger() as ledger:
        assert found.to_json() == ledger.progress().best.architecture


def run_readme(folder, tail):
    """Run all that the README tells to, one block after the other, in the folder."""
    blocks = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.S)
    done = subprocess.run(
        [sys.executable, "-B", "-c", "\n".join([*blocks, tail])],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    return len(blocks), done.stdout


def test_readme_of_a_network_for_images_does_what_it_says(images, export):
    images.keep()
    code, said, folder = export(images.run, onnx=True)
    assert code == 0, said
    assert {path.name for path in folder.iterdir()} == {*FILES, "model.onnx"}

    number, printed = run_readme(folder, "print(classes.shape, logits.shape)")

    assert (number, printed) == (2, "torch.Size([2]) (2, 10)\n")
    readme = (folder / "README.md").read_text()
    assert re.search(r"onnxruntime and torch differ by \d\.\de-\d\d at the most", readme)
    assert "in this order: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9." in readme


def test_readme_of_a_language_model_does_what_it_says(text, export):
    text.keep()
    code, said, folder = export(text.run, onnx=True)
    assert code == 0, said
    assert {path.name for path in folder.iterdir()} == {*FILES, "model.onnx", "vocabulary.json"}

    number, printed = run_readme(folder, "print(likeliest[0] in vocabulary, logits.shape)")

    num_tokens = text.data.search.num_tokens
    assert (number, printed) == (2, f"True (2, {num_tokens})\n")
    vocabulary = json.loads((folder / "vocabulary.json").read_text(encoding="utf-8"))
    assert vocabulary == list(text.data.search.vocabulary.tokens)


def test_exported_model_has_the_validation_figure_of_the_search(images, export):
    images.keep()
    _, _, folder = export(images.run)
    namespace = {"__name__": "model"}
    exec((folder / "model.py").read_text(), namespace)
    model = namespace["Network"].load(folder / "model.safetensors")
    part = images.data.search.validation
    with torch.no_grad():
        logits = model(model.prepare(torch.from_numpy(part.images)))
    right = (logits.argmax(dim=1).numpy() == part.labels).mean()
    assert right == pytest.approx(images.results[images.best].validations[-1])


def test_folder_that_is_there_and_empty_is_filled(images, export, tmp_path):
    (tmp_path / "out").mkdir()
    code, said, folder = export(images.run)
    assert code == 0, said
    assert {path.name for path in folder.iterdir()} == FILES
    assert left(tmp_path) == {"out"}


def test_files_may_be_read_by_others(images, export):
    _, _, folder = export(images.run)
    assert {path.stat().st_mode & 0o444 for path in (folder, *folder.iterdir())} == {0o444}


# --- ONNX.


def test_packages_that_are_missing_are_named_and_all_else_is_written(images, export, monkeypatch):
    monkeypatch.setattr(onnx_file, "NEEDED", ("onnx", "onnxscribe"))

    code, said, folder = export(images.run, onnx=True)

    assert code == 0
    assert "model.onnx was left out, since onnxscribe must be installed for it: pip" in said
    assert {path.name for path in folder.iterdir()} == FILES
    assert "model.onnx" not in (folder / "README.md").read_text()


def test_onnx_that_is_not_wanted_is_not_spoken_of(images, export, monkeypatch):
    monkeypatch.setattr(onnx_file, "NEEDED", ("onnxscribe",))
    _, said, _ = export(images.run)
    assert "model.onnx" not in said


# --- What cannot be, and what goes wrong.


@pytest.mark.parametrize(
    ("trial", "reason"),
    [
        ("7", "{run} has no trial 7; `nasrl trials {run}` lists those it has"),
        ("worst", "trial=worst: must be the number of a trial, or best"),
        ("3", "trial 3 is infeasible: max_parameters=9: the network has 10"),
        ("5", "trial 5 has not been completed yet; it is started"),
    ],
)
def test_trial_without_a_network_is_the_user_s_mistake(images, export, tmp_path, trial, reason):
    code, said, _ = export(images.run, trial)
    assert (code, said) == (2, f"Error: {reason.format(run=images.run.path)}\n")
    assert left(tmp_path) == set()


def test_folder_that_is_no_run_is_the_user_s_mistake(tmp_path, capsys):
    assert main(["export", str(tmp_path), "-o", str(tmp_path / "out")]) == 2
    assert "is not a run directory" in capsys.readouterr().err


def test_search_without_a_completed_trial_is_the_user_s_mistake(tmp_path, export):
    run = Run.create(tmp_path / "digits-run", load_settings())
    record = SearchRecord(3, Baseline(0.9), run.settings.depths, run.settings.task.metric, {}, {})
    code, said, _ = export(run)
    assert code == 2
    assert "has no ledger" in said
    Ledger.create(run.ledger_url, record).close()
    code, said, _ = export(run)
    assert code == 2
    assert f"{run.path} has no completed trial, so none is the best" in said


def test_folder_that_is_taken_is_left_as_it_is(images, export, tmp_path, never_trained):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("mine")
    code, said, folder = export(images.run)
    assert code == 2
    assert said == f"Error: {folder}: must not exist, or be an empty folder; give another\n"
    assert (folder / "mine").read_text() == "mine"


def test_file_in_the_place_of_the_folder_and_a_missing_parent_are_refused(
    images, export, tmp_path, never_trained
):
    (tmp_path / "file").touch()
    code, said, _ = export(images.run, folder=tmp_path / "file")
    assert (code, "must not exist" in said) == (2, True)
    code, said, _ = export(images.run, folder=tmp_path / "no" / "out")
    assert (code, "there is no folder" in said) == (2, True)


def test_data_that_are_missing_are_the_user_s_mistake(text, export, tmp_path):
    (tmp_path / "text.txt").unlink()
    code, said, _ = export(text.run)
    assert code == 2
    assert said.startswith("Error: the data of the search are needed: ")
    assert left(tmp_path) == set()


def test_download_that_fails_is_no_mistake_of_the_user_s(text, export, monkeypatch):
    def fail(_):
        raise DownloadFailed("no download: the server sleeps")

    monkeypatch.setattr(TextFileSettings, "load", fail)
    code, said, _ = export(text.run)
    assert (code, said) == (1, "Error: no download: the server sleeps\n")


@pytest.mark.parametrize(
    ("error", "expected", "said"),
    [
        (ExportError("it answers otherwise"), 1, "Error: it answers otherwise\n"),
        (KeyboardInterrupt(), 130, "\nstopped\n"),
        (OSError("the disk is full"), None, ""),
    ],
)
def test_export_that_fails_leaves_nothing(
    images, export, tmp_path, monkeypatch, error, expected, said
):
    images.keep()

    def fail(folder, *_, **__):
        (folder / "model.py").write_text("half of it")
        raise error

    monkeypatch.setattr(trial_export, "write_export", fail)
    if expected is None:
        with pytest.raises(OSError, match="the disk is full"):
            export(images.run)
    else:
        assert export(images.run)[:2] == (expected, said)
    assert left(tmp_path) == set()


def test_model_that_answers_otherwise_than_its_network_is_not_given_out(
    images, export, tmp_path, monkeypatch
):
    images.keep()
    whole = planning.image_plan

    def wrong(*arguments):
        plan = whole(*arguments)
        [text] = plan.source.classes
        text = text.replace("F.relu", "torch.tanh", 1)
        return replace(plan, source=replace(plan.source, classes=(text,)))

    monkeypatch.setattr(planning, "image_plan", wrong)
    code, said, _ = export(images.run)
    assert code == 1
    assert "model.py answers otherwise than the network it was made of, by" in said
    assert left(tmp_path) == set()
