"""Regularised evolution: new networks are mutations of good ones, and the old die."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from child.space import AnchorDecision, Decision, Space
from controller.population import Individual, Population
from controller.random_search import RandomSearch, uniform_choice
from controller.rollout import Rollout
from ps.layout import FlatVector

# The choices of one list by the decision they are of, each in the order taken.
Kept = Mapping[Decision | AnchorDecision, Sequence[int]]


class EvolutionSettings(BaseModel):
    """How strategy evolution breeds networks; the defaults are Real et al. 2019's."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    population_size: int = Field(
        100,
        ge=2,
        le=100_000,
        description="So many networks, those that were recorded last, may be bred from; before "
        "there are as many, networks are drawn at random. With those in training, "
        "num_replicas * children.per_replica, it must be below num_trials, and had better be a "
        "small part of it. P in Real et al. 2019.",
    )
    tournament_size: int = Field(
        25,
        ge=1,
        le=100_000,
        description="The best of so many that are drawn from them is bred from; 1: any, with no "
        "regard to its reward. At most population_size: as many have the best of all among them "
        "in 63 % of the draws, which are with replacement. S in Real et al. 2019.",
    )

    @model_validator(mode="after")
    def _tournament_is_not_the_population(self) -> Self:
        if self.tournament_size > self.population_size:
            raise ValueError(
                f"tournament_size={self.tournament_size}: must be at most population_size="
                f"{self.population_size}; more would breed from the best of it most of the time, "
                "as no tournament would; Real et al. 2019 have a quarter of it"
            )
        return self


class Evolution:
    """Mutates the best of a few recent trials; see `controller.strategy.Strategy`.

    The population is the P trials that were recorded last, over all replicas: who is older dies,
    however good. It is asked for whenever something is sampled, so all replicas breed from one, and
    nothing is lost with a process. While there are fewer, it is random search, with its log-probs.

    A parent is the best of S, each drawn uniformly from the P (also twice; of equals the one drawn
    first). In it one of the decisions with more than one choice, any with equal probability, gets
    another choice, any; of an anchor point one bit flips. All other decisions keep the parent's
    choice where they still stand: the n-th time that a decision (its kind, and number of choices)
    is in the child, it is what it was the n-th time in the parent. So what is decided about later
    layers outlives a change of an earlier one's type, though it is at another step then. What the
    parent has no choice for is drawn uniformly.

    A parent of another depth is brought to the child's first, by the same rule: what it has stays,
    layers that it has not are drawn. Rewards compete over depths; those of a former one soon die.

    The log-probability of a mutation would be a sum over all parents that it may have had; it is of
    no use here, and a rollout has none.

    Gradients are zero, as those of `RandomSearch`.

    Source: Real et al. 2019, "Regularized Evolution for Image Classifier Architecture Search",
    algorithm 1. Mutations there are those of the NASNet space, and now and then there is none; here
    each changes one decision of whatever space it is.
    """

    def __init__(
        self,
        space: Space,
        num_parameters: int,
        settings: EvolutionSettings,
        population: Population,
    ) -> None:
        self._space = space
        self._settings = settings
        self._population = population
        self._random = RandomSearch(space, num_parameters)

    def load(self, values: FlatVector) -> None:
        """Take no notice: no choice depends on a parameter."""

    def sample(
        self, depths: Sequence[int], generators: Sequence[np.random.Generator]
    ) -> list[Rollout]:
        """Breed one rollout for each depth, all from the population as it is now.

        generators[i] and the population decide what rollout i is, and nothing else.
        """
        size = self._settings.population_size
        population = self._population.newest(size)
        if len(population) < size:
            return self._random.sample(depths, generators)
        return [
            Rollout(self._child(self._parent(population, generator), depth, generator), ())
            for depth, generator in zip(depths, generators, strict=True)
        ]

    def gradient(
        self,
        depths: Sequence[int],
        rollouts: Sequence[Rollout],
        advantages: Sequence[float],
        is_reweighted: bool = False,
    ) -> FlatVector:
        return self._random.gradient(depths, rollouts, advantages, is_reweighted)

    def _parent(
        self, population: Sequence[Individual], generator: np.random.Generator
    ) -> Individual:
        drawn = generator.integers(len(population), size=self._settings.tournament_size)
        met: list[Individual] = [population[number] for number in drawn]
        return max(met, key=lambda one: one.reward)

    def _child(
        self, parent: Individual, depth: int, generator: np.random.Generator
    ) -> tuple[int, ...]:
        choices = parent.choices
        if parent.depth != depth:
            choices = self._completed((), self._kept(choices, parent.depth), depth, generator)
        decisions = self._decisions(choices, depth)
        open_steps = [step for step, met in enumerate(decisions) if met.num_choices > 1]
        if not open_steps:
            return choices
        step = open_steps[generator.integers(len(open_steps))]
        mutated = _another(decisions[step], choices[step], generator)
        kept = self._kept(choices, depth)
        return self._completed((*choices[:step], mutated), kept, depth, generator)

    def _completed(
        self, beginning: Sequence[int], kept: Kept, depth: int, generator: np.random.Generator
    ) -> tuple[int, ...]:
        """Complete a list by what is kept, and by draws where nothing is."""
        choices: list[int] = []
        num_met: Counter[Decision | AnchorDecision] = Counter()
        while (decision := self._space.next_decision(choices, depth)) is not None:
            step, number = len(choices), num_met[decision]
            num_met[decision] += 1
            if step < len(beginning):
                choices.append(beginning[step])
            elif number < len(kept.get(decision, ())):
                choices.append(kept[decision][number])
            else:
                choices.append(uniform_choice(decision, generator))
        return tuple(choices)

    def _kept(self, choices: Sequence[int], depth: int) -> Kept:
        kept: dict[Decision | AnchorDecision, list[int]] = defaultdict(list)
        for decision, choice in zip(self._decisions(choices, depth), choices, strict=True):
            kept[decision].append(choice)
        return kept

    def _decisions(self, choices: Sequence[int], depth: int) -> list[Decision | AnchorDecision]:
        """Give the decisions of a complete list."""
        met = [self._space.next_decision(choices[:step], depth) for step in range(len(choices))]
        return [decision for decision in met if decision is not None]


def _another(
    decision: Decision | AnchorDecision, choice: int, generator: np.random.Generator
) -> int:
    """Draw another choice of a decision; of an anchor point one that differs in a bit."""
    if isinstance(decision, AnchorDecision):
        return choice ^ (1 << int(generator.integers(decision.num_earlier)))
    drawn = int(generator.integers(decision.num_choices - 1))
    return drawn + (drawn >= choice)
