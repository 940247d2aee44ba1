from __future__ import annotations

import sys
import traceback

import pytest

from controller.database_url import database_url
from controller.errors import UnusableDatabase
from controller.ledger import Ledger


@pytest.mark.parametrize(
    ("text", "driver", "database"),
    [
        ("sqlite:////runs/1/ledger.sqlite", "sqlite", "/runs/1/ledger.sqlite"),
        ("postgresql://me:hunter2@host:5433/name", "postgresql+psycopg", "name"),
        ("postgresql+psycopg:///name?host=/tmp", "postgresql+psycopg", "name"),
    ],
)
def test_url_of_a_database_is_read(text, driver, database):
    url = database_url(text)

    assert (url.drivername, url.database) == (driver, database)


def test_password_is_kept_for_the_connection():
    assert database_url("postgresql://me:se%40cret@host/name").password == "se@cret"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mysql://me:hunter2@host/name", r"^mysql://me:\*\*\*@host/name: must begin with sqlite:"),
        ("sqlite://", r"^sqlite://: must name a file, as sqlite:////path/ledger.sqlite does$"),
        ("sqlite:///:memory:", r"^sqlite:///.*: must name a file"),
        ("sqlite://path/ledger.sqlite", r"^sqlite://path/ledger.sqlite: must name a file"),
        ("postgresql+asyncpg://h/name", r"^postgresql\+asyncpg://h/name: must begin with sqlite:"),
        ("me:hunter2@host/name", r"^the URL of the ledger's database cannot be read; it must be"),
        (
            "postgresql://me:a@b:hunter2/c@h:1/d",
            r"^the URL of the ledger's database cannot be read",
        ),
        ("postgresql://h/name?password=hunter2", r"^postgresql://h/name: must not hold password=,"),
        ("postgresql://h/x?sslpassword=hunter2", r"^postgresql://h/x: must not hold sslpassword=,"),
    ],
)
def test_url_of_no_database_for_a_ledger_is_refused_without_its_password(text, message):
    with pytest.raises(UnusableDatabase, match=message) as refused:
        database_url(text)

    assert "hunter2" not in "".join(traceback.format_exception(refused.value))


def test_postgresql_without_its_driver_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)

    missing = r"^postgresql://me:\*\*\*@host/name: needs .* pip install 'psycopg\[binary\]'$"
    with pytest.raises(UnusableDatabase, match=missing):
        Ledger("postgresql://me:hunter2@host/name")


def test_url_that_cannot_be_used_is_a_bad_value_of_a_setting():
    assert issubclass(UnusableDatabase, ValueError)
