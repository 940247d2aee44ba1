"""The space of recurrent cells: what is decided of each node, and in which order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from child.recurrent.architecture import CellArchitecture
from child.recurrent.node import Node
from child.recurrent.space_settings import RecurrentSettings
from child.space import AnchorDecision, Decision
from child.writing import Writing, architecture_of, decision_after


class RecurrentSpace:
    """Cells of one base; see `child.space.Space`. The ``depth`` of a cell is its base.

    For each node, leaves first, root last: combination, activation; then those of the injection;
    then the node that c_t is taken from, and the one that c_{t-1} is injected at. These are 34
    decisions for base 8. What has one option is not decided.

    How many choices an index has depends on the base, and of a kind of decision all have the same
    number: so a space is of one base, and a depth other than it is a ValueError.

    Source: Zoph & Le 2017, s3.4 and Figure 5.
    """

    has_anchors = False

    def __init__(self, settings: RecurrentSettings) -> None:
        self._base = settings.base
        num_nodes = 2 * settings.base - 1
        self._options: dict[str, Sequence[Any]] = {
            "combination": settings.combinations,
            "activation": settings.activations,
            "cell_index": range(num_nodes),
        }
        self._kinds = ("combination", "activation") * (num_nodes + 1) + ("cell_index",) * 2
        self._decisions = {
            kind: Decision(kind, len(options))
            for kind, options in self._options.items()
            if len(options) > 1
        }

    @property
    def decisions(self) -> tuple[Decision, ...]:
        return tuple(self._decisions.values())

    def options(self, kind: str) -> Sequence[object]:
        return self._options[self._decisions[kind].kind]

    @property
    def num_architectures(self) -> int:
        """The number of cells, exactly.

        >>> f"{RecurrentSpace(RecurrentSettings(base=8)).num_architectures:.1e}"
        '6.3e+16'
        """
        number = 1
        for kind in self._kinds:
            number *= len(self._options[kind])
        return number

    def positions(self, depth: int) -> tuple[frozenset[Decision], ...]:
        self._check("depth", depth)
        return tuple(
            frozenset({self._decisions[kind]}) for kind in self._kinds if kind in self._decisions
        )

    def next_decision(self, choices: Sequence[int], depth: int) -> Decision | AnchorDecision | None:
        return decision_after(self._write(depth), choices)

    def decode(self, choices: Sequence[int], depth: int) -> CellArchitecture:
        return architecture_of(self._write(depth), choices, f"in a cell of base {depth}")

    def encode(self, architecture: CellArchitecture) -> tuple[int, ...]:
        """Give the list of choices that `decode` makes this architecture of.

        Raises:
            ValueError: the cell has another base, or something that this space does not offer.
        """
        self._check("base", architecture.base)
        choices = []
        for kind, value in zip(self._kinds, _decided(architecture), strict=True):
            options = self._options[kind]
            if value not in options:
                raise ValueError(
                    f"{kind}={value!r}: must be one of {', '.join(map(str, options))} in this space"
                )
            if kind in self._decisions:
                choices.append(options.index(value))
        return tuple(choices)

    def _write(self, depth: int) -> Writing[CellArchitecture]:
        self._check("depth", depth)
        values: list[Any] = []
        for kind in self._kinds:
            choice = (yield self._decisions[kind]) if kind in self._decisions else 0
            values.append(self._options[kind][choice])
        *pairs, memory_index, inject_index = values
        *nodes, inject = map(Node, pairs[::2], pairs[1::2])
        return CellArchitecture(tuple(nodes), inject, memory_index, inject_index)

    def _check(self, name: str, value: int) -> None:
        if value != self._base:
            raise ValueError(
                f"{name}={value}: must be {self._base}, the base of all cells of this space"
            )


def _decided(cell: CellArchitecture) -> Iterator[object]:
    """Give what is decided of a cell, in the order of the decisions."""
    for node in (*cell.nodes, cell.inject):
        yield node.combination
        yield node.activation
    yield cell.memory_index
    yield cell.inject_index
