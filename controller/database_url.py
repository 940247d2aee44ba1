"""The URL of a ledger's database: which ones there are, and what may stand in them."""

from __future__ import annotations

import importlib

import sqlalchemy as sql

from controller.errors import UnusableDatabase

# What libpq would read a secret from; the part before @ is the one place that is never shown.
_SECRETS = ("password", "sslpassword")


def database_url(text: str) -> sql.URL:
    """Read a URL, such as sqlite:////path/ledger.sqlite or postgresql://user@host/database.

    Raises:
        UnusableDatabase: it is no URL of such a database, or the driver for it is not installed.
            The message shows no password.
    """
    try:
        url = sql.make_url(text)
    except (sql.exc.ArgumentError, ValueError):
        # Not even what was given: where a URL cannot be read, nobody knows which part is secret.
        raise UnusableDatabase(
            "the URL of the ledger's database cannot be read; it must be like "
            "sqlite:////path/ledger.sqlite or postgresql://user@host/database, where characters "
            "such as @, : and / in a password are written %40, %3A, %2F"
        ) from None
    shown = url.difference_update_query(_SECRETS).render_as_string(hide_password=True)
    if url.drivername not in ("sqlite", "postgresql", "postgresql+psycopg"):
        raise UnusableDatabase(f"{shown}: must begin with sqlite:// or postgresql://")
    if url.drivername == "sqlite":
        if url.host is not None or url.database in (None, "", ":memory:"):
            raise UnusableDatabase(
                f"{shown}: must name a file, as sqlite:////path/ledger.sqlite does"
            )
        return url
    if secret := next((name for name in _SECRETS if name in url.query), None):
        raise UnusableDatabase(
            f"{shown}: must not hold {secret}=, which would be shown in messages and logs; "
            "leave it to ~/.pgpass or to the environment"
        )
    try:
        importlib.import_module("psycopg")
    except ImportError as error:
        raise UnusableDatabase(
            f"{shown}: needs the package psycopg, which cannot be imported ({error}); "
            "pip install 'psycopg[binary]'"
        ) from error
    return url.set(drivername="postgresql+psycopg")
