"""`nasrl retrain`: train the best networks of a search again, and the very best to its end."""

from __future__ import annotations

import logging
from pathlib import Path

import click
from rich.console import Console

from deploy.mistake import UserMistake
from deploy.program import program

logger = logging.getLogger(__name__)

# The exit code of a command that Ctrl-C ended, as shells have it.
INTERRUPTED = 130


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--top", type=int, help="How many of the best networks are in the grid. [default: 5]")
@click.option(
    "--settings",
    "file",
    type=click.Path(path_type=Path),
    help="A YAML file that says what is trained; --example prints one.",
)
@click.option(
    "--set",
    "overrides",
    metavar="KEY=VALUE",
    multiple=True,
    help="Change one setting, such as grid.training.learning_rate=[0.05,0.1] or "
    "final.num_seeds=10. May be repeated.",
)
@click.option(
    "--example",
    is_flag=True,
    help="Print what would be trained, complete, to copy, and exit.",
)
def retrain(
    run: Path, top: int | None, file: Path | None, overrides: tuple[str, ...], example: bool
) -> int:
    """Train the best networks of a search again, by other settings, and the best to its end.

    RUN is the run directory of a search that is over. Every network of the best is trained at every
    point of a grid of settings, as tasks on this machine or the Ray cluster that RAY_ADDRESS names.
    With the best of these by its validation, networks with several seeds are then trained on all
    data to train and to validate on, until they converge, and each is tested once.

    What was trained is recorded in the search's ledger. The same command again goes on where it was
    stopped, trains nothing twice, and tests no network twice.

    The exit code is 0 when all is trained, 130 when it was stopped, 1 when something failed, and 2
    when nothing was started because of a mistake in what was given.
    """
    # Slow to import, and not needed to say what is wrong with a command.
    from child.data.errors import DataError, DownloadFailed
    from controller.errors import LedgerError, StillAlive
    from deploy.cluster import ClusterError, Shortage
    from deploy.interrupts import Interrupts
    from deploy.retrain.after_search import RetrainRefused
    from deploy.retrain.after_search import retrain as train_again
    from deploy.retrain.course import TrainingsLost
    from deploy.retrain.loading import load_retrain_settings
    from deploy.retrain.summary import summarize_retraining
    from deploy.retrain.watch import RetrainWatch
    from deploy.run import Run, RunError
    from deploy.settings_file import SettingsError
    from workers.process import ProcessSetup

    given = overrides if top is None else (*overrides, f"top={top}")
    try:
        opened = Run(run)
        search = opened.network_settings
        settings = load_retrain_settings(search, file, given)
        if example:
            click.echo(settings.to_yaml(), nl=False)
            return 0
        data = search.load_data()
    except DownloadFailed as error:
        raise click.ClickException(str(error)) from error
    except (RunError, SettingsError) as error:
        raise UserMistake(str(error)) from error
    except DataError as error:
        raise UserMistake(f"the data of the search are needed: {error}") from error
    handler = ProcessSetup(opened.log_dir).log_to("retrain")
    try:
        with Interrupts() as interrupts, RetrainWatch(Console()) as watch:
            result = train_again(
                opened, search, settings, data, watch, lambda: interrupts.is_requested
            )
    except (RetrainRefused, RunError, SettingsError, Shortage, StillAlive) as error:
        raise UserMistake(str(error)) from error
    except (ClusterError, LedgerError, TrainingsLost) as error:
        logger.exception("the retraining failed")
        raise click.ClickException(f"{error}\nWhat was trained stays; {_again()}") from error
    except KeyboardInterrupt:
        click.echo(f"stopped; what was trained stays; {_again()}")
        return INTERRUPTED
    finally:
        logging.getLogger().removeHandler(handler)
        handler.close()
    click.echo(summarize_retraining(result, search, data, opened.path, program()))
    return 0 if result.is_whole else 1


def _again() -> str:
    return "the same command goes on with the rest"
