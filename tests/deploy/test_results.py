"""What a search has found, from Python."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from support.children import completed, start_of
from support.rounds import record_one

import nasrl
from child.metric import ACCURACY
from controller.baseline import Baseline
from controller.ledger import Ledger
from controller.records import SearchRecord
from deploy.known_trial import TrialError
from deploy.results import MissingLibrary, Results
from deploy.run import Run, RunError
from deploy.settings_file import load_settings


def test_trials_are_a_data_frame_with_all_that_the_ledger_holds(images):
    images.record_test()
    frame = nasrl.Results(images.run.path).trials

    with images.run.ledger() as ledger:
        rows = ledger.trials()
    assert list(frame.index) == [1, 2, 3, 4, 5]
    assert list(frame["state"]) == [row.state for row in rows]
    assert frame.loc[1, "reward"] == rows[0].reward
    assert frame.loc[4, "reused_from"] == 1
    assert frame["reward"].isna().tolist() == [False] * 4 + [True]
    assert frame["test"].dropna().to_dict() == {images.best: images.tested.test}
    assert frame.loc[1, "architecture"] == rows[0].architecture
    assert frame.loc[1, "recorded_at"].timestamp() == pytest.approx(rows[0].recorded_at)
    assert frame["recorded_at"].isna().tolist() == [False] * 4 + [True]
    # What people do first.
    assert frame.sort_values("reward").index[-2] in (1, 2, 4)
    assert frame["seconds"].sum() > 0


def test_each_metric_has_a_column(tmp_path):
    run = Run.create(tmp_path / "run", load_settings())
    record = SearchRecord(3, Baseline(0.9), run.settings.depths, ACCURACY, {}, {})
    metrics = {"latency_s": 0.25}, {"test": 7.0, "latency_s": 0.5}
    with Ledger.create(run.ledger_url, record) as ledger:
        owner = ledger.enlist(0, ledger.begin_life("here", 1)).owner
        ledger.reserve(owner, 3)
        for trial, measured in enumerate(metrics, start=1):
            ledger.start(owner, [start_of(trial)])
            record_one(ledger, owner, trial, replace(completed(0.5), metrics=measured))

    frame = Results(run).trials

    assert "metrics" not in frame.columns
    assert frame["metrics.latency_s"].dropna().to_dict() == {1: 0.25, 2: 0.5}
    assert frame["metrics.test"].dropna().to_dict() == {2: 7.0}
    assert frame["test"].isna().all()


def test_search_without_a_trial_has_an_empty_frame(tmp_path):
    run = Run.create(tmp_path / "run", load_settings())
    record = SearchRecord(3, Baseline(0.9), run.settings.depths, ACCURACY, {}, {})
    Ledger.create(run.ledger_url, record).close()
    assert Results(run).trials.empty


def test_missing_pandas_is_named(images, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingLibrary, match=r"pip install 'nasrl\[notebook\]'"):
        _ = Results(images.run).trials


def test_network_has_the_weights_that_were_kept_and_is_ready_to_be_asked(images):
    kept = images.keep()
    network = Results(images.run).network()
    assert not network.training
    for name, values in network.state_dict().items():
        assert torch.equal(values, torch.tensor(kept.weights[name])), name


def test_any_other_network_is_trained_again_and_that_is_printed(images, capsys):
    other = 3 - images.best
    network = Results(images.run).network(other)
    assert isinstance(network, torch.nn.Module)
    said = capsys.readouterr().out
    assert f"the weights of trial {other} were not kept" in said
    last = images.settings.task.metric.text(images.results[other].validations[-1])
    assert said.splitlines()[-1].endswith(last)


def test_trial_is_found_by_number_and_by_name(images):
    found = Results(images.run)
    assert found.trial(2).row.trial == found.trial("2").row.trial == 2
    assert found.trial().row.trial == images.best
    with pytest.raises(TrialError, match="has no trial 77"):
        found.trial(77)
    with pytest.raises(TrialError, match="must be the number of a trial, or best"):
        found.drawing("worst")


def test_drawing_is_what_a_notebook_shows(images, text, tmp_path):
    for searched in (images, text):
        drawing = Results(searched.run).drawing(1)
        assert drawing._repr_svg_().startswith("<?xml")
        assert drawing.png().startswith(b"\x89PNG")
    assert "layer-1" in Results(images.run).drawing(1)._repr_svg_()


def test_run_is_shown_by_its_status_and_read_anew(images):
    found = Results(images.run)
    assert repr(found) == f"Results({str(images.run.path)!r})"
    assert found._repr_html_().startswith(f"<pre>{images.run.path}")
    assert str(found).startswith(
        f"{images.run.path}\ntrials     4 of 5, 1 in training, 1 infeasibl"
    )
    assert found.status.progress.num_recorded == 4


def test_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(RunError, match="is not a run directory"):
        Results(tmp_path)


def test_network_is_right_about_prepared_images_as_often_as_its_test_says(images):
    kept = images.keep()
    found, test = Results(images.run), images.data.test
    with torch.no_grad():
        answers = found.network()(found.prepare(test.images)).argmax(dim=1).numpy()
    assert (answers == test.labels).mean() == kept.test


@pytest.mark.parametrize("shape", [(8, 8), (2, 8, 8), (2, 3, 8, 8), (2, 1, 9, 8)])
def test_images_of_another_shape_are_refused(images, shape):
    with pytest.raises(ValueError, match=r"images.shape=.*: must be \(N, 1, 8, 8\)"):
        Results(images.run).prepare(np.zeros(shape, np.uint8))


def test_search_over_texts_has_no_images(text):
    with pytest.raises(ValueError, match="must be a search over networks for images"):
        Results(text.run).prepare(np.zeros((1, 1, 8, 8), np.uint8))


def test_drawing_is_written_in_the_kind_that_its_name_says_or_refused(images, tmp_path):
    drawing = Results(images.run).drawing()
    drawing.write(str(tmp_path / "a.svg"))
    assert (tmp_path / "a.svg").read_bytes() == drawing.svg()
    with pytest.raises(ValueError, match=r"path=.*b.pdf: must end in .svg or .png"):
        drawing.write(tmp_path / "b.pdf")
    assert not (tmp_path / "b.pdf").exists()
