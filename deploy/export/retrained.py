"""The networks that were trained to their end after a search, by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from controller.retraining import TrainingRecord
from controller.seeds import final_seed
from deploy.count import counted
from deploy.export.errors import CannotExport
from deploy.export.trained import loaded
from deploy.retrain.final_network import FinalNetwork
from deploy.retrain.settings import MAX_SEEDS
from deploy.run import Run
from deploy.settings import NetworkSearchSettings
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


@dataclass(frozen=True)
class RetrainedNetwork:
    """A network that was trained to its end, on the CPU, with its weights.

    record: of its training. alike: of all that differ from it in their seed alone, itself included.
    settings: those of the search, with those that it was trained by. data: what it was trained on.
    """

    record: TrainingRecord
    alike: list[TrainingRecord]
    settings: NetworkSearchSettings
    architecture: Any
    data: Any
    network: nn.Module


def retrained_network(run: Run, name: str) -> RetrainedNetwork:
    """Give the network of that name.

    Args:
        name: `retrained`, where there is one kind of them, or as `final_name` has it.

    Raises:
        CannotExport: there is none, or its weights cannot be read.
        RunError, LedgerError, SettingsError, DataError: the search or its data cannot be read.
    """
    with run.ledger() as ledger:
        records = [row for row in ledger.trainings() if row.stage == "final"]
    record = _chosen(run, [row for row in records if row.state == "completed"], name)
    try:
        kept = FinalNetwork.find(run, record.sha256)
    except WeightsFileError as error:
        raise CannotExport(str(error)) from error
    if kept is None:
        raise CannotExport(
            f"{run.final_network_path(record.sha256)} is gone, with the weights of "
            f"{final_name(record)}; restore it"
        )
    settings = _settings_of(run.network_settings, record)
    architecture = settings.task.architecture(record.architecture)
    data = settings.data.load().search.with_validation()
    return RetrainedNetwork(
        record,
        [row for row in records if row.kind == record.kind],
        settings,
        architecture,
        data,
        loaded(settings.task.build(architecture, data), kept.weights),
    )


def _chosen(run: Run, records: Sequence[TrainingRecord], name: str) -> TrainingRecord:
    """Give the record of that name.

    Of networks that differ in their seed alone it is that of the first seed: to take the one that
    tests best would be to choose by the test.
    """
    if not records:
        raise CannotExport(
            f"{run.path} has no network that was trained to its end; nasrl retrain {run.path} "
            "trains some"
        )
    if name != RETRAINED:
        found = [record for record in records if final_name(record) == name]
        if found:
            return found[0]
    firsts = _first_of_each_kind(run, records)
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
    number = {final_seed(run.network_settings.seed, n): n for n in range(1, 1 + MAX_SEEDS)}
    firsts: dict[str, TrainingRecord] = {}
    for record in sorted(records, key=lambda record: number.get(record.seed, len(number) + 1)):
        firsts.setdefault(record.kind, record)
    return list(firsts.values())


def _settings_of(search: NetworkSearchSettings, record: TrainingRecord) -> NetworkSearchSettings:
    data = search.model_dump(mode="json")
    parts = {name: part for name, part in record.settings.items() if name in data}
    return checked({**data, **parts}, type(search), f"training {record.sha256[:16]}")
