"""A run directory: the settings, ledger, addresses and logs of one search."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sql
import yaml

from controller.errors import LedgerError
from controller.ledger_reader import LedgerReader

if TYPE_CHECKING:
    from deploy.settings import SearchSettings
    from ps.credentials import Identity


class RunError(Exception):
    """A run directory is not what it has to be; the message says what to do."""


class Run:
    """One search on disk.

    settings.yaml   what was run last, complete
    ledger.sqlite   the trials and pushes; written by the search alone. While it runs, and if it
                    was killed, the newest are in ledger.sqlite-wal beside it
    shards/         the state of each shard: its journal and its checkpoints
    certificates/   the search's certificate authority and who it vouches for, where TLS is on
    endpoints.json  where the shards listen, while the search lives
    logs/           one file for each process
    """

    def __init__(self, path: Path | str) -> None:
        """Open an existing run directory.

        Raises:
            RunError: there is no run at the path.
        """
        self.path = Path(path).absolute()
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
            (path / "logs").mkdir()
            (path / "settings.yaml").write_text(settings.to_yaml(), encoding="utf-8")
        except FileExistsError as error:
            raise RunError(
                f"run directory {path} exists already; give another with --run-dir"
            ) from error
        except OSError as error:
            raise RunError(f"run directory {path} cannot be made: {error}") from error
        return cls(path)

    @property
    def settings(self) -> SearchSettings:
        """The settings of the search. Raises SettingsError if the file was changed since."""
        # Whoever only looks at the ledger does not wait for torch and Ray.
        from deploy.settings_file import load_settings

        return load_settings(self._settings_path)

    @property
    def log_dir(self) -> Path:
        return self.path / "logs"

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
        if given := self._raw_settings().get("ledger_url"):
            return str(given)
        url = sql.URL.create("sqlite", database=str(self._ledger_path))
        return url.render_as_string(hide_password=False)

    @property
    def has_begun(self) -> bool:
        """Whether the search has a ledger.

        Raises:
            RunError: it cannot be read.
        """
        ledger = self._begun_ledger()
        if ledger is not None:
            ledger.close()
        return ledger is not None

    def keep(self, settings: SearchSettings) -> None:
        """Write down the settings that the search goes on with."""
        _write_whole(self._settings_path, settings.to_yaml())

    def ledger(self) -> LedgerReader:
        """Open the ledger, to read it; close it, or use it by `with`.

        Raises:
            RunError: the search has not begun it, or it cannot be read.
        """
        ledger = self._begun_ledger()
        if ledger is None:
            raise RunError(
                f"{self.path} has no ledger: its search has not begun yet, or ended before it began"
            )
        return ledger

    def discard_if_empty(self) -> bool:
        """Remove the directory if nothing has begun in it; tell whether it was.

        A ledger is the search's beginning, and a shard that was started by hand holds its folder.
        """
        try:
            ledger = self._begun_ledger()
        except RunError:
            return False  # what cannot be read may hold something
        if ledger is not None:
            ledger.close()
        if ledger is not None or (self.path / "shards").exists():
            return False
        shutil.rmtree(self.path)
        return True

    def publish_endpoints(self, addresses: Sequence[str]) -> None:
        """Make known that shard i listens at addresses[i]."""
        _write_whole(self._endpoints_path, json.dumps({"shards": list(addresses)}))

    def withdraw_endpoints(self) -> None:
        """Make known that the shards are gone."""
        self._endpoints_path.unlink(missing_ok=True)

    def endpoints(self) -> tuple[str, ...]:
        """Give the addresses of the shards, in their order.

        Where the settings name shards that somebody else starts, they may be there at any time.

        Raises:
            RunError: the search is over, or has not started its shards yet, or the settings cannot
                be read any more.
        """
        try:
            return tuple(json.loads(self._endpoints_path.read_text(encoding="utf-8"))["shards"])
        except FileNotFoundError as error:
            if addresses := self._given_addresses():
                return addresses
            raise RunError(
                f"{self.path} has no endpoints.json: its shards are not up yet, or the search has "
                "ended and stopped them"
            ) from error

    def _given_addresses(self) -> tuple[str, ...]:
        try:
            return tuple(map(str, self._raw_settings().get("shards", {}).get("addresses", ())))
        except (AttributeError, TypeError) as error:
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
        url = self.ledger_url
        if sql.make_url(url).database == str(self._ledger_path) and not self._ledger_path.is_file():
            return None  # to look would make it
        ledger = LedgerReader(url)
        try:
            if ledger.is_begun:
                return ledger
        except LedgerError as error:
            ledger.close()
            hint = (
                "; if it is damaged, restore it from a copy"
                if os.access(self.path, os.W_OK)
                else "; SQLite needs to write beside it: copy the run directory to where you may"
            )
            raise RunError(f"the ledger of {self.path} cannot be read: {error}{hint}") from error
        ledger.close()
        return None

    @property
    def _settings_path(self) -> Path:
        return self.path / "settings.yaml"

    @property
    def _ledger_path(self) -> Path:
        return self.path / "ledger.sqlite"

    @property
    def _endpoints_path(self) -> Path:
        return self.path / "endpoints.json"


def _write_whole(path: Path, text: str) -> None:
    """Write a file so that whoever reads it sees all of the old one or all of the new."""
    beside = path.with_name(f"{path.name}.tmp")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)
