"""Train every network of a small space on the embedded digits, and write down what each reached.

    python examples/digits_table/make_table.py                   # about ten minutes on 2 cores
    python examples/digits_table/make_table.py --processes 8 --output FILE

Of each of three layers are decided the height of its stride and the number of its filters, all 3x3:
729 networks. A file that is there is gone on with: what it holds is not trained again.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import multiprocessing
import os
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import torch

from child.convolutional.network_settings import NetworkSettings
from child.convolutional.plan import NetworkPlan
from child.convolutional.space_settings import ConvolutionalSettings
from child.data.digits import DigitsSettings
from child.data.images import ImageData
from child.images.augmentation import AugmentationSettings
from child.images.task import ImageTask
from child.images.training_settings import ImageTrainingSettings
from child.schedule import LearningRateSchedule
from child.training import ChildTrainer

NUM_LAYERS = 3
SEEDS = (0, 1)
TASK = ImageTask(
    ConvolutionalSettings(
        filter_heights=(3,),
        filter_widths=(3,),
        stride_heights=(1, 2, 3),
        num_filters=(4, 8, 16),
        skip_connections=False,
    ),
    NetworkSettings(initialization="torch"),
    ImageTrainingSettings(
        num_epochs=3,
        batch_size=64,
        learning_rate=0.1,
        schedule=LearningRateSchedule(kind="cosine"),
        augmentation=AugmentationSettings(crop="none", flip=False),
    ),
)
DECISIONS = [
    f"{kind}_{layer}"
    for layer in range(1, NUM_LAYERS + 1)
    for kind in ("stride_height", "num_filters")
]
COLUMNS = [
    *DECISIONS,
    *(f"validation_{seed}" for seed in SEEDS),
    *(f"test_{seed}" for seed in SEEDS),
    "num_parameters",
    "multiply_adds",
]

Choices = tuple[int, ...]
Row = dict[str, str]


def networks() -> Iterator[Choices]:
    """Give the choices of every network, as numbers from 0, in ascending order."""
    numbers = [decision.num_choices for decision in TASK.space.decisions] * NUM_LAYERS
    return itertools.product(*map(range, numbers))


def chosen(choices: Choices) -> Row:
    """Give what the choices stand for, by the columns of the table."""
    kinds = [name.rpartition("_")[0] for name in DECISIONS]
    return {
        name: str(TASK.space.options(kind)[choice])
        for name, kind, choice in zip(DECISIONS, kinds, choices, strict=True)
    }


def train(choices: Choices) -> Row:
    """Train a network once for each seed, and give its row."""
    data, trainer = _prepared()
    architecture = TASK.space.decode(choices, NUM_LAYERS)
    plan = NetworkPlan.of(architecture, data.search.shape, data.search.num_classes, TASK.network)
    row = chosen(choices)
    for seed in SEEDS:
        tested = trainer.test(lambda: TASK.build(architecture, data.search), seed, data.test)
        row[f"validation_{seed}"] = f"{tested.result.validation:.4f}"
        row[f"test_{seed}"] = f"{tested.test:.4f}"
    row["num_parameters"] = str(plan.num_parameters)
    row["multiply_adds"] = str(plan.multiply_adds)
    return row


@cache
def _prepared() -> tuple[ImageData, ChildTrainer]:
    torch.set_num_threads(1)
    data = DigitsSettings().load()
    return data, ChildTrainer(TASK.passes(data.search, torch.device("cpu")))


def read(path: Path) -> list[Row]:
    """Give the rows of a table; of one that is not there, none.

    Raises:
        ValueError: it has other columns.
    """
    if not path.exists():
        return []
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        if reader.fieldnames != COLUMNS:
            raise ValueError(f"{path} has the columns {reader.fieldnames}: must be {COLUMNS}")
        return list(reader)


def write(path: Path, rows: list[Row]) -> None:
    """Put all rows in place of the file at once, in the order of their decisions."""
    beside = path.with_suffix(".tmp")
    with beside.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(sorted(rows, key=lambda row: [int(row[name]) for name in DECISIONS]))
    beside.replace(path)


def main() -> None:
    """Train what the table does not have yet."""
    parser = argparse.ArgumentParser(description="Train every network of a small space.")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "digits_table.csv")
    parser.add_argument("--processes", type=int, default=min(os.cpu_count() or 1, 8))
    arguments = parser.parse_args()
    rows = read(arguments.output)
    known = {tuple(row[name] for name in DECISIONS) for row in rows}
    missing = [each for each in networks() if tuple(chosen(each).values()) not in known]
    begun_at = time.monotonic()
    # Started afresh, not forked: torch has threads by now.
    with multiprocessing.get_context("spawn").Pool(arguments.processes) as pool:
        for number, row in enumerate(pool.imap_unordered(train, missing), start=1):
            rows.append(row)
            write(arguments.output, rows)
            if number % 25 == 0 or number == len(missing):
                seconds = time.monotonic() - begun_at
                left = seconds / number * (len(missing) - number)
                print(f"{len(rows)} networks, {left / 60:.0f} min left", flush=True)


if __name__ == "__main__":
    main()
