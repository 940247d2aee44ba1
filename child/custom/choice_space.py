"""A search space that is written as a function, by whoever knows what can be chosen."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from child.space import AnchorDecision, Decision


class _Open(BaseException):
    """A decision that the choices so far do not answer.

    No Exception, so that a function of the user's that catches those does not catch this.
    """

    def __init__(self, decision: Decision | AnchorDecision) -> None:
        super().__init__(decision)
        self.decision = decision


class Choose:
    """Gives one choice after the other to a function that writes an architecture.

    depth: of the architecture, >= 1, from the search's schedule.
    """

    def __init__(
        self, choices: Sequence[int], depth: int, options: Mapping[str, Sequence[Any]]
    ) -> None:
        self.depth = depth
        self._choices = choices
        self._options = options
        self._num_taken = 0
        self._num_anchors = 0

    def __call__(self, kind: str) -> Any:
        """Give what is chosen among the options of a kind.

        Raises:
            ValueError: there is no such kind.
        """
        if kind not in self._options:
            raise ValueError(f"choose({kind!r}): must be one of {', '.join(self._options)}")
        options = self._options[kind]
        return options[self._next(Decision(kind, len(options)))]

    def anchors(self) -> tuple[int, ...]:
        """Begin the next layer, and give the numbers, from 0, of the earlier ones that feed it.

        The anchor points of Zoph & Le 2017, s3.3: each earlier layer is taken or not.
        """
        decision = AnchorDecision(self._num_anchors)
        self._num_anchors += 1
        return decision.picked(self._next(decision))

    @property
    def num_left(self) -> int:
        """How many choices nothing has asked for."""
        return len(self._choices) - self._num_taken

    def _next(self, decision: Decision | AnchorDecision) -> int:
        if not self.num_left:
            raise _Open(decision)
        choice = self._choices[self._num_taken]
        if not 0 <= choice < decision.num_choices:
            raise ValueError(
                f"choices[{self._num_taken}]={choice}: must be at least 0 and below "
                f"{decision.num_choices}, the choices of a decision on {decision.kind}"
            )
        self._num_taken += 1
        return choice


class ChoiceSpace(ABC):
    """A space whose architectures a method writes; see `child.space.Space`.

    `write` is called again for every prefix of a list of choices, and each time as far as these
    go: it has to be quick, and to depend on nothing but what it is given. What it asks for may
    depend on what was chosen before.

    choices: what can be chosen, by the kind of the decision. has_anchors: whether `write` asks for
    anchor points. longest: the most choices that a list can have; needed for
    ``policy.sharing: position`` alone.

    >>> class Layers(ChoiceSpace):
    ...     choices = {"number": [1, 2], "units": [16, 32, 64]}
    ...
    ...     def write(self, choose):
    ...         return [choose("units") for _ in range(choose("number"))]
    >>> Layers().decode([1, 0, 2], depth=1)
    [16, 64]
    """

    choices: Mapping[str, Sequence[Any]]
    has_anchors: bool = False
    longest: int | None = None

    @abstractmethod
    def write(self, choose: Choose) -> Any:
        """Give an architecture: whatever the trainer takes and JSON can hold, or a dataclass."""

    @property
    def decisions(self) -> tuple[Decision, ...]:
        return tuple(Decision(kind, len(options)) for kind, options in self.choices.items())

    def options(self, kind: str) -> Sequence[object]:
        return self.choices[kind]

    def positions(self, depth: int) -> Sequence[frozenset[Decision]]:
        if self.longest is None:
            raise ValueError(
                "longest: must be set for policy.sharing=position, to the most choices that a "
                "list can have"
            )
        # Which of them stand where is known to `write` alone.
        return [frozenset(self.decisions)] * self.longest

    def next_decision(self, choices: Sequence[int], depth: int) -> Decision | AnchorDecision | None:
        try:
            self.write(Choose(choices, depth, self.choices))
        except _Open as found:
            if self.longest is not None and len(choices) >= self.longest:
                raise ValueError(
                    f"longest={self.longest}: a list goes on after so many choices; set it to the "
                    "most that one can have"
                ) from None
            return found.decision
        return None

    def decode(self, choices: Sequence[int], depth: int) -> Any:
        choose = Choose(choices, depth, self.choices)
        try:
            architecture = self.write(choose)
        except _Open as found:
            raise ValueError(
                f"{len(choices)} choices: must go on with a decision on {found.decision.kind}"
            ) from None
        if choose.num_left:
            raise ValueError(f"{len(choices)} choices: must end {choose.num_left} earlier")
        return architecture
