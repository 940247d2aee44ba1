"""`nasrl search`: run a search and say what it found."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console

from deploy.go_on import go_on_command, is_in_job
from deploy.mistake import UserMistake
from deploy.program import program

if TYPE_CHECKING:
    from deploy.run import Run

logger = logging.getLogger(__name__)

# The exit code of a command that Ctrl-C ended, as shells have it.
INTERRUPTED = 130


@click.command()
@click.argument("settings", required=False, type=click.Path(path_type=Path))
@click.option(
    "--set",
    "overrides",
    metavar="KEY=VALUE",
    multiple=True,
    help="Change one setting, such as num_trials=60 or policy.hidden_size=64. May be repeated.",
)
@click.option(
    "--run-dir",
    type=click.Path(path_type=Path),
    help="Where the run is kept; must not exist. [default: runs/NAME-DATE-TIME]",
)
@click.option(
    "--resume",
    metavar="RUN",
    type=click.Path(path_type=Path),
    help="Go on with the search of this run directory, however it ended; --set may change the "
    "budget, the replicas, the children and the limits.",
)
@click.option(
    "--example",
    is_flag=True,
    help="Print the settings file that would be read, to copy, and exit.",
)
def search(
    settings: Path | None,
    overrides: tuple[str, ...],
    run_dir: Path | None,
    resume: Path | None,
    example: bool,
) -> int:
    """Run a search, and print the best network found.

    SETTINGS is a YAML file, or the name of one that comes with nasrl: digits, mnist, cifar10,
    cifar10-paper-v1, -v2 and -v3, cells, ptb and ptb-paper. Without it digits is run, a small
    search that takes 1 to 4 minutes on two cores; --example prints its file, which explains every
    setting.

    Ctrl-C stops the search after the networks in training; a second Ctrl-C stops it at once.
    However it ended, and if its machine was switched off, `nasrl search --resume RUN` goes on with
    it: the same policy, the same trials; what was recorded stays, and what was in training is
    trained again.

    The exit code is 0 for a finished search, 130 for a stopped one, 1 for one that failed or in
    which no network could be trained, and 2 when nothing was started because of a mistake in what
    was given: the command, the settings, the data, a ledger that holds another search, or more CPUs
    or GPUs asked for than there are.
    """
    # Slow to import, and not needed to say what is wrong with a command.
    from controller.database_url import database_url
    from controller.errors import UnusableDatabase
    from deploy.code_folder import CODE_FOLDER
    from deploy.interrupts import Interrupts
    from deploy.launch import SearchError, SearchRefused, run_search
    from deploy.plain_lines import PlainLines
    from deploy.ready import DEFAULT
    from deploy.resume import resumed_settings
    from deploy.run import Run, RunError
    from deploy.run_status import shard_health
    from deploy.settings_file import SettingsError, example_text, load_settings
    from deploy.summary import summarize
    from deploy.watchers import LiveWatcher, PlainWatcher
    from workers.process import ProcessSetup

    if example:
        if overrides:
            raise click.UsageError("--example, --set: must be one of them; a file is printed as is")
        try:
            click.echo(example_text(settings), nl=False)
        except SettingsError as error:
            raise UserMistake(str(error)) from error
        return 0
    if resume is not None and (settings is not None or run_dir is not None):
        given = "SETTINGS" if settings is not None else "--run-dir"
        raise click.UsageError(f"--resume, {given}: must be one of them; a run has its settings")
    is_new = resume is None
    try:
        if resume is not None:
            chosen = resumed_settings(Run(resume), overrides)
            run = Run(resume, chosen.ledger_url)
        else:
            chosen = load_settings(settings, overrides)
            if chosen.ledger_url is not None:
                database_url(chosen.ledger_url)  # has a driver
            name = settings.stem if settings else DEFAULT
            run = Run.create(
                run_dir or Path("runs") / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}", chosen
            )
            if chosen.code:
                try:
                    chosen = run.settings  # with the code that was copied there
                except SettingsError:
                    run.discard_if_empty()
                    raise
    except (SettingsError, RunError, UnusableDatabase) as error:
        raise UserMistake(str(error)) from error
    console = Console()
    if chosen.code and not is_new:
        click.echo(f"the space and the trainer are those in {run.path / CODE_FOLDER}")
    watcher = (
        LiveWatcher(console, lambda: shard_health(run))
        if console.is_terminal
        else PlainWatcher(PlainLines(console))
    )
    handler = ProcessSetup(run.log_dir).log_to("search")
    try:
        with Interrupts() as interrupts, watcher:
            result = run_search(
                chosen, run, watcher, lambda: interrupts.is_requested, is_new=is_new
            )
    except SearchError as error:
        where = _what_stays(run, is_new)
        if isinstance(error, SearchRefused):
            # The log may be that of a search that lives, and to go on as proposed would not help.
            raise UserMistake(str(error) if not is_new else f"{error}{where}") from error
        logger.exception("the search failed")
        raise click.ClickException(f"{error}{where}") from error
    except KeyboardInterrupt:
        click.echo(f"stopped at once{_what_stays(run, is_new)}")
        return INTERRUPTED
    except BaseException:
        if is_new:
            run.discard_if_empty()
        raise
    finally:
        logging.getLogger().removeHandler(handler)
        handler.close()
    click.echo(summarize(result, chosen, run.path, program(), is_job=is_in_job()))
    if result.progress.state != "finished":
        return INTERRUPTED
    return 1 if result.has_no_network else 0


def _what_stays(run: Run, is_new: bool) -> str:
    """Remove a new run in which nothing has begun; say of any other how to go on with it."""
    if is_new and run.discard_if_empty():
        return ""
    go_on = go_on_command(run.path, is_job=is_in_job(), program=program())
    return f"\nWhat was recorded stays; go on with {go_on}"
