"""The export of a trial: what it was, its weights, its files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from child.images.task import ImageTask
from child.language.task import LanguageTask
from deploy.count import counted
from deploy.export.exported import write_export
from deploy.export.finding import Finding
from deploy.export.folder import check_free, new_folder
from deploy.export.image_plan import image_plan
from deploy.export.language_plan import language_plan
from deploy.export.plan import ExportPlan
from deploy.export.trained import TrainedNetwork, trained_network
from deploy.export.trial import trial_to_export
from deploy.known_trial import KnownTrial
from deploy.run import Run
from deploy.settings import SearchSettings


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
    settings = run.settings
    task = settings.task
    architecture = task.architecture(row.architecture or {})
    data = settings.data.load()
    trained = trained_network(run, row, settings, architecture, data.search, say)
    finding = _finding(run, settings, num_recorded, known, trained)
    if not finding.is_reproduced:
        say(
            "its validation figures are not exactly those of the search, as happens on other "
            f"processors: {task.metric.name} {task.metric.text(trained.validations[-1])} after the "
            f"last epoch, and {task.metric.text((row.validations or [0.0])[-1])} in the search"
        )
    plan = _plan(settings, architecture, data.search)
    with new_folder(folder) as beside:
        write_export(
            beside, plan, finding, row.architecture or {}, trained.network, with_onnx=with_onnx
        )
    say(f"trial {row.trial}, {finding.figures}: see {folder / 'README.md'}")


def _plan(settings: SearchSettings, architecture: Any, data: Any) -> ExportPlan:
    match settings.task:
        case ImageTask() as task:
            return image_plan(task, architecture, data, settings.data.class_names)
        case LanguageTask() as task:
            size = task.size(architecture, data)
            assert size is not None, "the model has been built"
            return language_plan(task, architecture, data, size)
        case other:
            raise AssertionError(f"{other}: must be one of the kinds of search")


def _finding(
    run: Run,
    settings: SearchSettings,
    num_recorded: int,
    known: KnownTrial,
    trained: TrainedNetwork,
) -> Finding:
    row, task, training = known.row, settings.task, settings.training
    architecture = task.architecture(row.architecture or {})
    num_last = min(training.num_epochs, training.reward_epochs)
    assert row.validation is not None, "a completed trial has been validated"
    is_reproduced = list(trained.validations) == row.validations
    return Finding(
        run=run.path.name,
        trial=row.trial,
        search=f"trial {row.trial} of {num_recorded:,}, on the data {settings.data.name} "
        f"({settings.strategy}, seed {settings.seed})",
        text=str(architecture),
        legend=task.legend(str(architecture)),
        details=task.details(architecture),
        metric=task.metric,
        validation=row.validation,
        last_validation=trained.validations[-1],
        epochs=f"the best of the last {num_last} of {counted(training.num_epochs, 'epoch')}"
        if num_last > 1
        else f"after the last of {counted(training.num_epochs, 'epoch')}",
        test=trained.test if known.test is None else known.test,
        num_parameters=row.num_parameters or 0,
        is_tested=trained.test is not None or is_reproduced,
        is_reproduced=is_reproduced,
    )
