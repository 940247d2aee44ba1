"""A space of the user's, as a search uses it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from child.custom.failure import Failure
from child.space import AnchorDecision, Architecture, Decision, Space

T = TypeVar("T")

MAX_DECISIONS = 10_000


class SpaceError(ValueError):
    """A space breaks its laws, or an error was raised in it; the message says where."""


@dataclass(frozen=True)
class CustomArchitecture:
    """What a space of the user's decodes to; in a JSON object it is under the key architecture.

    value: what the trainer takes. described: the same as JSON, sorted.
    """

    value: Any
    described: str

    @classmethod
    def of(cls, value: Any) -> CustomArchitecture:
        """Take whatever a space decodes to.

        Raises:
            TypeError, ValueError: JSON cannot hold it.
        """
        has_own = callable(getattr(value, "to_json", None))
        plain = value.to_json() if has_own else value
        return cls(value, json.dumps(plain, sort_keys=True, default=_plain, allow_nan=False))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CustomArchitecture) and self.described == other.described

    def __hash__(self) -> int:
        return hash(self.described)

    def __str__(self) -> str:
        return str(self.value)

    def to_json(self) -> dict[str, Any]:
        return {"architecture": json.loads(self.described)}


@dataclass(frozen=True)
class Undecodable:
    """In place of an architecture, where decoding a complete list raised an error.

    choices: the list.
    """

    choices: tuple[int, ...]
    failure: Failure

    def __str__(self) -> str:
        return f"cannot be decoded: {list(self.choices)}"

    def to_json(self) -> dict[str, Any]:
        return {"undecodable": list(self.choices)}


class CustomSpace:
    """Keeps what a space of the user's does to `child.space.Space`, and its errors in words."""

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
        self._decisions = self._asked("decisions", lambda: tuple(space.decisions))
        self._has_anchors = self._asked("has_anchors", lambda: bool(space.has_anchors))
        kinds = [decision.kind for decision in self._decisions]
        if len(set(kinds)) < len(kinds):
            raise SpaceError(f"{name}: decisions are of {kinds}: must be one for each kind")

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
        call = f"next_decision({list(choices)}, depth={depth})"
        if len(choices) > MAX_DECISIONS:
            raise SpaceError(
                f"{self._name}: a list has more than {MAX_DECISIONS:,} choices, and no end: "
                "next_decision must give None when it is complete"
            )
        decision = self._asked(call, lambda: self._space.next_decision(choices, depth))
        if isinstance(decision, AnchorDecision):
            is_known = self._has_anchors
        else:
            is_known = decision is None or decision in self._decisions
        if not is_known:
            raise SpaceError(
                f"{self._name}: {call} gave {decision}: must be None, or one of its decisions, "
                f"{list(self._decisions)}, or an anchor point if it has_anchors"
            )
        return decision

    def decode(self, choices: Sequence[int], depth: int) -> Architecture:
        """Give an architecture; `Undecodable` where the space raises an error."""
        try:
            return CustomArchitecture.of(self._space.decode(choices, depth))
        except Exception as error:  # noqa: BLE001 (whatever it is, it is the trial's)
            return Undecodable(tuple(choices), Failure.of(error))

    def _asked(self, what: str, ask: Callable[[], T]) -> T:
        try:
            return ask()
        except Exception as error:
            raise SpaceError(f"{self._name}: {what} raised {Failure.of(error).reason}") from error


def _plain(value: Any) -> Any:
    """Give what JSON can hold in place of what it cannot."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    raise TypeError(
        f"{value!r:.200}: must be a value that JSON can hold, a dataclass of such, or have a "
        "method to_json that gives one"
    )
