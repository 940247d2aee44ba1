"""The export of a network that was trained to its end after the search."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from deploy.count import counted
from deploy.export.exported import write_export
from deploy.export.finding import Finding
from deploy.export.folder import check_free, new_folder
from deploy.export.planning import export_plan
from deploy.export.retrained import RetrainedNetwork, final_name, retrained_network
from deploy.run import Run


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
    trained = retrained_network(run, name)
    plan = export_plan(trained.settings, trained.architecture, trained.data)
    finding = _finding(run, trained)
    record = trained.record
    with new_folder(folder) as beside:
        write_export(
            beside, plan, finding, record.architecture, trained.network, with_onnx=with_onnx
        )
    say(f"{final_name(record)}, {finding.figures}: see {folder / 'README.md'}")


def _finding(run: Run, trained: RetrainedNetwork) -> Finding:
    record, architecture = trained.record, trained.architecture
    task, metric = trained.settings.task, trained.settings.task.metric
    assert record.test is not None, "a completed final training was tested"
    tests = [row.test for row in trained.alike if row.test is not None]
    search = (
        f"trial {record.trial}, trained again after the search on all data to train and to "
        f"validate on, from {trained.settings.data.name}"
    )
    parameters = f"{record.num_parameters:,}"
    others = (
        f"{metric.text(sum(tests) / len(tests))}, the mean over {counted(len(tests), 'seed')} "
        f"({metric.text(min(tests))} to {metric.text(max(tests))})"
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
