"""`nasrl export RUN retrained`: a network that was trained to its end."""

from __future__ import annotations

import json
from functools import partial

import pytest
import torch

from child.convergence import Convergence
from child.final_training import FinalTrainer
from controller.retraining import Training
from controller.search_ledger import SearchLedger
from controller.seeds import final_seed
from deploy.cli import main
from deploy.export.exported import _class_in
from deploy.export.retrained import final_name
from deploy.results import Results
from deploy.retrain.final_network import FinalNetwork

CPU = torch.device("cpu")


def train(searched, trial, number, **settings):
    """Train the network of a trial to its end, as nasrl retrain does; give its record."""
    chosen = searched.settings
    with searched.run.ledger() as ledger:
        described = ledger.trial(trial).architecture
    training = chosen.training.model_copy(update={"num_epochs": 2})
    changed = chosen.model_copy(update={"training": training, **settings})
    task, whole = changed.task, searched.data.search.with_validation()
    dumped = changed.model_dump(mode="json")
    parts = {
        name: dumped[name] for name in ("data", "training", "network", "model") if name in dumped
    }
    what = Training("final", trial, described, parts, final_seed(chosen.seed, number))
    build = partial(task.build, task.architecture(described), whole)
    epochs = FinalTrainer(task.passes(whole, CPU), Convergence(patience=1), 2).train(
        build, what.seed, searched.data.test
    )
    try:
        while True:
            next(epochs)
    except StopIteration as ended:
        result, weights = ended.value
    FinalNetwork(result, weights).keep(searched.run, what)
    with SearchLedger(searched.run.ledger_url) as ledger:
        return ledger.record_training(what, result), build, weights


@pytest.fixture
def export(tmp_path, capsys):
    def export(run, name):
        code = main(["export", str(run.path), name, "--no-onnx", "-o", str(tmp_path / "out")])
        said = capsys.readouterr()
        return code, said.out + said.err, tmp_path / "out"

    return export


def answers(folder, images):
    model = _class_in((folder / "model.py").read_text(), "Network").load(
        folder / "model.safetensors"
    )
    with torch.no_grad():
        return model(model.prepare(torch.tensor(images)))


def test_network_that_was_trained_to_its_end_is_exported_with_its_figures(images, export):
    record, build, weights = train(images, 1, 1)
    other, *_ = train(images, 1, 2)

    code, said, folder = export(images.run, "retrained")

    assert code == 0, said
    network = build()
    network.load_state_dict({name: torch.tensor(values) for name, values in weights.items()})
    test = images.data.test
    found = answers(folder, test.images).argmax(dim=1).numpy()
    assert (found == test.labels).mean() == pytest.approx(record.test)
    assert json.loads((folder / "architecture.json").read_text()) == record.architecture
    readme = (folder / "README.md").read_text()
    assert readme.startswith("# Trial 1 of digits-run, trained to its end\n")
    assert f"| test accuracy | {record.test:.1%}, tested once |" in readme
    mean = (record.test + other.test) / 2
    assert f"| networks like it | {mean:.1%}, the mean over 2 seeds" in readme
    assert f"{final_name(record)}, test accuracy {record.test:.1%}" in said


def test_network_of_the_first_seed_is_exported_and_not_the_one_that_tests_best(images, export):
    train(images, 1, 3)
    first, *_ = train(images, 1, 1)
    train(images, 1, 2)
    _, said, _ = export(images.run, "retrained")
    assert final_name(first) in said


def test_any_of_them_is_exported_by_its_name(images, export):
    train(images, 1, 1)
    second, *_ = train(images, 1, 2)
    code, said, _ = export(images.run, final_name(second))
    assert (code, final_name(second) in said) == (0, True)


def test_networks_of_several_kinds_are_told_apart_by_name(images, export):
    one, *_ = train(images, 1, 1)
    other, *_ = train(images, 2, 1)

    code, said, folder = export(images.run, "retrained")

    assert code == 2
    assert final_name(one) in said
    assert final_name(other) in said
    assert not folder.exists()


def test_settings_of_the_training_are_those_of_the_network(images, export):
    network = images.settings.network.model_copy(update={"norm_epsilon": 0.5})
    record, *_ = train(images, 1, 1, network=network)
    _, _, folder = export(images.run, "retrained")
    assert "0.5" in (folder / "model.py").read_text()
    assert record.settings["network"]["norm_epsilon"] == 0.5


def test_language_model_is_exported(text, export):
    record, *_ = train(text, 1, 1)
    code, said, folder = export(text.run, "retrained")
    assert code == 0, said
    assert (folder / "vocabulary.json").is_file()
    assert f"test bits per character {record.test:.3f}" in said


def test_run_without_such_a_network_says_how_to_get_one(images, export):
    code, said, _ = export(images.run, "retrained")
    assert code == 2
    assert f"nasrl retrain {images.run.path} trains some" in said


def test_unknown_name_lists_those_that_there_are(images, export):
    record, *_ = train(images, 1, 1)
    code, said, _ = export(images.run, "retrained-ffffffff")
    assert code == 2
    assert f"must be one of the retrained networks: {final_name(record)}" in said


@pytest.mark.parametrize("damage", ["gone", "broken", "another"])
def test_weights_that_cannot_be_used_are_named(images, export, damage):
    record, *_ = train(images, 1, 1)
    other, *_ = train(images, 2, 1)
    path = images.run.final_network_path(record.sha256)
    if damage == "gone":
        path.unlink()
    elif damage == "broken":
        path.write_bytes(b"nothing")
    else:
        path.write_bytes(images.run.final_network_path(other.sha256).read_bytes())
    code, said, folder = export(images.run, final_name(record))
    assert code == 2
    assert str(path) in said
    assert not folder.exists()


def test_results_have_the_network_and_all_trainings(images):
    record, _, weights = train(images, 1, 1)
    other, *_ = train(images, 2, 1)
    found = Results(images.run)

    network = found.network(final_name(record))
    assert not network.training
    for name, values in network.state_dict().items():
        assert torch.equal(values, torch.tensor(weights[name])), name
    frame = found.trainings
    assert list(frame.index) == [record.sha256, other.sha256]
    assert list(frame["test"]) == [record.test, other.test]
    assert frame.loc[record.sha256, "recorded_at"].timestamp() == pytest.approx(record.recorded_at)


def test_run_that_was_not_retrained_has_no_trainings(images):
    assert Results(images.run).trainings.empty
