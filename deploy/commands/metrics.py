"""`nasrl metrics`: where Prometheus finds a search, and what it may do with that."""

from __future__ import annotations

import time
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import click

from deploy.mistake import UserMistake

if TYPE_CHECKING:
    from deploy.scrape_targets import ScrapeTargets

_EXAMPLES = {
    "prometheus": "prometheus.yaml",
    "alerts": "alerts.yaml",
    "dashboard": "grafana-dashboard.json",
}


@click.command()
@click.argument("targets", metavar="RUN|ADDRESS...", nargs=-1)
@click.option(
    "--certificates",
    type=click.Path(path_type=Path),
    help="To ask an ADDRESS with: those of its search, or the observer's part of them.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Replace this file, as a whole, instead of printing.",
)
@click.option(
    "--every",
    "every_s",
    metavar="SECONDS",
    type=click.IntRange(1, 3600),
    help="With -o: replace it again and again, until the searches have ended.",
)
@click.option(
    "--example",
    type=click.Choice(list(_EXAMPLES)),
    help="Print a file that comes with nasrl, and exit: a configuration of Prometheus, its rules "
    "for alerts, or a dashboard for Grafana.",
)
def metrics(
    targets: tuple[str, ...],
    certificates: Path | None,
    output: Path | None,
    every_s: int | None,
    example: str | None,
) -> int:
    """Print where the metrics of searches are, for Prometheus' file_sd_configs.

    RUN is the run directory of a search that runs; ADDRESS is host:port of one shard. A search has
    metrics where the settings give it ports for them: metrics.search_port,
    metrics.replica_port_base and shards.metrics_port_base. The exit code is 1 if there are none.

    With --every the file follows processes that come back elsewhere, and searches that begin
    later; once they have all ended it holds no targets, and the command ends, with exit code 0.
    """
    if example is not None:
        text = files("deploy").joinpath("monitoring", _EXAMPLES[example]).read_text("utf-8")
        click.echo(text, nl=False)
        return 0
    if not targets:
        raise click.UsageError("RUN|ADDRESS: must be given, one or more; or --example")
    if every_s is not None and output is None:
        raise click.UsageError(f"--every {every_s}: must go with -o FILE, which it replaces")
    found = _find(targets, certificates)
    if every_s is not None and output is not None:
        _follow(found, targets, certificates, output, every_s)
        return 0
    if output is None:
        click.echo(found.to_json(), nl=False)
    else:
        _replace(output, found)
    _say_what_is_missing(found, len(targets))
    return 0 if found.targets else 1


def _find(targets: tuple[str, ...], certificates: Path | None) -> ScrapeTargets:
    from deploy.run import RunError
    from deploy.scrape_targets import scrape_targets
    from ps.credentials import CredentialsError

    try:
        return scrape_targets(targets, certificates)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    except (RunError, CredentialsError) as error:
        raise UserMistake(str(error)) from error


def _follow(
    found: ScrapeTargets,
    targets: tuple[str, ...],
    certificates: Path | None,
    output: Path,
    every_s: int,
) -> None:
    """Replace the file again and again, until all that were there are gone."""
    most_present = said = 0
    while True:
        _replace(output, found)
        most_present = max(most_present, found.num_present)
        if most_present == len(targets) and not found.num_present:
            click.echo(f"{output}: the searches have ended; it holds no targets any more")
            return
        if len(found.targets) != said:
            said = len(found.targets)
            click.echo(f"{output}: targets: {said}")
        time.sleep(every_s)
        try:
            found = _find(targets, certificates).keeping(found)
        except UserMistake as error:
            # A file system may be away for a while; the targets are likely to be where they were.
            click.echo(error.format_message(), err=True)


def _replace(path: Path, found: ScrapeTargets) -> None:
    beside = path.with_name(f"{path.name}.tmp")
    try:
        beside.write_text(found.to_json(), encoding="utf-8")
        beside.replace(path)
    except OSError as error:
        raise UserMistake(f"{path} cannot be written: {error}") from error


def _say_what_is_missing(found: ScrapeTargets, num_wanted: int) -> None:
    if found.num_present < num_wanted:
        number = num_wanted - found.num_present
        click.echo(f"{number} of {num_wanted}: its search has not begun, or has ended", err=True)
    if found.left_out:
        click.echo(
            f"left out: shards at {', '.join(found.left_out)}: must have shards.metrics_port_base; "
            "where that is 0, or an address was given, a shard that does not answer has no known "
            "port",
            err=True,
        )
