"""Searches to report on: made up, but with architectures that can be drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from support.rounds import record_one

from child.result import TrialResult
from controller.baseline import Baseline
from controller.ledger import Ledger
from controller.random_search import RandomSearch
from controller.records import PushRecord, SearchRecord
from controller.trial import Start, Trial
from deploy.report.facts import Facts
from deploy.run import Run
from deploy.settings import SearchSettings

VERSIONS = {"nasrl": "0.1.0", "python": "3.11.7"}


def starts(settings: SearchSettings, number: int, seed: int = 0) -> list[Start]:
    """Sample trials of a search without learning."""
    space, depth = settings.task.space, settings.depths.depth(1)
    generators = [np.random.default_rng((seed, trial)) for trial in range(number)]
    rollouts = RandomSearch(space, 1).sample([depth] * number, generators)
    made = []
    for trial, rollout in enumerate(rollouts, start=1):
        choices, kinds = rollout.choices, []
        while decision := space.next_decision(choices[: len(kinds)], depth):
            kinds.append(decision.kind)
        architecture = space.decode(choices, depth)
        made.append(
            Start(
                trial, tuple(zip(kinds, choices, strict=True)), rollout.log_probs,
                architecture.to_json(), str(architecture), trial, (trial,),
            )
        )  # fmt: skip
    return made


def search_run(
    path: Path, settings: SearchSettings, results: Sequence[TrialResult], seed: int = 0
) -> Run:
    """Make the run of a search that has ended with these results, each pushed alone."""
    run, number = Run.create(path, settings), max(len(results), 1)
    record = SearchRecord(
        number, Baseline(0.9), settings.depths, settings.task.metric, settings.shown, VERSIONS
    )
    clock = iter(range(1_800_000_000, 1_900_000_000)).__next__
    with Ledger.create(run.ledger_url, record, clock) as ledger:
        life = ledger.begin_life("here", 1)
        owner = ledger.enlist(0, life).owner
        for start, result in zip(starts(settings, len(results), seed), results, strict=True):
            trial = start.trial
            ledger.reserve(owner, 1)
            ledger.start(owner, [start])
            record_one(ledger, owner, trial, result)
            ledger.open_push(owner, [trial], (trial,), (trial,), b"1234")
            ledger.close_push(owner, trial, (trial + 1,), (trial % 3,), (trial % 3,))
        ledger.end(life, "finished" if results else "stopped", "" if results else "by hand")
    run.mark_begun()
    return run


def trial(number: int, **changes: Any) -> Trial:
    """Give a trial that completed, of an architecture of its own."""
    fields: dict[str, Any] = {
        "trial": number, "state": "completed", "replica": 0, "incarnation": 1, "depth": 1,
        "reserved_at": float(number), "started_at": float(number), "recorded_at": float(number),
        "record_number": number, "decisions": None, "log_probs": None, "architecture": None,
        "architecture_text": f"number {number}", "architecture_sha256": f"sha of {number}",
        "seed": number, "versions": [number], "reward": 0.5, "baseline": 0.0,
        "validations": [0.5], "validation": 0.5, "num_parameters": 10, "seconds": 1.0,
        "reason": "", "is_out_of_memory": False, "traceback": "", "metrics": {},
        "reused_from": None,
        "push_replica": 0, "push_sequence": number,
    }  # fmt: skip
    return Trial(**(fields | changes))


def trials_of(settings: SearchSettings, number: int, reward: Callable[[int], float]) -> list[Trial]:
    """Give trials with architectures of the space, and rewards by their number."""
    depth = settings.depths.depth(1)
    return [
        trial(
            start.trial, depth=depth, decisions=list(start.decisions),
            log_probs=list(start.log_probs), architecture=start.architecture,
            architecture_text=start.architecture_text,
            architecture_sha256=start.architecture_sha256, reward=reward(start.trial),
            validation=reward(start.trial),
        )
        for start in starts(settings, number)
    ]  # fmt: skip


def push(number: int, staleness: int, sample_staleness: int | None = None) -> PushRecord:
    """Give a push that one shard has acknowledged."""
    sampled = staleness if sample_staleness is None else sample_staleness
    return PushRecord(
        0, number, 1, (number,), [number], [number], None, float(number), float(number),
        [number + 1], [staleness], [sampled],
    )  # fmt: skip


def facts_of(
    settings: SearchSettings, trials: Sequence[Trial], progress: Any, **changes: Any
) -> Facts:
    """Give what would be read of a search with these trials."""
    fields: dict[str, Any] = {
        "name": "run", "pushes": [], "tests": {}, "trainings": [], "versions": VERSIONS,
    } | changes  # fmt: skip
    return Facts(settings=settings, trials=trials, progress=progress, **fields)
