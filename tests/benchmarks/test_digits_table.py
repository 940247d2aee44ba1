from __future__ import annotations

import csv
import sys

import make_table
import pytest
from network_table import DIGITS

from child.convolutional.plan import NetworkPlan


def test_table_has_every_network_of_the_space_once_in_order():
    rows = make_table.read(DIGITS)

    assert [{name: row[name] for name in make_table.DECISIONS} for row in rows] == [
        make_table.chosen(choices) for choices in make_table.networks()
    ]


def test_sizes_in_the_table_are_those_of_the_networks():
    data = make_table.DigitsSettings()
    rows = make_table.read(DIGITS)
    for row, choices in list(zip(rows, make_table.networks(), strict=True))[::91]:
        architecture = make_table.TASK.space.decode(choices, make_table.NUM_LAYERS)
        plan = NetworkPlan.of(architecture, data.shape, data.num_classes, make_table.TASK.network)
        assert int(row["num_parameters"]) == plan.num_parameters
        assert int(row["multiply_adds"]) == plan.multiply_adds


def test_network_trains_as_the_table_says():
    # The best of the first rows; on another kind of processor the last digits may differ.
    row = max(make_table.read(DIGITS)[:27], key=lambda row: float(row["validation_0"]))
    choices = next(c for c in make_table.networks() if make_table.chosen(c).items() <= row.items())
    trained = make_table.train(choices)

    assert trained.keys() == row.keys()
    for seed in make_table.SEEDS:
        assert float(trained[f"validation_{seed}"]) == pytest.approx(
            float(row[f"validation_{seed}"]), abs=0.1
        )


def test_row_that_is_there_is_not_trained_again(tmp_path, monkeypatch, capsys):
    path = tmp_path / "table.csv"
    rows = make_table.read(DIGITS)
    make_table.write(path, rows[::-1])

    monkeypatch.setattr(sys, "argv", ["make_table", "--output", str(path), "--processes", "1"])
    monkeypatch.setattr(make_table, "write", lambda *_: pytest.fail("something was trained"))
    make_table.main()

    assert path.read_bytes() == DIGITS.read_bytes()


def test_table_with_other_columns_is_refused(tmp_path):
    path = tmp_path / "table.csv"
    with path.open("w") as file:
        csv.writer(file).writerow(["filters"])

    with pytest.raises(ValueError, match=r"has the columns \['filters'\]: must be"):
        make_table.read(path)
