"""What came of the trainings after a search, in some lines for a person."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from statistics import mean, median

from child.metric import Metric
from deploy.count import counted
from deploy.export.retrained import final_name
from deploy.retrain.after_search import RetrainResult
from deploy.retrain.retraining import Outcome
from deploy.settings import NetworkSearchSettings, SplitData

NUM_SHOWN = 5


def summarize_retraining(
    result: RetrainResult, search: NetworkSearchSettings, data: SplitData, path: Path, program: str
) -> str:
    """Say what came of the trainings, and what to do next.

    Args:
        program: what the user typed to run nasrl.
    """
    return "\n".join(_lines(result, search, data, path, program))


def _lines(
    result: RetrainResult, search: NetworkSearchSettings, data: SplitData, path: Path, program: str
) -> Iterator[str]:
    metric, unit = search.task.metric, search.task.unit
    minutes, seconds = divmod(round(result.seconds), 60)
    took = f" in {minutes} min {seconds} s" if result.num_new else ""
    yield f"Retraining finished: {counted(result.num_new, 'new training')}{took}."
    yield ""
    num_train, num_validation = len(data.search.train), len(data.search.validation)
    yield (
        f"Grid           {metric.name} on {num_validation:,} {unit} to validate on, of networks "
        f"trained on {num_train:,}"
    )
    for outcome in result.grid[:NUM_SHOWN]:
        of = f"trial {outcome.candidate.trial.trial}, {outcome.candidate.point}"
        yield f"{_validation(outcome, metric):>13}  {of}"
    if rest := result.grid[NUM_SHOWN:]:
        num_infeasible = sum(not outcome.is_feasible for outcome in rest)
        noted = f", of which {num_infeasible:,} could not be trained" if num_infeasible else ""
        yield f"               and {len(rest):,} more{noted}"
    if not result.final:
        yield "               none of them could be trained to its end with every seed"
        return
    yield ""
    ended = [record.is_converged for outcome in result.final for record in outcome.records]
    yield (
        f"Final          trial {result.final[0].candidate.trial.trial}, trained on all "
        f"{num_train + num_validation:,} {unit}{' until it converged' if all(ended) else ''}"
    )
    for outcome in result.final:
        yield from _final(outcome, metric)
    yield (
        f"               on {len(data.test):,} {unit} that no network had met; each network is "
        "tested once"
    )
    if result.searched is not None:
        yield (
            f"  in search    {_text(metric, result.searched)}: the network that the search tested"
        )
    yield ""
    run = shlex.quote(str(path))
    tested = [[r for r in outcome.records if r.test is not None] for outcome in result.final]
    for number, records in enumerate(filter(None, tested)):
        label = "Next" if not number else ""
        yield f"{label:<14} {program} export {run} {final_name(records[0])} -o network"


def _final(outcome: Outcome, metric: Metric) -> Iterator[str]:
    label = str(outcome.candidate.point)
    if label:
        yield f"  {label}"
    tests = outcome.tests
    for record in outcome.records:
        if record.state == "infeasible":
            yield f"               one could not be trained: {record.reason}"
    if not tests:
        return
    epochs = [len(record.losses or ()) for record in outcome.records if record.test is not None]
    num_unfinished = sum(record.is_converged is False for record in outcome.records)
    spread = outcome.spread
    sizes = sorted({record.num_parameters for record in outcome.records})
    if spread is None:
        yield f"  test         {_text(metric, tests[0])}"
    else:
        yield (
            f"  test         {_text(metric, mean(tests))}, standard deviation "
            f"{metric.text(spread)} over {len(tests)} seeds ({metric.text(min(tests))} to "
            f"{metric.text(max(tests))})"
        )
    yield (
        f"               {counted(sizes[-1], 'parameter')}; {median(epochs):g} epochs (median)"
        + (
            f"; {num_unfinished} had not converged when final.max_epochs ended them"
            if num_unfinished
            else ""
        )
    )


def _validation(outcome: Outcome, metric: Metric) -> str:
    if outcome.validation is None:
        return "infeasible"
    return metric.text(outcome.validation)


def _text(metric: Metric, figure: float) -> str:
    text = metric.text(figure)
    return text if text.endswith("%") else f"{metric.name} {text}"
