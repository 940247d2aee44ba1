"""`nasrl scale`: change how many children a running search trains at a time."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deploy.mistake import UserMistake

if TYPE_CHECKING:
    from controller.search_ledger import SearchLedger

POLL_S = 0.2
# A search that runs has seen to it by then; from then on it is looked at whether one runs.
ANSWER_S = 5.0


def _count(_: click.Context, __: click.Parameter, text: str | None) -> str | None:
    """Give a whole number, or none, as JSON has it: None says that it was left out."""
    if text is None or text == "none":
        return None if text is None else "null"
    try:
        return str(int(text))
    except ValueError as error:
        raise click.BadParameter(f"{text!r}: must be a whole number from 1, or none") from error


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--children-per-gpu-node",
    metavar="N|none",
    callback=_count,
    help="At most so many children on each node with GPUs at a time; they share its GPUs where "
    "these are fewer. none: as many as fit.",
)
@click.option(
    "--children-per-gpu",
    metavar="N|none",
    callback=_count,
    help="So many children share each GPU. none: each has children.num_gpus.",
)
@click.option(
    "--replicas",
    type=int,
    metavar="K",
    help="Controller replicas, each with children.per_replica children.",
)
@click.option("--no-wait", is_flag=True, help="Do not wait until the search has seen to it.")
def scale(
    run: Path,
    children_per_gpu_node: str | None,
    children_per_gpu: str | None,
    replicas: int | None,
    no_wait: bool,
) -> int:
    """Change how many children a running search trains at a time.

    RUN is its run directory. Children in training are finished first, where they are; nothing is
    lost. The search keeps what was changed when it is resumed, too. The exit code is 0 once it goes
    on so, 1 if it does not run, and 2 if it cannot go on so.
    """
    given = {
        "children.per_gpu_node": children_per_gpu_node,
        "children.per_gpu": children_per_gpu,
        "num_replicas": None if replicas is None else str(replicas),
    }
    overrides = [f"{key}={text}" for key, text in given.items() if text is not None]
    if not overrides:
        raise click.UsageError(
            "give what is to change: --children-per-gpu-node, --children-per-gpu or --replicas"
        )
    # Slow to import, and not needed to say what is wrong with a command.
    from controller.errors import LedgerError
    from controller.search_ledger import SearchLedger
    from deploy.resume import resumed_settings
    from deploy.run import NotBegun, Run, RunError
    from deploy.settings_file import SettingsError

    try:
        opened = Run(run)
        opened.ledger().close()  # which says where it is, if it is not here
        wanted = resumed_settings(opened, overrides).shown
        with SearchLedger(opened.ledger_url) as ledger:
            ledger.request_changes(
                {key: None if text == "null" else int(text) for key, text in given.items() if text}
            )
            if no_wait:
                click.echo("asked to scale")
                return 0
            _await_answer(ledger, run, overrides)
        if any(
            _value(opened.settings.shown, key) != _value(wanted, key)
            for key, text in given.items()
            if text
        ):
            raise UserMistake(
                f"the search goes on as it was; what it printed, and {opened.log_dir}/search.log, "
                "say why"
            )
    except NotBegun as error:
        raise click.ClickException(str(error)) from error
    except (RunError, SettingsError) as error:
        raise UserMistake(str(error)) from error
    except LedgerError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"the search goes on with {', '.join(overrides).replace('null', 'none')}")
    return 0


def _await_answer(ledger: SearchLedger, run: Path, overrides: list[str]) -> None:
    """Wait until the search has seen to what was asked.

    Raises:
        click.ClickException: it has ended, or nobody runs it.
    """
    from controller.errors import StillAlive
    from deploy.go_on import go_on_command
    from deploy.heartbeat import await_silence

    is_job = any(life.is_job for life in ledger.lives()[-1:])
    go_on = go_on_command(run, *overrides, is_job=is_job)

    def is_answered() -> bool:
        return not ledger.progress().requested_changes

    has_said = False
    give_up_at = time.monotonic() + ANSWER_S
    while True:
        progress = ledger.progress()
        if progress.state != "running":
            raise click.ClickException(f"the search is {progress.state}; go on with {go_on}")
        if not progress.requested_changes:
            return
        time.sleep(POLL_S)
        if time.monotonic() <= give_up_at:
            continue
        if not has_said:
            has_said = True
            click.echo("waiting: the search is starting, or finishes its last children")
        try:
            silent = await_silence(ledger, lambda _: None, is_answered)
        except StillAlive:
            continue
        except KeyboardInterrupt:
            if not is_answered():
                raise
            continue
        if silent is not None or not ledger.lives():
            raise click.ClickException(f"nobody runs this search; go on with {go_on}")


def _value(settings: dict[str, Any], key: str) -> Any:
    """Give what is at a name in dots."""
    for part in key.split("."):
        settings = settings[part]
    return settings
