"""A whole search on the real MNIST, where somebody has it."""

from __future__ import annotations

import os
from statistics import mean

import pytest

from deploy.cli import main
from deploy.run import Run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


def test_search_with_skip_connections_gets_better_than_its_first_quarter(tmp_path):
    folder = os.environ.get("NASRL_DATA")
    if folder is None:
        pytest.skip("NASRL_DATA names no folder with the files of MNIST")
    path = tmp_path / "run"
    data = [f"--set=data.folder={folder}", "--set=data.download=false"]

    assert main(["search", "mnist", *data, "--run-dir", str(path)]) == 0

    with Run(path).ledger() as ledger:
        trials = sorted(ledger.trials(), key=lambda trial: trial.record_number)
    rewards = [trial.reward for trial in trials]
    quarter = len(rewards) // 4
    assert mean(rewards[-quarter:]) > mean(rewards[:quarter])
    inputs = {tuple(layer["inputs"]) for t in trials for layer in t.architecture["layers"]}
    assert {(), (1,), (1, 2), (1, 2, 3), (1, 3)} <= inputs, "skip connections were off"
