"""`nasrl report`: one page about a search, to be looked at in a browser."""

from __future__ import annotations

from pathlib import Path

import click

from deploy.mistake import UserMistake

ENDINGS = (".html", ".htm")


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    help="The file to write: .html; must not exist.",
)
@click.option(
    "--baseline",
    metavar="RUN2",
    type=click.Path(path_type=Path),
    help="Another run to compare it with, such as the same search with strategy=random.",
)
def report(run: Path, out: Path, baseline: Path | None) -> None:
    """Write a page about a search: its rewards, what the policy learned, the best networks.

    RUN is a run directory; its search may still be running. The page is one file that needs no
    network.
    """
    from controller.errors import LedgerError
    from deploy.report.report import ReportError, write_report
    from deploy.run import Run, RunError
    from deploy.settings_file import SettingsError

    if out.suffix not in ENDINGS:
        raise UserMistake(f"--out {out}: must end in {' or '.join(ENDINGS)}")
    if out.exists():
        raise UserMistake(f"--out {out} exists already; give another")
    try:
        write_report(Run(run), out, Run(baseline) if baseline else None)
    except (RunError, LedgerError, SettingsError, ReportError) as error:
        raise UserMistake(str(error)) from error
    except OSError as error:
        raise UserMistake(f"--out {out} cannot be written: {error.strerror or error}") from error
    click.echo(f"the report is {out}")
