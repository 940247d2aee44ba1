"""A PostgreSQL server of the tests' own, which may be killed and started again."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sql
from support.waiting import wait_until

from controller.database import METADATA
from controller.database_url import database_url

_USER = "postgres"  # a server refuses to run as root, but Debian's package brings this user


def programs() -> Path | None:
    """Give the folder of Debian's newest PostgreSQL programs, if they are installed."""
    found = Path("/usr/lib/postgresql").glob("*/bin/postgres")
    return max((path.parent for path in found), key=lambda p: int(p.parts[-2]), default=None)


class PostgresqlServer:
    """A server in a temporary folder, reached through a socket there; fsync is on."""

    def __init__(self, programs: Path) -> None:
        self._programs = programs
        self._user = _USER if os.getuid() == 0 else None
        # Not below pytest's folder, which other users may not enter.
        self._folder = Path(tempfile.mkdtemp(prefix="postgresql-"))
        if self._user:
            shutil.chown(self._folder, self._user)
        self._numbers = itertools.count(1)
        self._free: list[str] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._engine = sql.create_engine(
            f"postgresql+psycopg://{_USER}@/postgres?host={self._folder}",
            isolation_level="AUTOCOMMIT",
            poolclass=sql.NullPool,
        )
        try:
            self._run("initdb", "--pgdata=data", f"--username={_USER}", "--auth=trust", "--no-sync")
            self.start()
        except BaseException:
            self.stop()
            raise

    def start(self) -> None:
        """Start it, and return when it answers."""

        def is_up() -> bool:
            # After a kill it does not start before the last process of the killed one is gone.
            if self._process is None or self._process.poll() is not None:
                self._process = self._popen()
            try:
                self.execute("SELECT 1")
            except sql.exc.OperationalError:
                return False
            return True

        wait_until(is_up, "PostgreSQL is up", timeout_s=30)

    def kill(self) -> None:
        """Kill its first process with SIGKILL; the others end when they notice."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._process = None

    def stop(self) -> None:
        """Stop it, ending what runs, and remove its folder."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(timeout=30)
        shutil.rmtree(self._folder)

    def execute(self, statement: str) -> sql.Sequence[sql.Row[tuple[object, ...]]]:
        """Execute a statement as the server's owner, and give its rows."""
        with self._engine.connect() as connection:
            result = connection.exec_driver_sql(statement)
            return result.all() if result.returns_rows else []

    def new_url(self) -> str:
        """Give the URL of a new, empty schema: as good as a database, and made much faster."""
        schema = f"test_{next(self._numbers)}"
        self.execute(f"CREATE SCHEMA {schema}")
        return self._url_of(schema)

    @contextmanager
    def lent_urls(self) -> Iterator[Callable[[], str]]:
        """Give a function that gives URLs of schemas with the ledger's tables, without rows.

        When the context ends they are emptied, to be given again: that is faster than new ones.
        """
        lent: list[str] = []

        def lend() -> str:
            lent.append(self._free.pop() if self._free else self._filled())
            return self._url_of(lent[-1])

        yield lend
        for schema in lent:
            tables = reversed(METADATA.sorted_tables)
            self.execute("".join(f"DELETE FROM {schema}.{table.name};" for table in tables))
        self._free += lent

    def _filled(self) -> str:
        schema = f"test_{next(self._numbers)}"
        engine = sql.create_engine(database_url(self._url_of(schema)))
        with engine.begin() as connection:
            connection.execute(sql.schema.CreateSchema(schema))
            METADATA.create_all(connection)
        engine.dispose()
        return schema

    def _url_of(self, schema: str) -> str:
        return (
            f"postgresql://{_USER}@/postgres?host={self._folder}&options=-csearch_path%3D{schema}"
        )

    def _popen(self) -> subprocess.Popen[bytes]:
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": self._folder,
            "fsync": "on",
            "max_connections": 200,
        }
        options = [f"--{name}={value}" for name, value in settings.items()]
        with (self._folder / "log").open("ab") as log:
            return subprocess.Popen(
                [self._programs / "postgres", "-D", "data", *options],
                cwd=self._folder,
                user=self._user,
                stdout=log,
                stderr=log,
            )

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [self._programs / program, *arguments],
            cwd=self._folder,
            user=self._user,
            check=True,
            capture_output=True,
            timeout=60,
        )
