"""All networks of a small space with what they reached, to be searched without training."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any, Self

from child.space import Decision

DIGITS = Path(__file__).parent.parent / "examples" / "digits_table" / "digits_table.csv"

Choices = tuple[int, ...]


@dataclass(frozen=True)
class TableArchitecture:
    """A network of a table: what was chosen, decision by decision."""

    chosen: tuple[tuple[str, object], ...]

    def __str__(self) -> str:
        return ", ".join(f"{kind} {option}" for kind, option in self.chosen)

    def to_json(self) -> dict[str, Any]:
        return {"decisions": [list(each) for each in self.chosen]}


class TableSpace:
    """Networks that are all decided by the same list of decisions; see `child.space.Space`.

    The list is that of depth 1, the only one.
    """

    has_anchors = False

    def __init__(self, kinds: Sequence[str], options: dict[str, Sequence[object]]) -> None:
        """Take the kind of every decision of the list, and what each kind may be."""
        self._options = options
        self._list = [Decision(kind, len(options[kind])) for kind in kinds]

    @property
    def decisions(self) -> tuple[Decision, ...]:
        return tuple(dict.fromkeys(self._list))

    def options(self, kind: str) -> Sequence[object]:
        return self._options[kind]

    def positions(self, depth: int) -> list[frozenset[Decision]]:
        self._check(depth)
        return [frozenset([decision]) for decision in self._list]

    def next_decision(self, choices: Sequence[int], depth: int) -> Decision | None:
        self._check(depth)
        return self._list[len(choices)] if len(choices) < len(self._list) else None

    def decode(self, choices: Sequence[int], depth: int) -> TableArchitecture:
        self._check(depth)
        numbers = [decision.num_choices for decision in self._list]
        if len(choices) != len(numbers) or not all(
            0 <= choice < number for choice, number in zip(choices, numbers, strict=True)
        ):
            raise ValueError(f"choices={list(choices)}: must be {len(numbers)}, below {numbers}")
        return TableArchitecture(
            tuple(
                (decision.kind, self._options[decision.kind][choice])
                for decision, choice in zip(self._list, choices, strict=True)
            )
        )

    def _check(self, depth: int) -> None:
        if depth != 1:
            raise ValueError(f"depth={depth}: must be 1; all networks of a table are of one depth")


@dataclass(frozen=True)
class NetworkTable:
    """What every network of a space reached.

    seen: for each network the accuracy with each of some seeds, fractions; a search sees one of
        them in a trial. values: what a network is worth, a fraction that no search sees.
    """

    name: str
    space: TableSpace
    seen: dict[Choices, tuple[float, ...]]
    values: dict[Choices, float]

    @property
    def best(self) -> float:
        """What the best network is worth."""
        return max(self.values.values())

    @classmethod
    def digits(cls, path: Path = DIGITS) -> Self:
        """Read the table of examples/digits_table.

        A search sees accuracies on the validation images; a network is worth the mean of its
        accuracies on the test images.
        """
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        columns = list(rows[0])
        names = [name for name in columns if re.fullmatch(r"(stride_height|num_filters)_\d", name)]
        kinds = [name.rpartition("_")[0] for name in names]
        options: dict[str, Sequence[object]] = {
            kind: sorted({int(row[name]) for row in rows})
            for name, kind in zip(names, kinds, strict=True)
        }
        seen, values = {}, {}
        for row in rows:
            choices = tuple(
                options[kind].index(int(row[name])) for name, kind in zip(names, kinds, strict=True)
            )
            seen[choices] = tuple(float(row[c]) for c in columns if c.startswith("validation_"))
            values[choices] = mean(float(row[c]) for c in columns if c.startswith("test_"))
        return cls("digits", TableSpace(kinds, options), seen, values)

    @classmethod
    def nasbench_macro(cls, path: Path) -> Self:
        """Read NAS-Bench-Macro (Su et al. 2021): 8 layers of 3 kinds of block, on CIFAR-10.

        Args:
            path: a CSV file with the columns arch, eight digits below 3, and acc0, acc1 and acc2,
                in percent; or the JSON file as it is published. A network is worth their mean.
        """
        if path.suffix == ".json":
            raw = json.loads(path.read_text())
            given = {arch: row["acc"] for arch, row in raw.items()}
        else:
            with path.open(newline="") as file:
                given = {
                    row["arch"]: [row[f"acc{i}"] for i in range(3)] for row in csv.DictReader(file)
                }
        seen = {
            tuple(map(int, arch)): tuple(float(each) / 100 for each in accuracies)
            for arch, accuracies in given.items()
        }
        space = TableSpace(["block"] * 8, {"block": ("identity", "mb3_k3", "mb6_k5")})
        return cls("nasbench-macro", space, seen, {k: mean(v) for k, v in seen.items()})
