"""Toy spaces, small enough to be written out, and the writing out of any space."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from child.custom.choice_space import ChoiceSpace, Choose
from child.space import Decision, Space

LONGEST = 100  # decisions; a list in a test that gets longer never ends


@dataclass(frozen=True)
class ToyArchitecture:
    """An architecture of nothing but names: for each layer, what was chosen."""

    layers: tuple[tuple[tuple[str, Any], ...], ...]

    def __str__(self) -> str:
        return " - ".join(",".join(f"{kind}={c}" for kind, c in layer) for layer in self.layers)

    def to_json(self) -> dict[str, Any]:
        return {"layers": [dict(layer) for layer in self.layers]}


class ToySpace:
    """What the toy spaces share: a layer is decided step by step, and the next one follows.

    A subclass says which decision follows the choices made in one layer, None when it is complete,
    and what may stand at each step of a list.
    """

    has_anchors = False

    def __init__(self, *decisions: Decision) -> None:
        self._decisions = decisions

    @property
    def decisions(self) -> tuple[Decision, ...]:
        return self._decisions

    def options(self, kind: str) -> Sequence[object]:
        return range({each.kind: each.num_choices for each in self._decisions}[kind])

    def next_decision(self, choices: Sequence[int], depth: int) -> Decision | None:
        layers = self._layers(choices)
        following = self._next_in_layer([choice for _, choice in layers[-1]])
        if following is not None:
            return following
        return self._next_in_layer([]) if len(layers) < depth else None

    def decode(self, choices: Sequence[int], depth: int) -> ToyArchitecture:
        for step, choice in enumerate(choices):
            decision = self.next_decision(choices[:step], depth)
            if decision is None or not 0 <= choice < decision.num_choices:
                raise ValueError(f"choices[{step}]={choice}: must be a choice of {decision}")
        missing = self.next_decision(choices, depth)
        if missing is not None:
            raise ValueError(f"{len(choices)} choices: must go on with a choice of {missing}")
        return ToyArchitecture(tuple(tuple(layer) for layer in self._layers(choices)))

    def positions(self, depth: int) -> Sequence[frozenset[Decision]]:
        raise NotImplementedError

    def _next_in_layer(self, choices: Sequence[int]) -> Decision | None:
        raise NotImplementedError

    def _layers(self, choices: Sequence[int]) -> list[list[tuple[str, int]]]:
        layers: list[list[tuple[str, int]]] = [[]]
        for choice in choices:
            decision = self._next_in_layer([c for _, c in layers[-1]])
            if decision is None:
                layers.append([])
                decision = self._next_in_layer([])
            assert decision is not None, "a layer has at least one decision"
            layers[-1].append((decision.kind, choice))
        return layers


class ChainSpace(ToySpace):
    """Each layer takes the same decisions, one after the other.

    ChainSpace({"color": 2, "shape": 3}) has 6 architectures of depth 1, and 36 of depth 2.
    """

    def __init__(self, num_choices: Mapping[str, int]) -> None:
        super().__init__(*(Decision(kind, number) for kind, number in num_choices.items()))

    def positions(self, depth: int) -> Sequence[frozenset[Decision]]:
        return [frozenset({decision}) for decision in self.decisions] * depth

    def _next_in_layer(self, choices: Sequence[int]) -> Decision | None:
        return self.decisions[len(choices)] if len(choices) < len(self.decisions) else None


class ConditionalSpace(ToySpace):
    """Each layer has a type, and then only the decisions which that type has.

    Type 0 has a size (3) and a color (2), type 1 a size alone, type 2 nothing: 6 + 3 + 1 = 10
    architectures of depth 1, written as lists of one to three choices; 10**depth in general.
    """

    def __init__(self) -> None:
        super().__init__(Decision("type", 3), Decision("size", 3), Decision("color", 2))
        type_, size, color = self.decisions
        self._of_type = {0: (size, color), 1: (size,), 2: ()}
        self._type = type_

    def positions(self, depth: int) -> Sequence[frozenset[Decision]]:
        # More than can be met: no list begins with a color.
        return [frozenset(self.decisions)] * (3 * depth)

    def _next_in_layer(self, choices: Sequence[int]) -> Decision | None:
        if not choices:
            return self._type
        later = self._of_type[choices[0]]
        return later[len(choices) - 1] if len(choices) <= len(later) else None


class LayersSpace(ChoiceSpace):
    """One or two layers; a wide one has dropout or not."""

    choices: ClassVar = {"number": [1, 2], "units": ["narrow", "wide"], "dropout": [False, True]}
    longest = 5

    def write(self, choose: Choose) -> ToyArchitecture:
        layers = []
        for _ in range(choose("number")):
            units = choose("units")
            dropout = units == "wide" and choose("dropout")
            layers.append((("units", units), ("dropout", dropout)))
        return ToyArchitecture(tuple(layers))


def all_lists(space: Space, depth: int) -> Iterator[tuple[int, ...]]:
    """Give every complete list of choices of a space, each once, in lexicographic order."""
    return _completions(space, depth, ())


def _completions(space: Space, depth: int, prefix: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    assert len(prefix) <= LONGEST, f"{prefix}: the list is not complete after {LONGEST} decisions"
    decision = space.next_decision(prefix, depth)
    if decision is None:
        yield prefix
        return
    for choice in range(decision.num_choices):
        yield from _completions(space, depth, (*prefix, choice))
