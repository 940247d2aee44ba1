"""How much of its tables a database looks at to execute the statements of a call."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sql

# Indexes of a few rows, however many the table has.
_OF_FEW = "trials_in_flight|trials_in_no_push|open_pushes"
_FULL_SCAN = re.compile(rf"SCAN (trials|pushes)(?! USING (COVERING )?INDEX ({_OF_FEW}))")


class Work:
    """What was looked at: in SQLite instructions of its virtual machine, in PostgreSQL rows.

    full_scans: the plans of those statements that go through all trials or pushes.
    """

    def __init__(self) -> None:
        self.amount = 0
        self.full_scans: list[str] = []


@contextmanager
def watched() -> Iterator[Work]:
    """Watch what is executed, on all databases of this process and by one thread."""
    work = Work()

    def before(
        connection: sql.Connection, cursor: Any, statement: str, parameters: Any, *_: Any
    ) -> None:
        if statement.startswith(("SELECT", "INSERT", "UPDATE", "DELETE")):
            given = parameters[0] if isinstance(parameters, list) else parameters
            look = {"sqlite": _look_sqlite, "postgresql": _look_postgresql}
            look[connection.dialect.name](cursor.connection, statement, given, work)

    def after(connection: sql.Connection, cursor: Any, *_: Any) -> None:
        if connection.dialect.name == "sqlite":
            cursor.connection.set_progress_handler(None, 0)

    sql.event.listen(sql.Engine, "before_cursor_execute", before)
    sql.event.listen(sql.Engine, "after_cursor_execute", after)
    try:
        yield work
    finally:
        sql.event.remove(sql.Engine, "before_cursor_execute", before)
        sql.event.remove(sql.Engine, "after_cursor_execute", after)


def _look_sqlite(connection: Any, statement: str, parameters: Any, work: Work) -> None:
    plan = connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters).fetchall()
    text = "; ".join(row[-1] for row in plan)
    if _FULL_SCAN.search(text):
        work.full_scans.append(f"{text}: {statement}")

    def count() -> None:
        work.amount += 1

    # Rows that are fetched later are counted too, until another statement is executed.
    connection.set_progress_handler(count, 1)


def _look_postgresql(connection: Any, statement: str, parameters: Any, work: Work) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SAVEPOINT look")
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters)
        [[[explained]]] = cursor.fetchall()
        cursor.execute("ROLLBACK TO look")
    for node in _nodes(explained["Plan"]):
        looked_at = node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
        work.amount += looked_at * node["Actual Loops"]
        if node["Node Type"] == "Seq Scan" and node["Relation Name"] in ("trials", "pushes"):
            work.full_scans.append(f"{explained}: {statement}")


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    children: Sequence[dict[str, Any]] = node.get("Plans", ())
    for child in children:
        yield from _nodes(child)
