"""`nasrl show`: an architecture as text, as JSON, or as a drawing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from deploy.mistake import UserMistake
from deploy.trial_metrics import metric_text

if TYPE_CHECKING:
    from deploy.known_trial import KnownTrial

DRAWINGS = (".svg", ".png")


@click.command()
@click.argument("run")
@click.argument("trial", required=False)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="text: for people. json: the architecture alone, as a file that nasrl show and nasrl "
    "train read.",
)
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    help="A file to draw it to as well: .svg or .png; must not exist.",
)
def show(run: str, trial: str | None, form: str, out: Path | None) -> None:
    """Show one architecture: the best of a run, or any other.

    RUN is a run directory, and TRIAL the number of a trial of it, or best, as if left out.
    RUN:TRIAL means the same. In place of a run there may be a JSON file, or figure-7, the network
    that the paper found; nas-cell, its cell; lstm.
    """
    from child.convolutional.architecture import ConvolutionalArchitecture
    from child.custom.space import CustomArchitecture
    from child.recurrent.architecture import CellArchitecture
    from deploy.architecture_text import print_architecture
    from deploy.known_architecture import ArchitectureError, find_architecture

    if out is not None:
        _check(out)
    try:
        known = find_architecture(run, trial)
    except ArchitectureError as error:
        raise UserMistake(str(error)) from error
    architecture = known.architecture
    is_custom = isinstance(architecture, CustomArchitecture)
    if isinstance(architecture, ConvolutionalArchitecture | CellArchitecture):
        if out is not None:
            _draw(architecture, out)
    elif is_custom and out is not None:
        raise UserMistake(f"{run}: only networks and cells have a drawing; leave out --out")
    elif not is_custom and (form == "json" or out is not None):
        raise UserMistake(
            f"{run}: has neither JSON nor a drawing, only networks and cells of a search have; "
            "leave out --format and --out to see its equations"
        )
    if form == "json":
        described = architecture.value if is_custom else architecture.to_json()
        click.echo(json.dumps(described, indent=1))
        return
    if known.trial is not None:
        _print_trial(known.trial)
    print_architecture(architecture)


def _check(out: Path) -> None:
    """Refuse, before anything is read, a file that cannot be drawn to."""
    if out.suffix not in DRAWINGS:
        raise UserMistake(f"--out {out}: must end in {' or '.join(DRAWINGS)}")
    if out.exists():
        raise UserMistake(f"--out {out} exists already; give another")


def _draw(architecture: object, out: Path) -> None:
    # matplotlib takes a second to import.
    from deploy.drawings.drawing import Drawing

    try:
        Drawing(architecture).write(out)
    except OSError as error:
        raise UserMistake(f"--out {out} cannot be written: {error.strerror or error}") from error
    click.echo(f"drawn to {out}", err=True)


def _print_trial(known: KnownTrial) -> None:
    row, metric = known.row, known.metric
    said: dict[str, str] = {"state": row.state}
    if row.reward is not None:
        said["state"] += f", reward {row.reward:.3f}"
    if row.reason:
        said["reason"] = row.reason
    if row.reused_from is not None:
        said["reused"] = f"the result of trial {row.reused_from}, the same architecture"
    for name, figure in (("validation", row.validation), ("test", known.test)):
        if figure is not None:
            said[name] = f"{metric.name} {metric.text(figure)}"
    if row.num_parameters:
        said["parameters"] = f"{row.num_parameters:,}"
    if row.seed is not None:
        said["seed"] = str(row.seed)
    for name, figure in (row.metrics or {}).items():
        said[name] = metric_text(figure)
    click.echo(f"trial {row.trial}")
    width = max(12, *map(len, said))
    for name, value in said.items():
        click.echo(f"  {name:<{width}} {value}")
    click.echo()
    if row.traceback:
        click.echo(row.traceback)
