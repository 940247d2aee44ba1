"""The command line: `nasrl VERB`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from deploy.commands.export import export
from deploy.commands.metrics import metrics
from deploy.commands.report import report
from deploy.commands.reshard import reshard
from deploy.commands.retrain import retrain
from deploy.commands.scale import scale
from deploy.commands.search import search
from deploy.commands.settings import settings
from deploy.commands.shard import shard
from deploy.commands.shards import shards
from deploy.commands.show import show
from deploy.commands.status import status
from deploy.commands.stop import stop
from deploy.commands.submit import submit
from deploy.commands.train import train
from deploy.commands.trials import trials
from deploy.mistake import UserMistake


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="nasrl")
def nasrl() -> None:
    """Search for neural network architectures with reinforcement learning.

    Begin with `nasrl search`: a whole search on this machine, in a few minutes.
    """


nasrl.add_command(search)
nasrl.add_command(status)
nasrl.add_command(trials)
nasrl.add_command(show)
nasrl.add_command(retrain)
nasrl.add_command(report)
nasrl.add_command(export)
nasrl.add_command(submit)
nasrl.add_command(scale)
nasrl.add_command(stop)
nasrl.add_command(shards)
nasrl.add_command(metrics)
nasrl.add_command(shard)
nasrl.add_command(reshard)
nasrl.add_command(train)
nasrl.add_command(settings)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command, and give the exit code: 0, or 1 for a failure, 2 for a mistake of the user's.

    arguments are those after the program's name; None takes them from the command line.
    """
    try:
        _check_rooms()
        code = nasrl.main(arguments, prog_name="nasrl", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("stopped", err=True)
        return 130
    return code or 0


def _check_rooms() -> None:
    try:
        # Not at the top: where a user's folder hides `workers`, this is where it shows.
        from workers.process import check_rooms

        check_rooms()
    except ImportError as error:
        raise UserMistake(
            f"{error}\nIs there a folder or module of that name in {Path.cwd()}? Start nasrl from "
            "another folder, or by its own command instead of python -m."
        ) from error
