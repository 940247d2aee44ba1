"""`nasrl train`: train one network that is known, and test it once."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from deploy.mistake import UserMistake

if TYPE_CHECKING:
    from child.metric import Metric
    from child.result import EpochReport


@click.command()
@click.argument("settings", type=click.Path(path_type=Path))
@click.option(
    "--set",
    "overrides",
    metavar="KEY=VALUE",
    multiple=True,
    help="Change one setting, such as architecture=lstm or training.num_epochs=3. May be repeated.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="A JSON file to write what came of it to; must not exist.",
)
def train(settings: Path, overrides: tuple[str, ...], out: Path | None) -> int:
    """Train one network in this process, and test it once.

    SETTINGS is a YAML file, or the name of one that comes with nasrl: characters, the paper's cell
    on the characters of Penn Treebank. Its `architecture` is figure-7, nas-cell, lstm, a JSON file,
    a run directory (for its best trial), or RUN:TRIAL. A GPU is used where torch sees one.
    """
    # Slow to import, and not needed to say what is wrong with a command.
    import torch

    from child.data.errors import DataError, DownloadFailed
    from child.training import ChildTrainer
    from deploy.known_architecture import ArchitectureError, known_architecture
    from deploy.settings_file import SettingsError, load_train_settings

    if out is not None and out.exists():
        raise UserMistake(f"--out {out} exists already; give another")
    try:
        chosen = load_train_settings(settings, overrides)
        task = chosen.task
        architecture = known_architecture(chosen.architecture, task)
        data = chosen.data.load()
    except DownloadFailed as error:
        raise click.ClickException(str(error)) from error
    except (SettingsError, ArchitectureError, DataError) as error:
        raise UserMistake(str(error)) from error
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    trainer = ChildTrainer(task.passes(data.search, device))
    click.echo(f"training {architecture} on {device.type}")
    try:
        tested = trainer.test(
            lambda: task.build(architecture, data.search),
            chosen.seed,
            data.test,
            learning_rate=task.learning_rate(architecture),
            report=lambda epoch: _say(epoch, task.metric),
        )
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    result, test = tested.result, tested.test
    assert result.validation is not None, "an infeasible network is not tested"
    assert test is not None, "it was tested"
    click.echo(
        f"{result.num_parameters:,} parameters; validation {task.metric.name} "
        f"{task.metric.text(result.validation)}; test {task.metric.text(test)}, of "
        f"{len(data.test):,} {task.unit} that it had not met"
    )
    if out is not None:
        said = {
            "settings": chosen.model_dump(mode="json"),
            "architecture": str(architecture),
            "metric": task.metric.name,
            "test": test,
        }
        out.write_text(json.dumps(said | asdict(result), indent=1) + "\n", encoding="utf-8")
    return 0


def _say(epoch: EpochReport, metric: Metric) -> None:
    click.echo(
        f"epoch {epoch.epoch} of {epoch.num_epochs}: loss {epoch.loss:.4f}, {metric.name} "
        f"{metric.text(epoch.validation)}, {epoch.seconds:.1f} s"
    )
