"""Who searches the tables: a strategy with its settings, for some numbers of trials."""

from __future__ import annotations

from dataclasses import dataclass, field

from table_search import DEPTH, Course, Layout, Reward, search

from child.space import Space
from controller.evolution import Evolution, EvolutionSettings
from controller.learning import LearningSettings
from controller.policy import PolicySettings
from controller.ppo import Ppo
from controller.random_search import RandomSearch
from controller.reinforce import Reinforce
from controller.strategy import StrategyName
from ps.optimizer import AdamSettings

# Of the paper's search K = 100 replicas of m = 8 have more in flight than these searches have
# trials: nothing would be learned. It stands for it with 4.
PAPER = Layout(num_replicas=4, per_replica=8)


@dataclass(frozen=True)
class Searcher:
    """A strategy with its settings. It is for searches of `at_least` to `at_most` trials."""

    name: str
    strategy: StrategyName = "reinforce"
    layout: Layout = PAPER
    policy: PolicySettings = field(default_factory=PolicySettings)
    learning: LearningSettings = field(default_factory=LearningSettings)
    evolution: EvolutionSettings = field(default_factory=EvolutionSettings)
    at_least: int = 1
    at_most: int = 10**9

    def is_for(self, num_trials: int) -> bool:
        """Whether it is for searches of that length."""
        return self.at_least <= num_trials <= self.at_most

    def search(self, space: Space, reward: Reward, num_trials: int, seed: int) -> Course:
        """Run a search from its first trial to its last."""
        course = Course()
        kind = Ppo if self.strategy == "ppo" else Reinforce
        policy = kind.untrained(space, self.policy, seed, 1, DEPTH, self.learning)
        strategy: Reinforce | RandomSearch | Evolution = policy
        num_parameters = policy.layout.num_parameters
        if self.strategy == "random":
            strategy = RandomSearch(space, num_parameters)
        elif self.strategy == "evolution":
            strategy = Evolution(space, num_parameters, self.evolution, course)
        return search(strategy, policy.values, reward, num_trials, self.layout, seed, course)


def small_layout(
    learning_rate: float,
    num_replicas: int = 1,
    per_replica: int = 4,
    baseline_decay: float = 0.9,
    is_corrected: bool = False,
) -> Layout:
    """Give the layout of a search of a few children at a time, with Adam."""
    optimizer = AdamSettings(learning_rate=learning_rate)
    return Layout(num_replicas, per_replica, baseline_decay, is_corrected, optimizer)


# Others are compared with the first. docs/recommended-settings.md has how these came to be.
SEARCHERS = (
    Searcher("random", "random"),
    Searcher("paper"),
    Searcher(
        "for 100 trials",
        layout=small_layout(0.015, baseline_decay=0.8),
        learning=LearningSettings(entropy_bonus=0.003),
        at_most=200,
    ),
    Searcher(
        "for 500 trials",
        layout=small_layout(0.005),
        learning=LearningSettings(entropy_bonus=0.001),
        at_least=201,
        at_most=2000,
    ),
    Searcher(
        "for 500, ppo",
        "ppo",
        small_layout(0.005),
        learning=LearningSettings(entropy_bonus=0.001),
        at_least=201,
        at_most=2000,
    ),
    Searcher(
        "for 5000 trials",
        layout=PAPER,
        learning=LearningSettings(entropy_bonus=0.01),
        at_least=2001,
    ),
    Searcher(
        "evolution",
        "evolution",
        small_layout(0.005),
        evolution=EvolutionSettings(population_size=50, tournament_size=10),
        at_least=201,
    ),
)
