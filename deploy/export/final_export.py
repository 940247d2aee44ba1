"""The export of a network that was trained to its end after the search."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from controller.retraining import TrainingRecord
from controller.seeds import final_seed
from deploy.count import counted
from deploy.export.errors import CannotExport
from deploy.export.exported import write_export
from deploy.export.finding import Finding
from deploy.export.folder import check_free, new_folder
from deploy.export.planning import export_plan
from deploy.export.trained import loaded
from deploy.retrain.final_network import FinalNetwork
from deploy.run import Run
from deploy.settings import SearchSettings
from deploy.settings_file import checked
from deploy.weights_file import WeightsFileError

RETRAINED = "retrained"
_NAME_LENGTH = 8


def is_of_final(name: str) -> bool:
    """Tell whether what is to be exported is a network that was trained to its end."""
    return name.split("-")[0] == RETRAINED


def final_name(record: TrainingRecord) -> str:
    """Give the name by which the network of a final training is exported."""
    return f"{RETRAINED}-{record.sha256[:_NAME_LENGTH]}"


def export_final(
    run: Run, name: str, folder: Path, say: Callable[[str], None], *, with_onnx: bool
) -> None:
    """Write a network that was trained to its end to a new folder, which is whole or not there.

    Args:
        name: `retrained`, where there is one kind of them, or as `final_name` has it.
        say: told what is done.

    Raises:
        CannotExport: there is no such network, or the folder is taken.
        ExportError: what was written does not answer as it should.
        RunError, LedgerError, SettingsError, DataError: the search or its data cannot be read.
    """
    check_free(folder)
    with run.ledger() as ledger:
        records = [row for row in ledger.trainings() if row.stage == "final"]
    record = _chosen(run, records, name)
    try:
        kept = FinalNetwork.find(run, record.sha256)
    except WeightsFileError as error:
        raise CannotExport(str(error)) from error
    if kept is None:
        raise CannotExport(
            f"{run.final_network_path(record.sha256)} is gone, with the weights of "
            f"{final_name(record)}; restore it"
        )
    settings = _settings_of(run.settings, record)
    architecture = settings.task.architecture(record.architecture)
    data = settings.data.load()
    network = loaded(settings.task.build(architecture, data.search), kept.weights)
    plan = export_plan(settings, architecture, data.search.with_validation())
    finding = _finding(run, settings, record, records)
    with new_folder(folder) as beside:
        write_export(beside, plan, finding, record.architecture, network, with_onnx=with_onnx)
    say(f"{final_name(record)}, {finding.figures}: see {folder / 'README.md'}")


def _chosen(run: Run, records: Sequence[TrainingRecord], name: str) -> TrainingRecord:
    """Give the record of that name.

    Of networks that differ in their seed alone it is that of the first seed: to take the one that
    tests best would be to choose by the test.
    """
    trained = [record for record in records if record.state == "completed"]
    if not trained:
        raise CannotExport(
            f"{run.path} has no network that was trained to its end; nasrl retrain {run.path} "
            "trains some"
        )
    if name != RETRAINED:
        found = [record for record in trained if final_name(record) == name]
        if found:
            return found[0]
    firsts = _first_of_each_kind(run, trained)
    if name == RETRAINED and len(firsts) == 1:
        return firsts[0]
    known = ", ".join(
        f"{final_name(r)} ({r.num_parameters:,} parameters, "
        f"{counted(len(r.losses or ()), 'epoch')})"
        for r in firsts
    )
    raise CannotExport(f"trial={name}: must be one of the retrained networks: {known}")


def _first_of_each_kind(run: Run, records: Sequence[TrainingRecord]) -> list[TrainingRecord]:
    """Give, of networks that differ in their seed alone, that of the earliest seed there is."""
    number = {final_seed(run.settings.seed, n): n for n in range(1, 1 + 1000)}
    firsts: list[TrainingRecord] = []
    for record in sorted(records, key=lambda record: number.get(record.seed, len(number) + 1)):
        if not any(_is_alike(record, first) for first in firsts):
            firsts.append(record)
    return firsts


def _is_alike(one: TrainingRecord, other: TrainingRecord) -> bool:
    return (one.architecture, one.settings) == (other.architecture, other.settings)


def _settings_of(search: SearchSettings, record: TrainingRecord) -> SearchSettings:
    data = search.model_dump(mode="json")
    parts = {name: part for name, part in record.settings.items() if name in data}
    return checked({**data, **parts}, type(search), f"training {record.sha256[:16]}")


def _finding(
    run: Run,
    settings: SearchSettings,
    record: TrainingRecord,
    records: Sequence[TrainingRecord],
) -> Finding:
    task, metric = settings.task, settings.task.metric
    architecture = task.architecture(record.architecture)
    assert record.test is not None, "a completed final training was tested"
    alike = [other.test for other in records if _is_alike(other, record) and other.test is not None]
    search = (
        f"trial {record.trial}, trained again after the search on all data to train and to "
        f"validate on, from {settings.data.name}"
    )
    parameters = f"{record.num_parameters:,}"
    others = (
        f"{metric.text(sum(alike) / len(alike))}, the mean over {counted(len(alike), 'seed')} "
        f"({metric.text(min(alike))} to {metric.text(max(alike))})"
    )
    epochs = counted(len(record.losses or ()), "epoch")
    converged = "until it converged" if record.is_converged else "without converging"
    return Finding(
        title=f"Trial {record.trial} of {run.path.name}, trained to its end",
        trial=record.trial,
        search=search,
        text=str(architecture),
        legend=task.legend(str(architecture)),
        details=task.details(architecture),
        figures=f"test {metric.name} {metric.text(record.test)}, {parameters} parameters",
        numbers={
            f"test {metric.name}": f"{metric.text(record.test)}, tested once",
            "networks like it": others,
            "trained for": f"{epochs}, {converged}",
            "parameters": parameters,
            "found as": search,
        },
    )
