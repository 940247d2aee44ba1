"""`nasrl export`: a network that a search found, as plain PyTorch and ONNX."""

from __future__ import annotations

from pathlib import Path

import click

from deploy.mistake import UserMistake


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("trial", default="best")
@click.option(
    "-o",
    "--out",
    "folder",
    metavar="DIR",
    required=True,
    type=click.Path(path_type=Path),
    help="The folder to make; must not exist, or be empty.",
)
@click.option("--no-onnx", is_flag=True, help="Leave model.onnx out.")
def export(run: Path, trial: str, folder: Path, no_onnx: bool) -> int:
    """Write a network that a search found as files that need nothing of nasrl.

    RUN is a run directory, TRIAL the number of a trial, best, or retrained: the network that nasrl
    retrain has trained to its end. DIR gets model.py, which needs torch alone, model.safetensors,
    model.onnx, architecture.json, and a README.md that says how to load it. A network of a trial
    whose weights were not kept is first trained again, in this process. Nothing is tested.
    """
    # Slow to import, and not needed to say what is wrong with a command.
    from child.data.errors import DataError, DownloadFailed
    from controller.errors import LedgerError
    from deploy.export.errors import CannotExport, ExportError
    from deploy.export.final_export import export_final
    from deploy.export.onnx_file import missing_packages
    from deploy.export.retrained import is_of_final
    from deploy.export.trial_export import export_trial
    from deploy.run import Run, RunError
    from deploy.settings_file import SettingsError

    missing = [] if no_onnx else missing_packages()
    try:
        write = export_final if is_of_final(trial) else export_trial
        write(Run(run), trial, folder, click.echo, with_onnx=not (no_onnx or missing))
    except (CannotExport, RunError, LedgerError, SettingsError) as error:
        raise UserMistake(str(error)) from error
    except (ExportError, DownloadFailed) as error:
        raise click.ClickException(str(error)) from error
    except DataError as error:
        raise UserMistake(f"the data of the search are needed: {error}") from error
    if missing:
        click.echo(
            f"model.onnx was left out, since {', '.join(missing)} must be installed for it: "
            "pip install 'nasrl[export]'"
        )
    return 0
