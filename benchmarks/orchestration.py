"""What does it cost to run a search, beside the training of its children?

    pip install "ray[tune]" optuna                # to have them in the table
    python benchmarks/orchestration.py            # about 10 minutes on 2 cores
    python benchmarks/orchestration.py --short    # under 2 minutes, nasrl and the bare loop alone

Children that cost nothing: trials per second of a search of 8 decisions, in the second half of its
trials, when all child workers have started.

    nasrl        the real processes: 2 replicas of 8 children; every trial and push durable in the
                 ledger, every gradient in the journals of two shards
    Tune         Ray Tune, a trainable that reports once; with new actors, and with reused ones
    Optuna       its random sampler with its storage in SQLite, in one process
    bare loop    the same controller and shard in one process, with no memory: the limit

Children of about a second: trials per hour of a search, one replica of m = 8 that pushes every 8
results; of the same children in as many bare processes, which is as fast as they can be trained
here; and in Ray's actors, with nobody who samples, records or learns: what Ray leaves of that.

The first child: seconds from the command to the begin of the first training.

All take turns, in rounds; printed are medians, the range over the rounds, and medians of the ratios
within a round.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import logging
import multiprocessing
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import ray
import torch
from free_children import FreeSearchSettings, accuracy_of
from machine import is_installed, machine

from child.training import ChildTrainer
from controller import seeds
from controller.children import Child
from controller.reinforce import Reinforce
from controller.trial import Trial
from deploy.cluster import cluster
from deploy.launch import run_search
from deploy.run import Run
from deploy.settings_file import load_settings
from deploy.status import Status
from ps.plan import ShardPlan
from ps.push import Push
from ps.store import Store
from workers.child import spawn_child_worker
from workers.process import ProcessSetup
from workers.remote import THIS_MACHINE
from workers.slots import Slot

# Two layers of four choices each.
EIGHT_DECISIONS = [
    "schedule.num_layers=2",
    "space.filter_heights=[1, 3, 5]",
    "space.filter_widths=[1, 3, 5]",
    "space.stride_heights=[1, 2]",
    "space.num_filters=[8, 16, 24, 32]",
    "training.num_epochs=1",
]
OF_A_SECOND = [
    "training.num_epochs=8",
    "num_replicas=1",
    "children.per_replica=8",
    "rounds.dispatch=continuous",
]
CHOICES = {
    f"{name}_{layer}": values
    for layer in range(2)
    for name, values in (
        ("height", (1, 3, 5)),
        ("width", (1, 3, 5)),
        ("stride", (1, 2)),
        ("num_filters", (8, 16, 24, 32)),
    )
}
OF_ONE_CORE = Slot(THIS_MACHINE, num_cpus=1.0, num_gpus=0.0)


class Silent:
    """Watches a search, and says nothing."""

    def say(self, text: str) -> None:
        """Keep an event to oneself."""

    def show(self, status: Status) -> None:
        """Keep the progress to oneself."""


def free_settings(num_trials: int, **changes: object) -> FreeSearchSettings:
    """Give a search of free children, on two replicas of eight."""
    overrides = [
        *EIGHT_DECISIONS,
        f"num_trials={num_trials}",
        "num_replicas=2",
        "children.per_replica=8",
        "children.num_cpus=0.1",
        *(f"{key}={value}" for key, value in changes.items()),
    ]
    return FreeSearchSettings.model_validate(load_settings(overrides=overrides).model_dump())


def nasrl(num_trials: int) -> float:
    """Run a whole search of free children; give its trials/s."""
    with tempfile.TemporaryDirectory() as home:
        run = Run.create(Path(home) / "run", settings := free_settings(num_trials))
        trials = run_search(settings, run, Silent(), lambda: False).trials
    assert len(trials) == num_trials
    return rate([trial.recorded_at or 0 for trial in trials])


def rate(ended_at: Sequence[float]) -> float:
    """Give trials/s in the second half of the trials, from when each ended, in seconds."""
    second_half = sorted(ended_at)[len(ended_at) // 2 :]
    return (len(second_half) - 1) / (second_half[-1] - second_half[0])


def bare_loop(num_trials: int) -> float:
    """Sample, reward, learn in one process; give trials/s."""
    settings = free_settings(num_trials, num_shards=1)
    space, per_push = settings.task.space, settings.children.per_replica
    strategy = Reinforce.untrained(
        space, settings.policy, settings.seed, settings.num_shards, settings.deepest
    )
    untrained = settings.untrained()
    store = Store(ShardPlan(untrained.layout, 0, settings.optimizer, settings.updates))
    store.initialize(hashlib.sha256(untrained.values.data).digest(), untrained.values)
    average, ended_at = 0.0, []
    for sequence, first in enumerate(range(1, num_trials + 1, per_push), start=1):
        strategy.load(store.values)
        depths = [2] * min(per_push, num_trials + 1 - first)
        rollouts = strategy.sample(
            depths, [seeds.rollout_generator(0, first + place) for place in range(len(depths))]
        )
        rewards = [accuracy_of(space.decode(rollout.choices, 2)) for rollout in rollouts]
        gradient = strategy.gradient(depths, rollouts, [reward - average for reward in rewards])
        average = 0.9 * average + 0.1 * sum(rewards) / len(rewards)
        store.push(Push(0, sequence, 1, store.version, gradient))
        ended_at += [time.perf_counter()] * len(depths)
    return rate(ended_at)


def reward_of(choices: dict[str, Any]) -> float:
    """Give what the sizes of two layers would earn."""
    return sum(choices[f"num_filters_{layer}"] / 32 for layer in range(2)) / 2


def tune(num_trials: int, *, is_reusing: bool) -> float:
    """Run free trials under Ray Tune; give trials/s."""
    from ray import tune as ray_tune

    def trainable(config: dict[str, Any]) -> None:
        ray_tune.report({"reward": reward_of(config), "ended_at": time.time()})

    ray.init(num_cpus=os.cpu_count(), log_to_driver=False, include_dashboard=False)
    try:
        with tempfile.TemporaryDirectory() as home:
            tuner = ray_tune.Tuner(
                ray_tune.with_resources(trainable, {"cpu": 0.25}),
                param_space={name: ray_tune.choice(list(v)) for name, v in CHOICES.items()},
                tune_config=ray_tune.TuneConfig(
                    num_samples=num_trials, reuse_actors=is_reusing, metric="reward", mode="max"
                ),
                run_config=ray_tune.RunConfig(storage_path=home, verbose=0),
            )
            results = tuner.fit()
            assert len(results) == num_trials
            assert not results.errors
            return rate([result.metrics["ended_at"] for result in results])
    finally:
        ray.shutdown()


def optuna(num_trials: int) -> float:
    """Run free trials under Optuna; give trials/s."""
    import optuna as library

    library.logging.set_verbosity(library.logging.ERROR)

    def objective(trial: Any) -> float:
        return reward_of(
            {name: trial.suggest_categorical(name, values) for name, values in CHOICES.items()}
        )

    with tempfile.TemporaryDirectory() as home:
        study = library.create_study(
            storage=f"sqlite:///{home}/study.sqlite",
            sampler=library.samplers.RandomSampler(seed=0),
            direction="maximize",
        )
        study.optimize(objective, n_trials=num_trials)
        return rate([trial.datetime_complete.timestamp() for trial in study.trials])


def search_of_a_second(num_trials: int, home: Path) -> tuple[float, float, list[Trial]]:
    """Run `nasrl search` on digits: trials/s, seconds to the first training, and its trials."""
    path = home / "run"
    changes = [*OF_A_SECOND, f"num_trials={num_trials}"]
    begin = time.time()
    subprocess.run(
        [sys.executable, "-m", "nasrl", "search", "--run-dir", str(path)]
        + [f"--set={change}" for change in changes],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    with Run(path).ledger() as ledger:
        trials = ledger.trials()
    begun = [(t.recorded_at or 0) - (t.seconds or 0) for t in trials]
    ended = [t.recorded_at or 0 for t in trials]
    return len(trials) / (max(ended) - min(begun)), min(begun) - begin, trials


def bare_processes(trials: Sequence[Trial]) -> float:
    """Train the same children in as many processes as there are cores; give trials/s."""
    context = multiprocessing.get_context("spawn")
    num_processes = os.cpu_count() or 1
    ready, go = context.Barrier(num_processes + 1), context.Event()
    jobs: Any = context.Queue()
    ended_at: Any = context.SimpleQueue()
    for trial in trials:
        jobs.put(([choice for _, choice in trial.decisions or ()], trial.depth, trial.seed))
    for _ in range(num_processes):
        jobs.put(None)
    processes = [
        context.Process(target=train_all, args=(jobs, ready, go, ended_at))
        for _ in range(num_processes)
    ]
    for process in processes:
        process.start()
    ready.wait()
    begin = time.monotonic()
    go.set()
    end = max(ended_at.get() for _ in processes)
    for process in processes:
        process.join()
        assert process.exitcode == 0
    return len(trials) / (end - begin)


def actors_alone(trials: Sequence[Trial], home: Path) -> float:
    """Train the same children in child workers that are only handed them; give trials/s."""
    settings = load_settings(overrides=OF_A_SECOND)
    data = settings.data.load().search
    children = [
        Child(trial.trial, settings.task.space.decode(choices, trial.depth), trial.seed or 0)
        for trial in trials
        for choices in [[choice for _, choice in trial.decisions or ()]]
    ]
    with cluster(settings, home, Silent().say):
        reference, setup = ray.put(data), ProcessSetup(home)
        workers = [
            spawn_child_worker(setup, f"child-{number}", settings.task, reference, OF_ONE_CORE)
            for number in range(os.cpu_count() or 1)
        ]
        ray.get([worker.ping.remote() for worker in workers])
        begin = time.monotonic()
        training = {worker.train.remote(children.pop()): worker for worker in workers}
        while training:
            [ended], _ = ray.wait(list(training))
            worker = training.pop(ended)
            ray.get(ended)
            if children:
                training[worker.train.remote(children.pop())] = worker
        return len(trials) / (time.monotonic() - begin)


def train_all(jobs: Any, ready: Any, go: Any, ended_at: Any) -> None:
    """Train children until there are none, in a process of its own, and give when that was."""
    torch.set_num_threads(1)
    settings = load_settings(overrides=OF_A_SECOND)
    data = settings.data.load().search
    task = settings.task
    trainer = ChildTrainer(task.passes(data, torch.device("cpu")))
    gc.collect()
    gc.freeze()  # as a child worker does, which makes its looks for cycles short
    ready.wait()
    go.wait()
    while (job := jobs.get()) is not None:
        choices, depth, seed = job
        architecture = task.space.decode(choices, depth)
        trainer.train(partial(task.build, architecture, data), seed)
    ended_at.put(time.monotonic())


def free_rows(num_rounds: int, num_trials: int, is_short: bool) -> list[str]:
    """Measure trials of children that cost nothing, in turns; give the rows of the table."""
    ways: dict[str, Callable[[], float]] = {
        "nasrl": partial(nasrl, num_trials),
        "bare loop": partial(bare_loop, num_trials),
    }
    if not is_short and is_installed("tensorboardX"):
        for name, is_reusing in (("Tune", False), ("Tune, reused actors", True)):
            ways[name] = partial(tune, max(20, num_trials // 80), is_reusing=is_reusing)
    if not is_short and is_installed("optuna"):
        ways["Optuna"] = partial(optuna, max(50, num_trials // 8))
    found: dict[str, list[float]] = defaultdict(list)
    for _ in range(num_rounds):
        for name, way in ways.items():
            found[name].append(way())
            print(f"{name}: {found[name][-1]:.1f} trials/s", file=sys.stderr)
    return [
        f"| {name} | {median(rates):.1f} | {min(rates):.1f} to {max(rates):.1f} "
        f"| {median(a / b for a, b in zip(found['nasrl'], rates, strict=True)):.2f} |"
        for name, rates in found.items()
    ]


def real_rows(num_rounds: int, num_trials: int) -> list[str]:
    """Measure a search of children of about a second, and the same children in bare processes."""
    searched, bare, alone, waited, seconds = [], [], [], [], []
    for number in range(num_rounds):
        with tempfile.TemporaryDirectory() as home:
            per_s, first_s, trials = search_of_a_second(num_trials, Path(home))
            alone.append(actors_alone(trials, Path(home)))
        searched.append(per_s)
        waited.append(first_s)
        seconds += [trial.seconds or 0 for trial in trials]
        bare.append(bare_processes(trials))
        print(
            f"round {number}: {per_s:.2f}, {bare[-1]:.2f} and {alone[-1]:.2f} trials/s, first "
            f"child after {first_s:.1f} s",
            file=sys.stderr,
        )
    ratios = [a / b for a, b in zip(searched, bare, strict=True)]
    of_ray = [a / b for a, b in zip(alone, bare, strict=True)]
    return [
        f"Children of {median(seconds):.2f} s (median): {median(searched) * 3600:.0f} trials/h of "
        f"nasrl, {median(bare) * 3600:.0f} in {os.cpu_count()} bare processes; ratio "
        f"{median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f}); of Ray's actors alone "
        f"{median(of_ray):.3f} ({min(of_ray):.3f} to {max(of_ray):.3f}).",
        f"First child in training {median(waited):.1f} s after the command "
        f"({min(waited):.1f} to {max(waited):.1f}).",
    ]


def main() -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description="What does it cost to run a search?")
    parser.add_argument("--short", action="store_true", help="one small round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--free-trials", type=int, default=4000)
    parser.add_argument("--real-trials", type=int, default=60)
    arguments = parser.parse_args()
    if arguments.short:
        arguments.rounds, arguments.free_trials, arguments.real_trials = 1, 1200, 20
    logging.disable(logging.INFO)
    os.environ["PYTHONPATH"] = str(Path(__file__).parent)  # where workers find free_children
    random.seed(0)
    torch.set_num_threads(1)
    free = free_rows(arguments.rounds, arguments.free_trials, arguments.short)
    real = real_rows(arguments.rounds, arguments.real_trials)
    print(machine("torch", "ray", "optuna"))
    print(f"{arguments.rounds} rounds of {arguments.free_trials} free trials\n")
    print("| | trials/s | min to max | nasrl is times as fast |\n|---|---|---|---|")
    print("\n".join([*free, "", *real]))


if __name__ == "__main__":
    main()
