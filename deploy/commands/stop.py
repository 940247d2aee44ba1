"""`nasrl stop`: let a running search finish its children, and end."""

from __future__ import annotations

import time
from pathlib import Path

import click

from deploy.mistake import UserMistake


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--no-wait", is_flag=True, help="Do not wait for the end of the search.")
def stop(run: Path, no_wait: bool) -> int:
    """Stop a running search after the networks in training, as Ctrl-C does.

    RUN is its run directory. The search can be resumed later, with nasrl search --resume RUN. The
    exit code is 0 if it has stopped, or has finished meanwhile; 1 if it does not run, or has failed
    meanwhile, or was resumed by somebody at once.
    """
    from controller.errors import LedgerError, StillAlive
    from controller.search_ledger import SearchLedger
    from deploy.go_on import go_on_command
    from deploy.heartbeat import await_silence
    from deploy.run import NotBegun, Run, RunError

    try:
        opened = Run(run)
        opened.ledger().close()  # which says where it is, if it is not here
        with SearchLedger(opened.ledger_url) as ledger:
            ledger.request_stop()
            if no_wait:
                click.echo("asked to stop")
                return 0
            click.echo("asked to stop; waiting for the children in training")
            while True:
                try:
                    silent = await_silence(ledger, lambda _: None, lambda: False)
                except StillAlive:
                    continue
                break
            progress = ledger.progress()
    except NotBegun as error:
        raise click.ClickException(str(error)) from error
    except RunError as error:
        raise UserMistake(str(error)) from error
    except LedgerError as error:
        raise click.ClickException(str(error)) from error
    if silent is not None:
        raise click.ClickException(
            f"nobody runs this search: {silent} ended without a word {_ago(silent.beat_at)} ago; "
            f"go on with {go_on_command(run, is_job=silent.is_job)}"
        )
    ended = f"{progress.state}: {progress.num_recorded} of {progress.num_trials} trials"
    if progress.state not in ("stopped", "finished"):
        why = f": {progress.reason}" if progress.reason else ""
        raise click.ClickException(f"{ended}{why}")
    click.echo(ended)
    return 0


def _ago(then_s: float) -> str:
    return f"{max(0.0, time.time() - then_s):.0f} s"
