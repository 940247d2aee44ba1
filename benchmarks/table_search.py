"""A search in one process whose children are looked up; all else is what a search is made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from network_table import Choices, NetworkTable

from child.images.training_settings import ImageTrainingSettings
from controller import seeds
from controller.baseline import Baseline
from controller.population import Individual
from controller.rollout import Rollout
from controller.sampled import Rewarded, Sampled, gradient_of
from controller.strategy import Strategy
from controller.trial import Stamp
from ps.client import Pulled
from ps.layout import FlatVector
from ps.optimizer import AdamSettings, OptimizerSettings, SliceOptimizer

DEPTH = 1  # of all networks of a table
REWARD_EXPONENT = ImageTrainingSettings().reward_exponent

Reward = Callable[[int, Choices], float]


@dataclass(frozen=True)
class Layout:
    """How a search is laid out: num_replicas (K) of per_replica (m) children each."""

    num_replicas: int = 1
    per_replica: int = 1
    baseline_decay: float = 0.95
    is_corrected: bool = False
    optimizer: OptimizerSettings = field(default_factory=AdamSettings)


@dataclass
class Course:
    """What a search has met, trial by trial in the order of the results."""

    choices: list[Choices] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)

    def newest(self, number: int) -> list[Individual]:
        """Give the trials recorded last, at most so many, the last one first."""
        newest = zip(self.choices[-number:], self.rewards[-number:], strict=True)
        return [Individual(DEPTH, *each) for each in newest][::-1]

    def best(self, num_trials: int, number: int = 1) -> list[Choices]:
        """Give the different networks of the highest rewards in the first trials, best first.

        Of equals the one that was met first comes first.
        """
        ranked = sorted(range(num_trials), key=lambda trial: -self.rewards[trial])  # stable
        return list(dict.fromkeys(self.choices[trial] for trial in ranked))[:number]


def reward_of(table: NetworkTable, search_seed: int) -> Reward:
    """Give the reward of a trial: the cube of the accuracy with one of the table's seeds.

    Which one is a function of the seed that the trial's child would train with.
    """

    def reward(trial: int, choices: Choices) -> float:
        accuracies = table.seen[choices]
        number = seeds.child_seed(search_seed, trial) % len(accuracies)
        return float(accuracies[number] ** REWARD_EXPONENT)

    return reward


def search(
    strategy: Strategy,
    values: FlatVector,
    reward: Reward,
    num_trials: int,
    layout: Layout,
    search_seed: int,
    course: Course | None = None,
) -> Course:
    """Run a search whose children all take the same time.

    Replicas take turns. In its turn one has the rewards of its m trials, each stamped with the
    baseline before it moves; pushes their gradient, at the parameters that it had pulled; pulls;
    and samples the next m. So K - 1 pushes of others lie between a pull and its push.

    Args:
        values: the first parameters, (P,) float32.
        course: where the trials are written, for a strategy that looks at them.
    """
    course = Course() if course is None else course
    shards = _Shards(layout.optimizer, values)
    baseline = Baseline(layout.baseline_decay)
    begun = 0

    def sample() -> list[Sampled]:
        nonlocal begun
        trials = range(begun + 1, min(begun + layout.per_replica, num_trials) + 1)
        begun += len(trials)
        if not trials:
            return []
        pulled = shards.pull()
        strategy.load(pulled.values)
        generators = [seeds.rollout_generator(search_seed, trial) for trial in trials]
        rollouts: Sequence[Rollout] = strategy.sample([DEPTH] * len(trials), generators)
        return [
            Sampled(trial, DEPTH, rollout, pulled.versions, pulled)
            for trial, rollout in zip(trials, rollouts, strict=True)
        ]

    in_flight = [sample() for _ in range(layout.num_replicas)]
    while any(in_flight):
        for replica, sampled in enumerate(in_flight):
            rewarded = []
            for one in sampled:
                earned = reward(one.trial, one.rollout.choices)
                rewarded.append(Rewarded(one, Stamp(earned, baseline.stamp)))
                baseline = baseline.moved_by(earned)
                course.choices.append(one.rollout.choices)
                course.rewards.append(earned)
            if rewarded:
                gradient = gradient_of(
                    rewarded, strategy, shards.pull, is_corrected=layout.is_corrected
                ).values
                shards.push(gradient)
            in_flight[replica] = sample()
    return course


class _Shards:
    """All parameters, with the optimizer that shards apply; its bits do not depend on slices."""

    def __init__(self, settings: OptimizerSettings, values: FlatVector) -> None:
        self._optimizer = SliceOptimizer(settings, len(values))
        self._optimizer.values[...] = values
        self._pulled = Pulled(values.copy(), (0,))

    def pull(self) -> Pulled:
        return self._pulled

    def push(self, gradient: FlatVector) -> None:
        self._optimizer.step(gradient)
        [version] = self._pulled.versions
        self._pulled = Pulled(self._optimizer.values.copy(), (version + 1,))
