"""A space of the user's, as a search uses it."""

from __future__ import annotations

import dataclasses
import json
import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from child.custom.failure import Failure, storable
from child.result import Infeasible
from child.space import AnchorDecision, Architecture, Decision, Space

T = TypeVar("T")

MAX_DECISIONS = 2000
MAX_ENDS = 1000


class SpaceError(ValueError):
    """A space breaks its laws, or an error was raised in it; the message says where."""


@dataclass(frozen=True, eq=False)
class CustomArchitecture:
    """What a space of the user's decodes to; in a JSON object it is under the key architecture.

    value: what the trainer takes. described: the same as JSON, sorted. text: as it prints.
    """

    value: Any
    described: str
    text: str

    @classmethod
    def of(cls, value: Any) -> CustomArchitecture:
        """Take whatever a space decodes to.

        Raises:
            Exception: JSON cannot hold it, it cannot be printed, or does not survive the way to
                another process.
        """
        has_own = callable(getattr(value, "to_json", None))
        plain = value.to_json() if has_own else value
        described = json.dumps(plain, sort_keys=True, default=_plain, allow_nan=False)
        pickle.loads(pickle.dumps(value))  # noqa: S301 (what was just made, as Ray will)
        return cls(value, described, storable(str(value)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CustomArchitecture) and self.described == other.described

    def __hash__(self) -> int:
        return hash(self.described)

    def __str__(self) -> str:
        return self.text

    def to_json(self) -> dict[str, Any]:
        return {"architecture": json.loads(self.described)}


@dataclass(frozen=True)
class Undecodable:
    """In place of an architecture, where the space raised an error.

    choices: the list. is_refused: the space itself has raised `Infeasible`.
    """

    choices: tuple[int, ...]
    failure: Failure
    is_refused: bool = False

    @classmethod
    def of(cls, choices: Sequence[int], error: BaseException) -> Undecodable:
        """Take what was raised for a list."""
        if isinstance(error, Infeasible):
            return cls(tuple(choices), Failure(storable(str(error)), ""), is_refused=True)
        return cls(tuple(choices), Failure.of(error))

    def __str__(self) -> str:
        return f"cannot be decoded: {list(self.choices)}"

    def to_json(self) -> dict[str, Any]:
        return {"undecodable": list(self.choices)}


class CustomSpace:
    """Keeps what a space of the user's does to `child.space.Space`, and its errors in words.

    A list for which the space raises an error, or breaks a law, ends there, and decodes to
    `Undecodable`: that trial is infeasible, and the search goes on.
    """

    def __init__(self, space: Space, name: str) -> None:
        """Wrap a space.

        Args:
            name: of the space, for messages.

        Raises:
            SpaceError: it lacks something.
        """
        for method in ("next_decision", "decode", "options", "positions"):
            if not callable(getattr(space, method, None)):
                raise SpaceError(
                    f"{name}: has no method {method}: must have all of nasrl.Space, or be a "
                    "nasrl.ChoiceSpace"
                )
        self._space = space
        self._name = name
        self._has_anchors = self._asked("has_anchors", lambda: bool(space.has_anchors))
        declared = self._asked("decisions", lambda: tuple(space.decisions))
        self._decisions = tuple(map(self._checked, declared))
        kinds = [decision.kind for decision in self._decisions]
        if len(set(kinds)) < len(kinds):
            raise SpaceError(f"{name}: decisions are of {kinds}: must be one for each kind")
        # Of lists that an error ended, by their depth.
        self._ends: dict[tuple[int, tuple[int, ...]], Undecodable] = {}

    @property
    def decisions(self) -> tuple[Decision, ...]:
        return self._decisions

    @property
    def has_anchors(self) -> bool:
        return self._has_anchors

    def options(self, kind: str) -> Sequence[object]:
        return self._asked(f"options({kind!r})", lambda: self._space.options(kind))

    def positions(self, depth: int) -> Sequence[frozenset[Decision]]:
        return self._asked(f"positions({depth})", lambda: self._space.positions(depth))

    def next_decision(self, choices: Sequence[int], depth: int) -> Decision | AnchorDecision | None:
        try:
            decision = self._space.next_decision(choices, depth)
            self._check_decision(decision, len(choices))
        except (Exception, SystemExit) as error:  # noqa: BLE001 (whatever it is, it is the trial's)
            if len(self._ends) >= MAX_ENDS:
                self._ends.clear()
            self._ends[depth, tuple(choices)] = Undecodable.of(choices, error)
            return None
        # The space's own may be of types that another process does not know.
        if isinstance(decision, AnchorDecision):
            return AnchorDecision(int(decision.num_earlier))
        return None if decision is None else Decision(str(decision.kind), decision.num_choices)

    def decode(self, choices: Sequence[int], depth: int) -> Architecture:
        """Give an architecture; `Undecodable` where the space raises an error."""
        if (end := self._ends.get((depth, tuple(choices)))) is not None:
            return end
        try:
            return CustomArchitecture.of(self._space.decode(choices, depth))
        except (Exception, SystemExit) as error:  # noqa: BLE001 (as above)
            return Undecodable.of(choices, error)

    def _check_decision(self, decision: Any, number: int) -> None:
        if number > MAX_DECISIONS:
            raise SpaceError(
                f"a list has more than {MAX_DECISIONS:,} choices, and no end: next_decision must "
                "give None when it is complete"
            )
        if isinstance(decision, AnchorDecision) and not self._has_anchors:
            raise SpaceError("there is an anchor point: the space must have has_anchors = True")
        if isinstance(decision, AnchorDecision):
            is_known = decision.num_earlier <= number
        else:
            said = getattr(decision, "kind", None), getattr(decision, "num_choices", None)
            is_known = decision is None or said in {
                (d.kind, d.num_choices) for d in self._decisions
            }
        if not is_known:
            raise SpaceError(
                f"next_decision gave {decision}: must be None, or one of its decisions, "
                f"{list(self._decisions)}, or an anchor point if it has_anchors"
            )

    def _checked(self, decision: Any) -> Decision:
        kind, number = getattr(decision, "kind", None), getattr(decision, "num_choices", 0)
        # A policy has weights of that name, and a row of the ledger has it.
        if type(kind) is not str or not kind or "." in kind:
            raise SpaceError(
                f"{self._name}: a decision is of the kind {kind!r}: must be a plain text without "
                "dots"
            )
        if type(number) is not int or number < 1:
            raise SpaceError(f"{self._name}: {kind} has {number} choices: must be at least 1")
        return Decision(kind, number)

    def _asked(self, what: str, ask: Callable[[], T]) -> T:
        try:
            return ask()
        except (Exception, SystemExit) as error:
            raise SpaceError(f"{self._name}: {what} raised {Failure.of(error).reason}") from error


def _plain(value: Any) -> Any:
    """Give what JSON can hold in place of what it cannot."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    raise TypeError(
        f"{value!r:.200}: must be a value that JSON can hold, a dataclass of such, or have a "
        "method to_json that gives one"
    )
