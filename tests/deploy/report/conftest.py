from __future__ import annotations

from dataclasses import replace

import pytest
from support.children import completed, infeasible
from support.reported import search_run

import nasrl
from child.final_result import FinalResult
from controller.ledger import Ledger
from controller.retraining import Training
from deploy.run import Run
from deploy.settings_file import load_settings

SKIPPING = [
    "space.skip_connections=true", "space.layer_types=[convolution, max_pooling]",
    "space.learning_rates=[0.02, 0.05]", "schedule.num_layers=4",
]  # fmt: skip


TOO_LARGE = infeasible("too <i>large</i>")


def results(number):
    """Give results, better and better, of which every seventh is infeasible."""
    return [
        infeasible(f"max_parameters={n}: the network has <{n}>")
        if n % 7 == 6
        else replace(completed(0.2 + 0.7 * n / number), seconds=1.0 + n % 5, num_parameters=100 * n)
        for n in range(number)
    ]


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    """Give runs by their names; none is changed by a test."""
    folder = tmp_path_factory.mktemp("runs")
    digits, cells = load_settings("digits"), load_settings("cells")
    random = load_settings("digits", ["strategy=random"])
    made = {
        "digits": search_run(folder / "digits", digits, results(40)),
        "random": search_run(folder / "random", random, results(30), seed=1),
        "skips": search_run(folder / "skips", load_settings("digits", SKIPPING), results(25)),
        "cells": search_run(folder / "cells", cells, results(6)),
        "one": search_run(folder / "one", digits, results(1)),
        "empty": search_run(folder / "empty", digits, []),
        "infeasible": search_run(folder / "infeasible", digits, [TOO_LARGE] * 9),
    }  # fmt: skip
    made["secret"] = secret(folder / "secret", digits)
    with Ledger(made["digits"].ledger_url) as ledger:
        ledger.record_test(40, 0.875)
    retrain(made["skips"])
    return made


FINALS = [0.91, 0.95, 0.96]


def retrain(run):
    """Record what was trained to its end: one network, then another with three seeds."""
    lasting = (0.5,) * 12
    with Ledger(run.ledger_url) as ledger:
        ledger.record_training(Training("grid", 25, {}, {"a": 1}, 9), completed(0.5))
        early = FinalResult("completed", lasting[:7], True, 0.85, 4321, 1.0)
        ledger.record_training(Training("final", 2, {}, {"a": 1}, 9), early)
        for seed, test in enumerate(FINALS):
            result = FinalResult("completed", lasting[: 10 + seed], True, test, 1234, 1.0)
            ledger.record_training(Training("final", 25, {}, {"a": 2}, seed), result)
        lost = FinalResult("infeasible", (), False, None, 1234, 1.0, "not finite")
        ledger.record_training(Training("final", 25, {}, {"a": 2}, 7), lost)


@pytest.fixture(scope="session")
def files(runs, tmp_path_factory):
    """Write the reports of runs, and as compared that of digits beside random."""
    folder = tmp_path_factory.mktemp("reports")
    for name in ("skips", "cells", "one", "empty", "infeasible", "secret"):
        nasrl.Results(runs[name]).report(folder / f"{name}.html")
    nasrl.Results(runs["digits"]).report(folder / "compared.html", baseline=runs["random"])
    return {path.stem: path for path in folder.iterdir()}


def secret(path, settings):
    """Make a run whose settings have a password, but whose ledger can be read without a server."""
    run = search_run(path, settings, results(5))
    run.keep(load_settings("digits", ["ledger_url=postgresql+psycopg://me:hush-hush@db/nasrl"]))
    return Run(path, f"sqlite:///{path}/ledger.sqlite")
