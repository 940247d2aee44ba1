"""What a search space is: the next decision for a prefix, and what a list of choices means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol


@dataclass(frozen=True)
class Decision:
    """One step of the policy: pick one of ``num_choices`` choices, numbered from 0.

    A policy has an embedding and a softmax for each kind of decision, or for each step of the list
    and each kind that may stand there. A choice is one integer, whatever it decides.
    """

    kind: str
    num_choices: int


@dataclass(frozen=True)
class AnchorDecision:
    """One step of the policy: the anchor point of a layer, which picks among earlier layers.

    Each of the first ``num_earlier`` anchor points of the list is taken or not, independently.
    Bit j of the choice says whether the one numbered j, from 0, is. Every layer of a space with
    anchor points has one, the first included, which has nothing to pick: its choice is 0.

    Source: Zoph & Le 2017, s3.3.
    """

    num_earlier: int
    kind: ClassVar[str] = "anchor"

    @property
    def num_choices(self) -> int:
        return 1 << self.num_earlier

    def picked(self, choice: int) -> tuple[int, ...]:
        """Give the numbers, from 0, of the anchor points that a choice takes.

        >>> AnchorDecision(num_earlier=4).picked(0b1010)
        (1, 3)
        """
        return tuple(j for j in range(self.num_earlier) if choice >> j & 1)


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

    It takes every depth >= 1; or, where what is decided depends on the depth, one alone, and any
    other is a ValueError of each of its methods.

    Laws, for every depth that it takes:
        `next_decision` is a pure function of its arguments; what it returns may depend on every
        earlier choice. It is None when the list is complete, which it is after finitely many steps.
        Every decision by softmax that it returns is in `decisions`, which does not depend on depth;
        an anchor point is returned only where `has_anchors`, and picks among those before it.
        `decode` takes exactly the complete lists; different lists give different architectures.
        Every decision by softmax that follows t choices, in a network of some depth up to the one
        given, is in `positions`[t], which ends with the longest of these lists. Nothing else is,
        unless what stands there depends on earlier choices.
    """

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """Every decision by softmax that can occur, one for each kind."""
        ...

    @property
    def has_anchors(self) -> bool:
        """Whether lists have anchor points."""
        ...

    def options(self, kind: str) -> Sequence[object]:
        """Give what each choice of a decision by softmax stands for, such as 3 pixels or tanh.

        Raises:
            KeyError: there is no decision of that kind.
        """
        ...

    def positions(self, depth: int) -> Sequence[frozenset[Decision]]:
        """Give, for each step of the longest list up to that depth, what may be decided there.

        Anchor points are left out, so that a step at which nothing else stands has an empty set.
        """
        ...

    def next_decision(self, choices: Sequence[int], depth: int) -> Decision | AnchorDecision | None:
        """Give the decision that follows the choices made so far in a network of that depth."""
        ...

    def decode(self, choices: Sequence[int], depth: int) -> Architecture:
        """Give the architecture that a complete list of choices describes.

        Raises:
            ValueError: the list is not complete, too long, or has a choice that does not exist.
        """
        ...
