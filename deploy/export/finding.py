"""What is told of a network that a search found: how it was found, and its numbers."""

from __future__ import annotations

from dataclasses import dataclass

from child.metric import Metric


@dataclass(frozen=True)
class Finding:
    """A network and its search, in the words of people.

    run: the name of the run directory. search: what was searched, such as "trial 3 of 120".
    text: the architecture as it prints; legend: its signs explained; details: further lines of it.
    validation: the figure that the reward was made of; last_validation: that of these weights.
    test: of the data that no network had met; None where it was not tested.
    is_tested: whether that figure is of these weights.
    is_reproduced: whether these weights have the validation figures of the search.
    """

    run: str
    trial: int
    search: str
    text: str
    legend: str
    details: str
    metric: Metric
    validation: float
    last_validation: float
    epochs: str
    test: float | None
    num_parameters: int
    is_tested: bool
    is_reproduced: bool

    @property
    def figures(self) -> str:
        """Its figures in half a line."""
        name, text = self.metric.name, self.metric.text
        test = f"test {name} {text(self.test)}, " if self.test is not None else ""
        return (
            f"validation {name} {text(self.validation)}, {test}{self.num_parameters:,} parameters"
        )
