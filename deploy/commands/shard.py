"""`nasrl shard`: serve one parameter-server shard until told to stop."""

from __future__ import annotations

import errno
import logging
from pathlib import Path
from typing import TYPE_CHECKING

import click

from deploy.mistake import UserMistake

if TYPE_CHECKING:
    from deploy.settings import SearchSettings
    from ps.credentials import Identity
    from ps.server import ShardServer

# What the system says of a folder that cannot be the shard's, rather than of a disk that fails.
_WRONG_FOLDER = {
    errno.EACCES,
    errno.EEXIST,
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EPERM,
    errno.EROFS,
}

# How often the process looks whether it was told to stop.
_POLL_S = 0.2


@click.command()
@click.argument("target", metavar="SETTINGS|RUN", type=click.Path(path_type=Path))
@click.option("--index", type=click.IntRange(min=0), required=True, help="Which shard, from 0.")
@click.option(
    "--address",
    metavar="HOST:PORT",
    help="Where to listen. [default: of shards.addresses, or shards.host and its port of "
    "shards.port_base, or a free one]",
)
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    help="Where the state is kept; made if it is not there. [default: RUN/shards/shard-I]",
)
@click.option(
    "--certificates",
    type=click.Path(path_type=Path),
    help="The search's certificates, or this shard's part of them. [default: RUN/certificates]",
)
@click.option("--take-over", is_flag=True, help="Even if a frozen process holds the folder.")
@click.option(
    "--metrics-port",
    type=click.IntRange(0, 65535),
    help="For Prometheus; 0 takes a free one. [default: shards.metrics_port_base + I]",
)
@click.option("--insecure", is_flag=True, help="Without TLS, even where others can reach it.")
def shard(
    target: Path,
    index: int,
    address: str | None,
    folder: Path | None,
    certificates: Path | None,
    take_over: bool,
    metrics_port: int | None,
    insecure: bool,
) -> None:
    """Serve one parameter-server shard of a search.

    For shards that systemd, Kubernetes or a person starts. SETTINGS is the search's YAML file, and
    --folder says where the state is kept; RUN is its run directory, which has all that is needed.
    What was acknowledged before is there again.

    One line says when and where it serves. SIGTERM or Ctrl-C drains it: it takes nothing new,
    answers what it has begun, and ends with exit code 0. The code is 1 if its state fails it, such
    as a full disk, or another process that has taken the folder over; 2 if it was not started
    because of a mistake in what was given.
    """
    from ps.address import port_of

    if address is not None:
        try:
            port_of(address, lowest=0)
        except ValueError as error:
            raise click.UsageError(f"--address: {error}, such as 127.0.0.1:7070") from error
    if insecure and certificates is not None:
        raise click.UsageError("--insecure, --certificates: must be one of them; TLS is on or off")
    from deploy.run import Run, RunError
    from deploy.settings_file import SettingsError, load_settings
    from ps.credentials import CredentialsError, Identity
    from ps.folder import shard_folder

    try:
        run = Run(target) if target.is_dir() else None
        settings = load_settings(target) if run is None else run.settings
    except (RunError, SettingsError) as error:
        if isinstance(error.__cause__, FileNotFoundError):
            raise UserMistake(
                f"{target} does not exist: must be the search's settings file, or its run directory"
            ) from error
        raise UserMistake(str(error)) from error
    if index >= settings.num_shards:
        raise UserMistake(
            f"--index {index}: must be at most {settings.num_shards - 1}, the last of "
            f"{settings.num_shards} shards"
        )
    if insecure:
        settings = _without_tls(settings)
    if metrics_port is None:
        metrics_port = settings.shards.metrics_port(index)
    known = settings.shards.addresses
    if address is None and not known and settings.shards.host == "node":
        raise UserMistake(
            "--address: must say where to listen; with shards.host=node only a search knows it"
        )
    address = address or (known[index] if known else settings.shards.address(index))
    if run is not None:
        folder = folder or shard_folder(run.path, index)
        if not insecure:
            certificates = certificates or run.certificates
    elif folder is None and settings.shards.durability != "none":
        raise UserMistake(
            f"--folder: must say where the state is kept (shards.durability: "
            f"{settings.shards.durability})"
        )
    if certificates is None:
        _check_needs_no_tls(settings, address)
    try:
        identity = Identity.load(certificates, f"shard-{index}") if certificates else None
    except CredentialsError as error:
        raise UserMistake(str(error)) from error
    logging.basicConfig(level="INFO", format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    search_id = None if run is None else run.id
    server = _started(
        settings, index, folder, address, identity, take_over, search_id, metrics_port
    )
    _serve(server, index)


def _without_tls(settings: SearchSettings) -> SearchSettings:
    """Give the settings with what --insecure says otherwise."""
    shards = settings.shards.model_copy(update={"insecure": True, "tls": "auto"})
    return settings.model_copy(update={"shards": shards})


def _check_needs_no_tls(settings: SearchSettings, address: str) -> None:
    from ps.credentials import is_loopback

    is_open = not is_loopback(address) and not settings.shards.insecure
    if is_open or settings.shards.needs_tls:
        why = "others can reach it" if is_open else "the search's settings ask for it"
        raise UserMistake(
            f"address {address}: must have TLS, since {why}; give --certificates, or --insecure if "
            "nobody else is on that network"
        )


def _started(
    settings: SearchSettings,
    index: int,
    folder: Path | None,
    address: str,
    identity: Identity | None,
    is_taking_over: bool,
    search_id: str | None,
    metrics_port: int | None,
) -> ShardServer:
    import torch

    from ps.credentials import CredentialsError
    from ps.errors import StateError, StateInUse, StateMismatch
    from ps.plan import ShardPlan
    from ps.server import ShardServer

    torch.set_num_threads(1)
    plan = ShardPlan(settings.untrained().layout, index, settings.optimizer, settings.updates)
    try:
        return ShardServer(
            plan,
            settings.shards,
            folder,
            address,
            identity,
            is_taking_over=is_taking_over,
            search_id=search_id,
            metrics_port=metrics_port,
        )
    except StateInUse as error:
        raise UserMistake(f"{error}, or take the folder over with --take-over") from error
    except (StateMismatch, CredentialsError) as error:
        raise UserMistake(str(error)) from error
    except OSError as error:
        raise UserMistake(f"shard {index}: {error.strerror or error}") from error
    except StateError as error:
        cause = error.__cause__
        if isinstance(cause, OSError) and cause.errno in _WRONG_FOLDER:
            raise UserMistake(f"{error}; give one that can be written, by --folder") from error
        raise click.ClickException(str(error)) from error


def _serve(server: ShardServer, index: int) -> None:
    """Serve until a signal comes, then drain."""
    from deploy.interrupts import Interrupts
    from ps.errors import ShardUnavailable, StateError

    try:
        with Interrupts() as interrupts, server:
            described = server.describe()
            state = f"version {described.version}" if described.is_initialized else "no values yet"
            click.echo(
                f"shard {index} of {described.num_shards} at {server.address}: "
                f"epoch {described.epoch}, {state}"
            )
            while not interrupts.is_requested:
                server.wait(_POLL_S)
    except (StateError, ShardUnavailable) as error:
        raise click.ClickException(str(error)) from error
