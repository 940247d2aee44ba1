"""`nasrl submit`: run a search on a Ray cluster, as a job."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import click

from deploy.mistake import UserMistake


@click.command()
@click.argument("settings", required=False, type=click.Path(path_type=Path))
@click.option(
    "--address",
    envvar="RAY_API_SERVER_ADDRESS",
    default="http://127.0.0.1:8265",
    show_default=True,
    help="Of the cluster's dashboard, which `ray dashboard CLUSTER.yaml` brings here.",
)
@click.option(
    "--run-dir",
    "run",
    metavar="RUN",
    required=True,
    help="Where the run is kept: a path that all nodes of the cluster see.",
)
@click.option(
    "--set",
    "overrides",
    metavar="KEY=VALUE",
    multiple=True,
    help="Change one setting, as for nasrl search. May be repeated.",
)
@click.option(
    "--resume", is_flag=True, help="Go on with the search of that run directory, however it ended."
)
@click.option("--no-wait", is_flag=True, help="Do not follow what the search prints.")
def submit(
    settings: Path | None,
    address: str,
    run: str,
    overrides: tuple[str, ...],
    resume: bool,
    no_wait: bool,
) -> int:
    """Run a search on a Ray cluster, as a job.

    SETTINGS is as for nasrl search. The settings are checked here, and the nodes of the cluster are
    looked at, before anything is submitted. To submit it twice is harmless: while a job of the run
    directory runs, it is followed.

    Ctrl-C ends the following, not the search; nasrl stop RUN does that, from where its ledger is
    seen. The exit code is the search's; with --no-wait 0 once it is submitted.
    """
    from deploy.code_folder import copy_code
    from deploy.job import SETTINGS_FILE, JobClient, JobError
    from deploy.settings_file import SettingsError, example_text, load_settings
    from workers.slots import lacking

    path = PurePosixPath(run)
    if not path.is_absolute():
        raise UserMistake(
            f"--run-dir {run}: must be an absolute path, on storage that all nodes of the cluster "
            "share: a job has a folder of its own, which Ray removes"
        )
    if resume and settings is not None:
        raise click.UsageError("--resume, SETTINGS: must be one of them; a run has its settings")
    _check_ledger_urls(overrides)
    changes = [f"--set={change}" for change in overrides]
    try:
        client = JobClient(address)
        with tempfile.TemporaryDirectory() as folder:
            if resume:
                job = client.submit(path, ["search", "--resume", run, *changes], None)
            else:
                chosen = load_settings(settings, overrides)
                _check_ledger_urls([f"ledger_url={chosen.ledger_url or ''}"])
                if lacks := lacking(chosen.children, client.nodes()):
                    click.echo(
                        f"no child fits on any node now: {lacks}\nthe search waits for the "
                        "autoscaler to start others, or ends if there is none"
                    )
                # As it was written: what it leaves out, and its paths, are the cluster's.
                text = example_text(settings)
                (Path(folder) / SETTINGS_FILE).write_text(text, encoding="utf-8")
                copy_code(chosen.code, Path(folder))
                command = ["search", SETTINGS_FILE, "--run-dir", run, *changes]
                job = client.submit(path, command, Path(folder))
        click.echo(
            f"submitted as {job.name}" if job.is_new else f"runs already as {job.name}: following"
        )
        if not job.is_new and overrides:
            click.echo(
                f"it keeps the settings that it runs with: {' '.join(overrides)} is not taken up; "
                f"nasrl scale {run} changes how many children train"
            )
        if no_wait:
            return 0
        try:
            return client.follow(job, lambda text: click.echo(text, nl=False))
        except KeyboardInterrupt:
            click.echo(
                f"\nthe search goes on, as job {job.name}; stop it with nasrl stop {run}", err=True
            )
            return 0
    except SettingsError as error:
        raise UserMistake(str(error)) from error
    except JobError as error:
        raise click.ClickException(str(error)) from error


def _check_ledger_urls(overrides: Iterable[str]) -> None:
    """Refuse a ledger that would be lost with the job's folder, or whose password all could read.

    Ray shows the command of a job to everybody who sees the cluster.
    """
    from sqlalchemy import exc, make_url

    for override in overrides:
        key, _, text = override.partition("=")
        if key.strip() != "ledger_url" or not text:
            continue
        try:
            url = make_url(text.strip())
        except (exc.ArgumentError, ValueError):
            continue  # named with the other settings
        if url.password is not None:
            raise UserMistake(
                "ledger_url: must be without its password, which Ray would show; put it into "
                "~/.pgpass on the head"
            )
        if url.get_backend_name() == "sqlite" and not str(url.database).startswith("/"):
            raise UserMistake(
                f"ledger_url={text}: must name an absolute path, as sqlite:////path/ledger.sqlite "
                "does: a job has a folder of its own, which Ray removes"
            )
