"""`nasrl status`: how a search is doing, while it runs or afterwards."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click

from deploy.mistake import UserMistake


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print everything, for programs.")
def status(run: Path, as_json: bool) -> int:
    """Show how a search is doing: its trials, rewards, children, pushes and shards.

    RUN is its run directory; the search may run, or have ended. The exit code is 1 if it has
    failed, or runs no more without having said so, or if one of its shards is not SERVING.
    """
    from controller.errors import LedgerError
    from deploy.go_on import go_on_command
    from deploy.run import Run, RunError
    from deploy.run_status import run_status
    from deploy.status import duration
    from ps.credentials import CredentialsError

    try:
        opened = Run(run)
        found = run_status(opened, time.time())
    except (RunError, CredentialsError) as error:
        raise UserMistake(str(error)) from error
    except LedgerError as error:
        raise click.ClickException(str(error)) from error
    code = 1 if found.is_ill else 0
    if as_json:
        click.echo(json.dumps(found.to_json(), indent=1))
        return code
    state, reason = found.progress.state, found.progress.reason
    said = f"{state}: {reason}" if reason else state
    if found.silence_s is not None:
        said = (
            f"no sign of life for {duration(found.silence_s)}: it was killed, or its machine is "
            f"off; go on with {go_on_command(run, is_job=found.is_job)}"
        )
    for what, text in [("search", said), *found.lines()]:
        click.echo(f"{what:<10} {text}")
    return code
