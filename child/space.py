"""What a search space is: the next decision for a prefix, and what a list of choices means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class Decision:
    """One step of the policy: pick one of ``num_choices`` choices, numbered from 0.

    Decisions of the same kind share their embedding and their softmax, wherever in the list
    they stand. A choice is one integer, whatever it decides.
    """

    kind: str
    num_choices: int


class Architecture(Protocol):
    """A network described as a value: equal, hashable, printable, and a JSON object."""

    def __hash__(self) -> int: ...

    def __str__(self) -> str: ...

    def to_json(self) -> dict[str, Any]:
        """Give a JSON object that describes the architecture completely."""
        ...


class Space(Protocol):
    """A set of architectures, each written as a list of decisions.

    The policy knows a space only through these methods: it sees integers, not networks.

    Laws, for every depth >= 1:
        `next_decision` is a pure function of its arguments; what it returns may depend on every
        earlier choice. It is None when the list is complete, which it is after finitely many steps.
        Every decision it returns is in `decisions`, which does not depend on depth.
        `decode` takes exactly the complete lists; different lists give different architectures.
    """

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """Every decision by softmax that can occur, one for each kind."""
        ...

    def next_decision(self, choices: Sequence[int], depth: int) -> Decision | None:
        """Give the decision that follows the choices made so far in a network of that depth."""
        ...

    def decode(self, choices: Sequence[int], depth: int) -> Architecture:
        """Give the architecture that a complete list of choices describes.

        Raises:
            ValueError: the list is not complete, too long, or has a choice that does not exist.
        """
        ...
