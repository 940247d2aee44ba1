"""A run directory: the settings, ledger, addresses and logs of one search."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

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

    settings.yaml   what was run, complete
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
        """Where the ledger is, as a database URL."""
        url = sql.URL.create("sqlite", database=str(self._ledger_path))
        return url.render_as_string(hide_password=False)

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

    @contextmanager
    def endpoints_of(self, addresses: Sequence[str]) -> Iterator[None]:
        """Make known that shard i listens at addresses[i], until the end of the block."""
        # Whoever reads sees the whole file or none.
        beside = self._endpoints_path.with_suffix(".tmp")
        beside.write_text(json.dumps({"shards": list(addresses)}), encoding="utf-8")
        beside.replace(self._endpoints_path)
        try:
            yield
        finally:
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
        """Give shards.addresses of the settings, without waiting for what checks them (torch)."""
        try:
            settings = yaml.safe_load(self._settings_path.read_text(encoding="utf-8"))
            return tuple(map(str, settings.get("shards", {}).get("addresses", ())))
        except (OSError, UnicodeDecodeError, yaml.YAMLError, AttributeError, TypeError) as error:
            raise RunError(f"{self._settings_path} cannot be read: {error}") from error

    def _begun_ledger(self) -> LedgerReader | None:
        if not self._ledger_path.is_file():
            return None
        ledger = LedgerReader(self.ledger_url)
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
