"""Looks a network up in digits_table.csv in place of training it."""

import csv
from pathlib import Path

from digits_space import LAYERS

from nasrl import Outcome

DECISIONS = [f"{what}_{layer}" for layer in LAYERS for what in ("stride_height", "num_filters")]


class Lookup:
    def __init__(self, table: Path) -> None:
        with table.open(newline="") as file:
            self._rows = {
                tuple(int(row[d]) for d in DECISIONS): row for row in csv.DictReader(file)
            }

    def __call__(self, architecture, *, device, seed, report):
        row = self._rows[tuple(number for layer in architecture for number in layer)]
        # One of the two trainings, as if it were trained now.
        accuracy = float(row[f"validation_{seed % 2}"])
        return Outcome(
            reward=accuracy**3,
            validation=accuracy,
            num_parameters=int(row["num_parameters"]),
            metrics={
                "multiply adds": float(row["multiply_adds"]),
                # What the search never learns from.
                "test accuracy": (float(row["test_0"]) + float(row["test_1"])) / 2,
            },
        )
