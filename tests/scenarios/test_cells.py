"""A search over recurrent cells through the command line's own function."""

from __future__ import annotations

import json
import math

import pytest

from child.recurrent.architecture import CellArchitecture
from child.recurrent.equations import equations
from deploy.cli import main
from deploy.run import Run

SMALL = {
    "num_trials": 4,
    "num_replicas": 1,
    "num_shards": 1,
    "children.per_replica": 2,
    "children.num_cpus": 0.5,
    "data.num_train": 4000,
    "data.num_validation": 1000,
    "data.num_test": 500,
    "space.base": 3,
    "model.num_parameters": 4000,
}


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    path = tmp_path_factory.mktemp("cells") / "run"
    given = [part for key, value in SMALL.items() for part in ("--set", f"{key}={value}")]
    assert main(["search", "cells", *given, "--run-dir", str(path)]) == 0
    return Run(path)


def test_every_trial_is_a_cell_of_the_space_with_its_reward(searched):
    with searched.ledger() as ledger:
        trials = ledger.trials()
    task = searched.settings.task
    assert [trial.state for trial in trials] == ["completed"] * 4
    for trial in trials:
        cell = CellArchitecture.from_json(trial.architecture)
        assert task.space.encode(cell) == tuple(choice for _, choice in trial.decisions)
        assert (trial.depth, cell.base, trial.architecture_text) == (3, 3, str(cell))
        assert trial.validation == min(trial.validations)
        # c / perplexity ** 2, of bits for each character.
        assert trial.reward == pytest.approx(20 / 4**trial.validation)
        assert trial.num_parameters <= 4000


def test_winner_is_tested_once_and_not_better_than_guessing_would_allow(searched):
    with searched.ledger() as ledger:
        [(trial, bits)] = ledger.tests().items()
        [best] = ledger.trials(top=1)
    assert trial == best.trial
    assert 0 < bits < math.log2(200)


def test_best_cell_can_be_read_as_equations_and_trained_by_name(searched, capsys):
    with searched.ledger() as ledger:
        [best] = ledger.trials(top=1)
    lines = equations(CellArchitecture.from_json(best.architecture)).splitlines()
    assert lines[-1].startswith("h'")

    main(["trials", str(searched.path), "--format", "json"])
    assert len(json.loads(capsys.readouterr().out)) == 4
    assert main(["trials", str(searched.path), "--top", "1"]) == 0
    assert "bits per character" in capsys.readouterr().out
