"""The writing of a list of choices: a coroutine that yields decisions and is sent choices."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import suppress
from typing import TypeVar

from child.space import AnchorDecision, Decision

A = TypeVar("A")

# It returns the architecture once the list is complete.
Writing = Generator[Decision | AnchorDecision, int, A]


def decision_after(writing: Writing[A], choices: Sequence[int]) -> Decision | AnchorDecision | None:
    """Give the decision that follows the choices, None where the list is complete.

    The writing is fresh, and used up afterwards.
    """
    try:
        decision = next(writing)
        for choice in choices:
            decision = writing.send(choice)
    except StopIteration:
        return None
    return decision


def decisions_from(writing: Writing[A], first_choice: int) -> tuple[Decision | AnchorDecision, ...]:
    """Give the decisions of a whole list: that choice is made at the first, 0 at all others.

    The writing is fresh, and used up afterwards.
    """
    met: list[Decision | AnchorDecision] = []
    with suppress(StopIteration):
        met.append(next(writing))
        met.append(writing.send(first_choice))
        while True:
            met.append(writing.send(0))
    return tuple(met)


def architecture_of(writing: Writing[A], choices: Sequence[int], place: str) -> A:
    """Give the architecture that a complete list of choices describes.

    The writing is fresh, and used up afterwards.

    Args:
        place: what the list is of, for errors, such as "in a network of depth 6".

    Raises:
        ValueError: the list is not complete, too long, or has a choice that does not exist.
    """
    num_taken = 0
    try:
        decision = next(writing)
        for step, choice in enumerate(choices):
            if not 0 <= choice < decision.num_choices:
                raise ValueError(
                    f"choices[{step}]={choice}: {decision.kind} has the choices 0 to "
                    f"{decision.num_choices - 1}"
                )
            num_taken = step + 1
            decision = writing.send(choice)
    except StopIteration as end:
        if num_taken < len(choices):
            raise ValueError(
                f"{len(choices)} choices: must be {num_taken} {place}, for nothing more is decided"
            ) from None
        architecture: A = end.value
        return architecture
    raise ValueError(f"{len(choices)} choices: must go on with {decision.kind} {place}")
