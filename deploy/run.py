"""A run directory: the settings, ledger, addresses and logs of one search."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import sqlalchemy as sql
import yaml

from controller.database_url import database_url
from controller.errors import LedgerError, UnusableDatabase
from controller.ledger_reader import LedgerReader
from deploy.code_folder import CODE_FOLDER, copy_code
from deploy.durable_file import write_durably
from ps.disk import Disk
from ps.folder import CheckpointName, Segment

if TYPE_CHECKING:
    from deploy.settings import NetworkSearchSettings, SearchSettings
    from ps.credentials import Identity


class RunError(Exception):
    """A run directory is not what it has to be; the message says what to do."""


class NotBegun(RunError):
    """The search of a run has no ledger: not yet, or it ended before it began one."""


class NoNetworks(RunError):
    """The search of a run has networks neither kept nor described: the user's trainer has them."""


class NoEndpoints(RunError):
    """The shards of a run are not up: not yet, or not any more."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path} has no endpoints.json: its shards are not up yet, or the search has ended and "
            "stopped them"
        )
        self.path = path


class _Endpoints(TypedDict):
    shards: tuple[str, ...]
    metrics: dict[str, str]


class Run:
    """One search on disk.

    settings.yaml   what was run last, complete; its owner's alone where it holds a password
    id              tells this search from every other, wherever its checkpoints are
    begun           says, once the search has begun, where its ledger is
    ledger.sqlite   the trials and pushes; written by the search alone. While it runs, and if it
                    was killed, the newest are in ledger.sqlite-wal beside it
    shards/         the state of each shard: its journal and its checkpoints
    certificates/   the search's certificate authority and who it vouches for, where TLS is on
    endpoints.json  where the shards listen, and where metrics are, while the search lives
    networks/       the weights of the network that was tested
    logs/           one file for each process
    code/           the search space and the trainer, where they are the user's
    tensorboard/    the figures of the trials, for TensorBoard
    """

    def __init__(self, path: Path | str, ledger_url: str | None = None) -> None:
        """Open an existing run directory.

        Args:
            ledger_url: of the ledger, where it is to be reached by another URL than that of the
                settings: with a new password.

        Raises:
            RunError: there is no run at the path.
        """
        self.path = Path(path).absolute()
        self._given_ledger_url = ledger_url
        if not self._settings_path.is_file():
            raise RunError(f"{path} is not a run directory: it has no settings.yaml")

    @classmethod
    def create(cls, path: Path, settings: SearchSettings) -> Run:
        """Make the directory of a new run and write its settings.

        Raises:
            RunError: the path exists already, or cannot be made.
        """
        try:
            path.mkdir(parents=True)
        except FileExistsError as error:
            raise RunError(
                f"run directory {path} exists already; give another with --run-dir, or go on with "
                "its search by --resume"
            ) from error
        except OSError as error:
            raise RunError(f"run directory {path} cannot be made: {error}") from error
        try:
            (path / "logs").mkdir()
            disk, file = Disk(), path / "settings.yaml"
            file.touch()
            write_settings(disk, file, settings.to_yaml(), settings.has_secret)
            write_durably(disk, path / "id", f"{secrets.token_hex(8)}\n".encode())
            if settings.code:
                (path / CODE_FOLDER).mkdir()
                copy_code(settings.code, path / CODE_FOLDER)
            disk.sync_folder(path.parent)
        except OSError as error:
            shutil.rmtree(path, ignore_errors=True)
            raise RunError(f"run directory {path} cannot be made: {error}") from error
        return cls(path)

    @property
    def settings(self) -> SearchSettings:
        """The settings of the search. Raises SettingsError if the file was changed since."""
        # Whoever only looks at the ledger does not wait for torch and Ray.
        from deploy.settings_file import load_settings

        return load_settings(self._settings_path)

    @property
    def network_settings(self) -> NetworkSearchSettings:
        """The settings of a search over networks that are built and trained here.

        Raises:
            NoNetworks: it is over a space of the user's.
        """
        from deploy.settings import NetworkSearchSettings

        settings = self.settings
        if not isinstance(settings, NetworkSearchSettings):
            raise NoNetworks(
                f"{self.path}: its children are trained by a function of yours, which alone knows "
                "their networks; `nasrl show RUN --format json` gives it the best architecture"
            )
        return settings

    @property
    def id(self) -> str:
        """What no other search has.

        Raises:
            RunError: it cannot be read.
        """
        try:
            return (self.path / "id").read_text(encoding="utf-8").strip()
        except OSError as error:
            raise RunError(f"{self.path / 'id'} cannot be read: {error}; restore it") from error

    @property
    def log_dir(self) -> Path:
        return self.path / "logs"

    def network_path(self, trial: int) -> Path:
        """Where the weights of a trial's network are, if they were kept."""
        return self.path / "networks" / f"trial-{trial}.safetensors"

    def final_network_path(self, sha256: str) -> Path:
        """Where the weights are of a training after the search, given by its name."""
        return self.path / "networks" / f"final-{sha256[:16]}.safetensors"

    @property
    def tensorboard_path(self) -> Path:
        """Where the figures for TensorBoard are."""
        return self.path / "tensorboard"

    @property
    def certificates_path(self) -> Path:
        """Where the certificates are, if the search has any."""
        return self.path / "certificates"

    @property
    def certificates(self) -> Path | None:
        """The folder of the certificates; None where the shards have no TLS."""
        return self.certificates_path if self.certificates_path.is_dir() else None

    def identity(self, name: str) -> Identity | None:
        """Give the certificate of a process, such as shard-3; None where the shards have no TLS.

        Raises:
            ps.credentials.CredentialsError: the folder is broken.
        """
        if self.certificates is None:
            return None
        from ps.credentials import Identity

        return Identity.load(self.certificates, name)

    @property
    def ledger_url(self) -> str:
        """Where the ledger is, as a database URL.

        Raises:
            RunError: the settings cannot be read.
        """
        if given := self._given_ledger_url or self._raw_settings().get("ledger_url"):
            return str(given)
        url = sql.URL.create("sqlite", database=str(self._ledger_path))
        return url.render_as_string(hide_password=False)

    @property
    def has_begun(self) -> bool:
        """Whether the search has a ledger; one of another search, in the same database, is none.

        Raises:
            RunError: it cannot be read.
        """
        ledger = self._begun_ledger()
        if ledger is not None:
            ledger.close()
        return ledger is not None

    def obstacle(self, *, is_new: bool) -> str | None:
        """Say why a search must not begin here, or not go on; None where it may.

        A search that is resumed and has not begun may begin.

        Raises:
            RunError: the ledger or the settings cannot be read.
        """
        found = self._found_ledger()
        if found is not None:
            with self._named_failures(), found:
                if self._is_own(found):
                    return None
        if not is_new and (why := self._sign_of_life()):
            return (
                f"{self.path}: {why}, and its ledger is gone: {self._where} must hold it, since "
                "the policy on the shards goes on from what is in it; restore it from a copy, or "
                f"start a new search, with nasrl search {self.path}/settings.yaml"
            )
        if found is None:
            return None
        return (
            f"ledger_url={self._where}: holds another search already: must be a database of this "
            "search's own; name an empty one, or an empty schema; to go on with the search that "
            "is there, resume its own run directory"
        )

    def mark_begun(self) -> None:
        """Make known, durably, that the search has begun its ledger.

        Raises:
            RunError: it cannot be written.
        """
        try:
            mode = self._settings_path.stat().st_mode & 0o777
            write_durably(Disk(), self._begun_path, f"{self._where}\n".encode(), mode)
        except OSError as error:
            raise RunError(f"{self._begun_path} cannot be written: {error}") from error

    def keep(self, settings: SearchSettings) -> None:
        """Write down, durably, the settings that the search goes on with.

        Raises:
            RunError: they cannot be written; the old ones stay.
        """
        try:
            write_settings(Disk(), self._settings_path, settings.to_yaml(), settings.has_secret)
        except OSError as error:
            raise RunError(f"{self._settings_path} cannot be written: {error}") from error

    def ledger(self) -> LedgerReader:
        """Open the ledger, to read it; close it, or use it by `with`.

        Raises:
            NotBegun: there is none.
            RunError: it is not on this machine, or cannot be read.
        """
        ledger = self._begun_ledger()
        if ledger is None and self._begun_path.is_file():
            raise RunError(
                f"{self.path}: its ledger, {self._where}, is not on this machine, or is gone; look "
                "from where it is: the machine that runs the search, of a cluster its head"
            )
        if ledger is None:
            raise NotBegun(
                f"{self.path} has no ledger: its search has not begun yet, or ended before it began"
            )
        return ledger

    def discard_if_empty(self) -> bool:
        """Remove the directory if nothing has begun in it; tell whether it was.

        A ledger is the search's beginning, and a shard that was started by hand holds its folder.
        """
        if self._begun_path.exists():
            return False  # where its ledger is gone, too
        try:
            ledger = self._begun_ledger()
        except RunError:
            # What cannot be read may hold something, but where it is elsewhere, not this search.
            if self._ledger_path.exists():
                return False
            ledger = None
        if ledger is not None:
            ledger.close()
        if ledger is not None or (self.path / "shards").exists():
            return False
        shutil.rmtree(self.path)
        return True

    def publish_endpoints(
        self, addresses: Sequence[str], metrics: Mapping[str, str] | None = None
    ) -> None:
        """Make known that shard i listens at addresses[i].

        Args:
            metrics: where the metrics of the other processes are, by their names.
        """
        endpoints = {"shards": list(addresses), "metrics": dict(metrics or {})}
        _write_whole(self._endpoints_path, json.dumps(endpoints))

    def withdraw_endpoints(self) -> None:
        """Make known that the shards are gone."""
        self._endpoints_path.unlink(missing_ok=True)

    def endpoints(self) -> tuple[str, ...]:
        """Give the addresses of the shards, in their order.

        Where the settings name shards that somebody else starts, they may be there at any time.

        Raises:
            NoEndpoints: the search is over, or has not started its shards yet.
            RunError: the settings cannot be read any more.
        """
        if (published := self._published()) is not None:
            return published["shards"]
        if addresses := self._given_addresses():
            return addresses
        raise NoEndpoints(self.path)

    def metrics_endpoints(self) -> dict[str, str]:
        """Give where the metrics are of the processes that have any, by their names; not of shards.

        Raises:
            RunError: the file cannot be read.
        """
        published = self._published()
        return {} if published is None else published["metrics"]

    @property
    def time_limit_s(self) -> float | None:
        """The setting of that name.

        Raises:
            RunError: the settings cannot be read any more.
        """
        limit_s = self._raw_settings().get("time_limit_s")
        return float(limit_s) if isinstance(limit_s, int | float) else None

    def fixed_metrics_port(self, shard: int) -> int | None:
        """Give the port that the settings name for a shard's metrics, if they name one.

        Raises:
            RunError: the settings cannot be read any more.
        """
        base = self._shard_setting("metrics_port_base")
        return base + shard if isinstance(base, int) and base else None

    def _published(self) -> _Endpoints | None:
        try:
            found = json.loads(self._endpoints_path.read_text(encoding="utf-8"))
            return {"shards": tuple(found["shards"]), "metrics": dict(found.get("metrics", {}))}
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise RunError(f"{self._endpoints_path} cannot be read: {error}; try again") from error

    def _given_addresses(self) -> tuple[str, ...]:
        try:
            return tuple(map(str, self._shard_setting("addresses") or ()))
        except TypeError as error:
            raise RunError(f"{self._settings_path} cannot be read: {error}") from error

    def _shard_setting(self, name: str) -> Any:
        """Give a setting of the shards; None where it is left out."""
        try:
            return self._raw_settings().get("shards", {}).get(name)
        except AttributeError as error:
            raise RunError(f"{self._settings_path} cannot be read: {error}") from error

    def _raw_settings(self) -> dict[str, Any]:
        """Give the settings without waiting for what checks them (torch)."""
        try:
            settings = yaml.safe_load(self._settings_path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise RunError(f"{self._settings_path} cannot be read: {error}") from error
        if not isinstance(settings, dict):
            raise RunError(f"{self._settings_path} cannot be read: it holds no settings")
        return settings

    def _begun_ledger(self) -> LedgerReader | None:
        """Open the ledger of this search, if it has begun one."""
        ledger = self._found_ledger()
        if ledger is None:
            return None
        with self._named_failures(), ExitStack() as stack:
            stack.callback(ledger.close)
            if not self._is_own(ledger):
                return None
            stack.pop_all()
        return ledger

    def _found_ledger(self) -> LedgerReader | None:
        """Open the ledger that is where that of this search is to be, if there is one."""
        with self._named_failures(), ExitStack() as stack:
            url = database_url(self.ledger_url)
            file = url.database if url.get_backend_name() == "sqlite" else None
            if file is not None and not file.startswith("file:") and not Path(file).is_file():
                return None  # to look would make it
            ledger = LedgerReader(self.ledger_url)
            stack.callback(ledger.close)
            if not ledger.is_begun:
                return None
            stack.pop_all()
        return ledger

    def _is_own(self, ledger: LedgerReader) -> bool:
        """Tell whether a search that was found is the one of this run directory.

        One that has no life yet may be of a launch that was killed before it could say `begun`.
        """
        is_inside = database_url(self.ledger_url).database == str(self._ledger_path)
        return is_inside or self._begun_path.is_file() or not ledger.lives()

    def _sign_of_life(self) -> str:
        """Say by what one sees that the search has begun; nothing where it has not."""
        if self._begun_path.is_file():
            return "the search has begun"
        # Where somebody else starts them, they may wait for the search with nothing to lose; what
        # they hold is asked of themselves then.
        if not self._given_addresses():
            for path in sorted(self.path.glob("shards/shard-*/*")):
                if Segment.parse(path.name) or CheckpointName.parse(path.name):
                    return f"the shards have state ({path.parent})"
        return ""

    @property
    def _where(self) -> str:
        """Where the ledger is, as it may be shown."""
        url = sql.make_url(self.ledger_url)
        is_inside = url.database == str(self._ledger_path)
        return self._ledger_path.name if is_inside else url.render_as_string(hide_password=True)

    @contextmanager
    def _named_failures(self) -> Iterator[None]:
        """Turn a failure of the ledger into a RunError that says what to do."""
        try:
            yield
        except UnusableDatabase as error:
            raise RunError(f"the ledger of {self.path} cannot be read: {error}") from error
        except LedgerError as error:
            hint = (
                "; if it is damaged, restore it from a copy"
                if os.access(self.path, os.W_OK)
                else "; SQLite needs to write beside it: copy the run directory to where you may"
            )
            raise RunError(f"the ledger of {self.path} cannot be read: {error}{hint}") from error

    @property
    def _begun_path(self) -> Path:
        return self.path / "begun"

    @property
    def _settings_path(self) -> Path:
        return self.path / "settings.yaml"

    @property
    def _ledger_path(self) -> Path:
        return self.path / "ledger.sqlite"

    @property
    def _endpoints_path(self) -> Path:
        return self.path / "endpoints.json"


def write_settings(disk: Disk, path: Path, text: str, has_secret: bool = False) -> None:
    """Replace the settings of a run, atomically and durably.

    Args:
        has_secret: whether nobody but the file's owner may read it from now on. Otherwise its mode
            stays as it is.

    Raises:
        OSError: they were not written; the old ones are there.
    """
    mode = path.stat().st_mode & 0o777
    write_durably(disk, path, text.encode(), mode & 0o600 if has_secret else mode)


def _write_whole(path: Path, text: str) -> None:
    """Write a file so that whoever reads it sees all of the old one or all of the new."""
    beside = path.with_name(f"{path.name}.tmp")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)
