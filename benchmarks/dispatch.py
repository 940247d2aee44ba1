"""Rounds or one by one: how busy are the child workers, how stale the gradients, what is learned?

    python benchmarks/dispatch.py            # an hour or more on one core
    python benchmarks/dispatch.py --short    # K = 20 and fewer trials: minutes

The paper's replicas wait for all their children (`rounds.dispatch: batch`); `continuous` samples
the next architecture when a child worker is free. K = 100 replicas of m = 8 children run on a
simulated clock: replica, ledger, policy and the shard's store are the real ones, a child takes as
long as its multiply-adds say, and between two children of a worker a tenth of a second passes.

Utilization: of all child workers, from the begin until the last trial of the budget has begun, and
until the last has ended; on the paper's search for images without strides, with networks of its
first depth alone, and with its networks that get deeper. Choices are uniform.

Learning: a policy learns which layers earn most, in both ways, with and without the correction for
staleness. Wide layers earn more, and take longer.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from statistics import mean, stdev

import numpy as np
import torch
from machine import machine
from simulated_search import Outcome, Setup, simulate

from child.convolutional.architecture import ConvolutionalArchitecture
from child.convolutional.plan import NetworkPlan
from child.data.images import ImageShape
from child.result import TrialResult
from controller.children import Child
from controller.random_search import RandomSearch
from controller.reinforce import Reinforce
from controller.rounds import RoundSettings
from controller.schedule import ScheduleSettings
from deploy.settings import ImageSearchSettings
from deploy.settings_file import load_settings

MEAN_S = 600.0  # of a child
LATENCY_S = 0.1
NUM_DRAWN = 200  # architectures, by which multiply-adds become seconds
CIFAR10 = ImageShape(3, 32, 32)
DISPATCHES = ("batch", "continuous")
DEPTHS = {
    "6 layers": ScheduleSettings(increase=0),
    "6 layers, 2 more every 1600": ScheduleSettings(),
}
# Six layers of three decisions each.
TO_LEARN = ["schedule.num_layers=6", "schedule.increase=0", "space.skip_connections=false"]
LEARNING_RATE = 0.006
NOISE = 0.02  # standard deviation of the accuracy that is not the architecture's


@dataclass(frozen=True)
class SimulatedTraining:
    """Gives a child's time by its multiply-adds, and an accuracy that grows with its sizes."""

    settings: ImageSearchSettings
    seconds_per_madd: float

    @classmethod
    def of(cls, settings: ImageSearchSettings, depth: int) -> SimulatedTraining:
        """Let children of a depth, drawn uniformly, take MEAN_S in the mean."""
        uniform = RandomSearch(settings.task.space, 1)
        generators = [np.random.default_rng(number) for number in range(NUM_DRAWN)]
        rollouts = uniform.sample([depth] * NUM_DRAWN, generators)
        drawn = [settings.task.space.decode(rollout.choices, depth) for rollout in rollouts]
        unit = cls(settings, 1.0)
        return cls(settings, MEAN_S / mean(unit.seconds_of(each) for each in drawn))

    def seconds_of(self, architecture: ConvolutionalArchitecture) -> float:
        """Give how long a child trains."""
        plan = NetworkPlan.of(architecture, CIFAR10, 10, self.settings.network)
        return plan.multiply_adds * self.seconds_per_madd

    def __call__(self, child: Child) -> TrialResult:
        """Give what becomes of a child."""
        architecture = child.architecture
        assert isinstance(architecture, ConvolutionalArchitecture)
        noise = NOISE * np.random.default_rng(child.seed).standard_normal()
        accuracy = float(np.clip(accuracy_of(architecture) + noise, 0, 1))
        return TrialResult(
            state="completed",
            reward=accuracy**3,
            validations=(accuracy,),
            validation=accuracy,
            num_parameters=0,
            seconds=self.seconds_of(architecture),
        )


def accuracy_of(architecture: ConvolutionalArchitecture) -> float:
    """Give an accuracy in [0.5, 1]: that of square filters of middle size, and many of them."""
    fits = []
    for layer in architecture.layers:
        height, width = layer.operation.filter_height, layer.operation.filter_width
        is_best = [height == 5, width == 5]
        fits += [*is_best, layer.operation.num_filters / 64]
    return 0.5 + 0.5 * sum(fits) / len(fits)


def search(settings: ImageSearchSettings, setup: Setup, *, is_learning: bool) -> Outcome:
    """Simulate one search."""
    learner = Reinforce.untrained(settings.task.space, settings.policy, setup.seed, 1, 30)
    uniform = RandomSearch(settings.task.space, learner.layout.num_parameters)
    return simulate(
        setup,
        settings.task.space,
        learner if is_learning else uniform,
        learner.layout,
        learner.values,
        SimulatedTraining.of(settings, setup.schedule.depth(1)),
    )


