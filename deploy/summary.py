"""What a search found, in a few lines for a person."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from statistics import mean, median
from textwrap import shorten

from child.costs import costs_of
from child.metric import Metric
from controller.records import Progress, PushRecord
from controller.trial import RECORDED, Trial
from deploy.count import counted
from deploy.go_on import go_on_command
from deploy.launch import SearchResult
from deploy.reasons import alike_reasons
from deploy.settings import NetworkSearchSettings, SearchSettings
from deploy.trial_metrics import metric_text

MIN_MOVING = 20  # with fewer trials, the means of their quarters are chance
MAX_WIDTH = 100
INDENT = " " * 15


def summarize(
    result: SearchResult,
    settings: SearchSettings,
    path: Path,
    program: str,
    *,
    is_job: bool = False,
) -> str:
    """Say how the search in the run directory at path ended, and what to do next.

    program is what the user typed to run nasrl; is_job whether it ran as a job of a cluster.
    """
    progress = result.progress
    lines = [_end(progress)]
    best = progress.best
    metric = progress.metric
    if best is not None and best.architecture_text is not None and best.validation is not None:
        printed = best.architecture_text
        said = settings.task.legend(printed)
        legend = said and f"({said})"
        one_line = f"{INDENT}{printed}   {legend}"
        is_short = not legend or len(one_line) <= MAX_WIDTH
        lines += [
            "",
            f"{_best(settings):<14} trial {best.trial}{_size(best)}",
            *([one_line.rstrip()] if is_short else [f"{INDENT}{printed}", f"{INDENT}{legend}"]),
            f"  validation   {_figure(metric, best.validation)}{_measured(settings, result)}",
            *_cost(settings, best),
        ]
        architecture = settings.task.architecture(best.architecture or {})
        details = settings.task.details(architecture).splitlines()
        lines += [f"  {'equations' if not n else '':<12} {line}" for n, line in enumerate(details)]
    if result.test is not None:
        lines.append(
            f"  test         {_figure(metric, result.test.figure)}, on {result.num_test:,} "
            f"{_unit(settings)} that no network had met; tested once"
        )
        if result.test.is_reproduced is False:
            lines.append(
                "               (trained again for the test, it did not repeat its validation "
                "figures exactly, as happens on GPUs)"
            )
    elif best is not None and isinstance(settings, NetworkSearchSettings):
        is_over = progress.state == "finished"
        go_on = go_on_command(path, is_job=is_job, program=program)
        why = (
            f"for the reason given above; this tests it: {go_on}"
            if is_over
            else "since the search has not finished"
        )
        lines.append(f"  test         left out, {why}")
    lines += [
        "",
        *_infeasible(result),
        *_movement(result.trials, metric),
        *_staleness(result.pushes),
        "",
        f"Run directory  {path}",
        "",
    ]
    return "\n".join([*lines, *_next(result, settings, path, program, is_job)])


def _end(progress: Progress) -> str:
    minutes, seconds = divmod(round(progress.seconds), 60)
    of_note = [
        f"{number} {what}"
        for number, what in (
            (progress.num_infeasible, "infeasible"),
            (progress.num_reused, "with the known reward of the same architecture"),
        )
        if number
    ]
    noted = f" ({', '.join(of_note)})" if of_note else ""
    # What came while the last networks were in training ended nothing any more.
    is_whole = progress.state == "finished" and progress.is_complete
    reason = f": {progress.reason}" if progress.reason and not is_whole else ""
    return (
        f"Search {progress.state}: {progress.num_recorded} of {progress.num_trials} trials{noted} "
        f"in {minutes} min {seconds} s{reason}."
    )


def _infeasible(result: SearchResult) -> list[str]:
    """Say why networks could not be trained, the most frequent reasons first."""
    kinds = [
        (len(alike), shorten(alike[0].reason, MAX_WIDTH)) for alike in alike_reasons(result.trials)
    ]
    if result.has_no_network:
        reasons = [f"{number:>13}  {reason}" for number, reason in kinds]
        return ["No network could be trained; how often, and why (the first time):", *reasons]
    whole = sum(number for number, _ in kinds)
    return [
        f"Infeasible     {whole}: {why}{'' if number == whole else f' ({number} like this)'}"
        for number, why in kinds[:1]
    ]


def _next(
    result: SearchResult, settings: SearchSettings, path: Path, program: str, is_job: bool
) -> list[str]:
    """Give commands to go on with, which can be pasted."""
    run = shlex.quote(str(path))
    trials = f"Next           {program} trials {run}"
    if result.has_no_network:
        failed = next((trial for trial in result.trials if trial.traceback), None)
        if failed is None:
            return [trials]
        return [trials, f"{INDENT}{program} show {run} {failed.trial}  # with the traceback"]
    if result.progress.state != "finished":
        go_on = go_on_command(path, is_job=is_job, program=program)
        return [f"{trials} --top 10", f"{INDENT}{go_on}  # goes on where it stopped"]
    report = f"{INDENT}{program} report {run} -o report.html  # how it went, for a browser"
    retrain = f"{INDENT}{program} retrain {run}  # trains the best ones longer, by better settings"
    export = f"{INDENT}{program} export {run} -o network  # the best one, as plain PyTorch and ONNX"
    found = [f"{trials} --top 10", report, retrain, export]
    if not isinstance(settings, NetworkSearchSettings):
        show = f"{INDENT}{program} show {run} --format json  # the best one, for your trainer"
        found = [f"{trials} --top 10", report, show]
    more = (f"num_trials={4 * settings.num_trials}", *_without_limits(settings))
    go_on = go_on_command(path, *more, is_job=is_job, program=program)
    if is_job:
        # Another search needs another place for its ledger, which nobody knows here.
        return [*found, f"{INDENT}{go_on}  # goes on"]
    again = f"{INDENT}{program} search {shlex.quote(str(path / 'settings.yaml'))} --set"
    is_random = settings.strategy == "random"
    other, how = ("reinforce", "with") if is_random else ("random", "without")
    # What holds this search already cannot hold another.
    places = {
        "ledger_url": settings.ledger_url,
        "shards.checkpoint_url": settings.shards.checkpoint_url,
    }
    anew = "".join(f" --set {name}=null" for name, place in places.items() if place is not None)
    return [
        *found,
        f"{again} strategy={other}{anew}  # the same {how} learning",
        f"{INDENT}{go_on}  # goes on",
    ]


def _without_limits(settings: SearchSettings) -> list[str]:
    """Give what lifts the limits that the search would end by again."""
    limits = {"time_limit_s": settings.time_limit_s, "target_reward": settings.target_reward}
    return [f"{name}=null" for name, limit in limits.items() if limit is not None]


def _figure(metric: Metric, figure: float) -> str:
    # A percentage says by itself what it is of.
    text = metric.text(figure)
    is_plain = text.endswith("%") or metric.name == "validation"
    return text if is_plain else f"{metric.name} {text}"


def _best(settings: SearchSettings) -> str:
    return "Best network" if isinstance(settings, NetworkSearchSettings) else "Best"


def _size(best: Trial) -> str:
    return f", {counted(best.num_parameters, 'parameter')}" if best.num_parameters else ""


def _cost(settings: SearchSettings, best: Trial) -> list[str]:
    """Say what the best one costs, where the reward minds."""
    name, target = settings.objective.cost, settings.objective.target
    cost = costs_of(best.num_parameters, best.metrics).get(name or "")
    if cost is None or target is None:
        return []
    return [f"  cost         {name} {metric_text(cost)}, aimed at {metric_text(target)}"]


def _measured(settings: SearchSettings, result: SearchResult) -> str:
    """Say what a validation figure is of, where we know."""
    if not isinstance(settings, NetworkSearchSettings):
        return ""
    training = settings.training
    num_last = min(training.num_epochs, training.reward_epochs)
    return (
        f", the best of the last {num_last} of {training.num_epochs} epochs, on "
        f"{result.num_validation:,} {settings.task.unit}"
    )


def _unit(settings: SearchSettings) -> str:
    assert isinstance(settings, NetworkSearchSettings), "others are not tested"
    return settings.task.unit


def _movement(trials: Sequence[Trial], metric: Metric) -> list[str]:
    """Say how rewards and figures moved, in quarters of the recorded trials, as they ended."""
    recorded = sorted(
        (t for t in trials if t.state in RECORDED), key=lambda t: t.record_number or 0
    )
    if len(recorded) < 4:
        return [f"Rewards        {', '.join(f'{t.reward:.3f}' for t in recorded) or 'none'}"]
    if len(recorded) < MIN_MOVING:
        average = mean(t.reward or 0 for t in recorded)
        return [f"Rewards        mean {average:.3f} (too few trials to say how they moved)"]
    bounds = [len(recorded) * quarter // 4 for quarter in range(5)]
    quarters = [recorded[a:b] for a, b in pairwise(bounds)]
    rewards = (f"{mean(t.reward or 0 for t in quarter):.3f}" for quarter in quarters)
    figures = (_median(quarter, metric) for quarter in quarters)
    return [
        "Rewards        " + " -> ".join(rewards) + "   (mean of each quarter of the trials)",
        f"  {metric.name:<12} " + " -> ".join(figures) + "   (medians)",
    ]


def _median(trials: Sequence[Trial], metric: Metric) -> str:
    seen = [t.validation for t in trials if t.validation is not None]
    return metric.text(median(seen)) if seen else "none"


def _staleness(pushes: Sequence[PushRecord]) -> list[str]:
    """Say how asynchronous the search was."""
    seen = [staleness for push in pushes for staleness in push.staleness or ()]
    if not seen:
        return ["Staleness      no push"]
    lines = [
        f"Staleness      mean {mean(seen):.2f}, max {max(seen)} (pushes of others between a "
        f"replica's pull and its push), {counted(len(pushes), 'push', 'pushes')}"
    ]
    sampled = [staleness for push in pushes for staleness in push.sample_staleness or ()]
    if sampled != seen:
        lines.append(
            f"  of samples   mean {mean(sampled):.2f}, max {max(sampled)} (since its oldest "
            "architecture was sampled)"
        )
    return lines
