"""The export of a trial: what it was, its weights, its files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from child.metric import Metric
from deploy.count import counted
from deploy.export.exported import write_export
from deploy.export.finding import Finding
from deploy.export.folder import check_free, new_folder
from deploy.export.planning import export_plan
from deploy.export.trained import TrainedNetwork, trained_network
from deploy.export.trial import trial_to_export
from deploy.known_trial import KnownTrial
from deploy.run import Run
from deploy.settings import NetworkSearchSettings


def export_trial(
    run: Run, name: str, folder: Path, say: Callable[[str], None], *, with_onnx: bool
) -> None:
    """Write the network of a trial to a new folder, which is whole or not there.

    Args:
        name: the number of a trial, or best.
        say: told what is done.

    Raises:
        CannotExport: there is no such trial, it has no network, or the folder is taken.
        ExportError: it cannot be trained again, or what was written does not answer as it should.
        RunError, LedgerError, SettingsError, DataError: the search or its data cannot be read.
    """
    check_free(folder)
    known = trial_to_export(run, name)
    row = known.row
    with run.ledger() as ledger:
        num_recorded = ledger.progress().num_recorded
    settings = run.network_settings
    task = settings.task
    architecture = task.architecture(row.architecture or {})
    data = settings.data.load()
    trained = trained_network(run, row, settings, architecture, data.search, say)
    finding = _finding(run, settings, num_recorded, known, trained)
    if finding.note:
        say(
            "its validation figures are not exactly those of the search, as happens on other "
            f"processors: {task.metric.name} {task.metric.text(trained.validations[-1])} after the "
            f"last epoch, and {task.metric.text((row.validations or [0.0])[-1])} in the search"
        )
    plan = export_plan(settings, architecture, data.search)
    with new_folder(folder) as beside:
        write_export(
            beside, plan, finding, row.architecture or {}, trained.network, with_onnx=with_onnx
        )
    last, metric = trained.validations[-1], task.metric
    with_these = f" ({metric.text(last)} with these weights)" if last != row.validation else ""
    say(f"trial {row.trial}, {finding.figures}{with_these}: see {folder / 'README.md'}")


def _finding(
    run: Run,
    settings: NetworkSearchSettings,
    num_recorded: int,
    known: KnownTrial,
    trained: TrainedNetwork,
) -> Finding:
    row, task, metric = known.row, settings.task, settings.task.metric
    architecture = task.architecture(row.architecture or {})
    assert row.validation is not None, "a completed trial has been validated"
    is_reproduced = list(trained.validations) == row.validations
    test = trained.test if known.test is None else known.test
    is_tested = trained.test is not None or is_reproduced
    search = (
        f"trial {row.trial} of {num_recorded:,}, on the data {settings.data.name} "
        f"({settings.strategy}, seed {settings.seed})"
    )
    tested = "" if test is None else f"test {metric.name} {metric.text(test)}, "
    parameters = f"{row.num_parameters or 0:,}"
    return Finding(
        title=f"Trial {row.trial} of {run.path.name}",
        trial=row.trial,
        search=search,
        text=str(architecture),
        legend=task.legend(str(architecture)),
        details=task.details(architecture),
        figures=f"validation {metric.name} {metric.text(row.validation)}, {tested}"
        f"{parameters} parameters",
        numbers={
            f"validation {metric.name}": f"{metric.text(row.validation)}, {_epochs(settings)}",
            "with these weights": f"{metric.text(trained.validations[-1])}, after the last epoch",
            f"test {metric.name}": _tested(metric, test, is_tested=is_tested),
            "parameters": parameters,
            "found as": search,
        },
        note=""
        if is_reproduced
        else "The weights are of another training from the same seed, which did not repeat the "
        "validation figures of the search exactly, as happens on other processors.",
    )


def _epochs(settings: NetworkSearchSettings) -> str:
    training = settings.training
    num_last = min(training.num_epochs, training.reward_epochs)
    which = f"the best of the last {num_last}" if num_last > 1 else "after the last"
    return f"{which} of {counted(training.num_epochs, 'epoch')}"


def _tested(metric: Metric, test: float | None, *, is_tested: bool) -> str:
    if test is None:
        return "not tested"
    what = "tested once" if is_tested else "tested once, with other weights"
    return f"{metric.text(test)}, {what}"