def utilization_rows(setup: Setup) -> Iterable[str]:
    """Give the rows of the first table."""
    settings = load_settings("cifar10-paper-v1")
    for name, schedule in DEPTHS.items():
        for dispatch in DISPATCHES:
            rounds = RoundSettings(dispatch=dispatch)
            outcome = search(
                settings, replace(setup, schedule=schedule, rounds=rounds), is_learning=False
            )
            seconds = [trial.seconds for trial in outcome.trials]
            yield (
                f"| {name} | {dispatch} | {mean(seconds):.0f} ± {stdev(seconds):.0f} "
                f"| {outcome.utilization(outcome.last_begun_at):.3f} "
                f"| {outcome.utilization(outcome.ended_at):.3f} "
                f"| {outcome.ended_at / 3600:.1f} | {staleness_of(outcome)} |"
            )


def staleness_of(outcome: Outcome) -> str:
    """Give the mean and the 95th percentile of both kinds of staleness."""
    columns = []
    for name in ("staleness", "sample_staleness"):
        of_pushes = [max(getattr(push, name)) for push in outcome.pushes]
        columns.append(f"{mean(of_pushes):.0f}, {np.percentile(of_pushes, 95):.0f}")
    return " | ".join(columns)


def learning_rows(setup: Setup, seeds: range) -> Iterable[str]:
    """Give the rows of the second table: both ways at the same trials, and at the same time."""
    settings = load_settings("cifar10-paper-v1", TO_LEARN)
    schedule = ScheduleSettings(num_layers=6, increase=0)
    setup = replace(setup, schedule=schedule, learning_rate=LEARNING_RATE)
    found: dict[tuple[str, str], list[Outcome]] = {}
    for seed in seeds:
        for dispatch in DISPATCHES:
            for correction in ("none", "clip"):
                rounds = RoundSettings(dispatch=dispatch, correction=correction)
                outcome = search(
                    settings, replace(setup, seed=seed, rounds=rounds), is_learning=True
                )
                found.setdefault((dispatch, correction), []).append(outcome)
    shortest = [min(one.ended_at for one in ones) for ones in zip(*found.values(), strict=True)]
    for (dispatch, correction), outcomes in found.items():
        last = [reward_of_last_quarter(each, each.ended_at) for each in outcomes]
        by_then = [
            reward_of_last_quarter(each, limit)
            for each, limit in zip(outcomes, shortest, strict=True)
        ]
        yield (
            f"| {dispatch} | {correction} | {spread(last)} | {spread(by_then)} "
            f"| {mean(each.ended_at for each in outcomes) / 3600:.1f} "
            f"| {staleness_of(outcomes[0])} |"
        )


def reward_of_last_quarter(outcome: Outcome, until: float) -> float:
    """Give the mean reward of the last quarter of the trials recorded by then."""
    recorded = sorted(
        (trial for trial in outcome.trials if trial.recorded_at <= until),
        key=lambda trial: trial.record_number,
    )
    return mean(trial.reward for trial in recorded[-len(recorded) // 4 :])


def spread(numbers: list[float]) -> str:
    """Give the mean, and the standard deviation over the seeds."""
    return f"{mean(numbers):.3f} ± {stdev(numbers):.3f}"


def main() -> None:
    """Simulate, and print the tables."""
    parser = argparse.ArgumentParser(description="Rounds of children, or one by one?")
    parser.add_argument("--short", action="store_true", help="K = 20, and fewer trials and seeds")
    parser.add_argument("--trials", type=int, help="12,800; 640 if --short")
    parser.add_argument("--seeds", type=int, help="3; 2 if --short")
    arguments = parser.parse_args()
    num_replicas, num_trials, num_seeds = (20, 640, 2) if arguments.short else (100, 12_800, 3)
    num_trials, num_seeds = arguments.trials or num_trials, arguments.seeds or num_seeds
    torch.set_num_threads(1)
    begin = time.perf_counter()
    setup = Setup(
        RoundSettings(), num_replicas, 8, num_trials, ScheduleSettings(), latency_s=LATENCY_S
    )
    print(f"K = {num_replicas}, m = 8, {num_trials} trials; {machine('torch')}\n")
    print(
        "| networks | dispatch | seconds of a child | utilization until the last began "
        "| until the last ended | hours | staleness: mean, 95% | since sampling |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for row in utilization_rows(setup):
        print(row, flush=True)
    print(
        "\n| dispatch | correction | mean reward, last quarter | by the time the first ended "
        "| hours | staleness: mean, 95% | since sampling |"
    )
    print("|---|---|---|---|---|---|---|")
    for row in learning_rows(setup, range(num_seeds)):
        print(row, flush=True)
    print(f"\n{time.perf_counter() - begin:.0f} s")


if __name__ == "__main__":
    main()
