"""Whether a database has the tables and indexes that its migrations make, and making them again."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

STAMP = "stamp"

_OBJECTS = (
    "SELECT type, name, sql FROM main.sqlite_master "
    "WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' ORDER BY rowid"
)
_COLUMNS = "SELECT name, type, \"notnull\", pk FROM pragma_table_info(:name, 'main') ORDER BY cid"
# Names come from our own migrations, so SQLite is asked to take the statement apart.
_DROP = {"index": "DROP INDEX main.", "view": "DROP VIEW main.", "table": "DROP TABLE main."}


@dataclass(frozen=True, slots=True)
class Defect:
    """Something that the migrations make and the database does not have, or not like that.

    Attributes:
        kind: `table`, `index`, `view` or `stamp`.
        exists: It is there, but different.
    """

    kind: str
    name: str
    exists: bool

    @property
    def detail(self) -> str:
        """What is wrong, in words."""
        return f"the {self.kind} is {'not as memora makes it' if self.exists else 'missing'}"


@dataclass(frozen=True, slots=True)
class _Object:
    kind: str
    name: str
    sql: str


@dataclass(frozen=True, slots=True)
class _Schema:
    """What a database has; `columns` by table, `stamp` as `_stamp` returns it."""

    objects: tuple[_Object, ...]
    columns: Mapping[str, list[Any]]
    stamp: tuple[int, int]


def statements(script: str) -> Iterator[str]:
    """Yield the statements of a script."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def defects(connection: sqlite3.Connection, scripts: Sequence[str]) -> list[Defect]:
    """Compare a database with a new one that the migrations made.

    Args:
        connection: The database.
        scripts: All migrations, in their order.
    """
    wanted = _wanted(tuple(scripts))
    found = {each.name: each for each in _objects(connection)}
    wrong: list[Defect] = []
    for each in wanted.objects:
        stored = found.get(each.name)
        if stored is None or not _is_same(connection, stored, wanted, each):
            wrong.append(Defect(each.kind, each.name, exists=stored is not None))
    stamp = _stamp(connection)
    if stamp != wanted.stamp:
        wrong.append(Defect(STAMP, "schema", exists=stamp != (0, 0)))
    return wrong


def mend(
    connection: sqlite3.Connection, scripts: Sequence[str], name: str, *, replace: bool = False
) -> bool:
    """Make one object again; a table comes back empty.

    Args:
        connection: The database.
        scripts: All migrations, in their order.
        name: Of the object.
        replace: Also drop a table that is different, with its rows.

    Returns:
        Whether anything changed.
    """
    wrong = {defect.name: defect for defect in defects(connection, scripts)}
    defect = wrong.get(name)
    if defect is None or (defect.kind == "table" and defect.exists and not replace):
        return False
    if defect.kind == STAMP:
        if len(wrong) > 1:
            return False  # it says that everything is there, so it comes last
        for script in scripts:
            for statement in statements(script):
                if _bare(statement).startswith("pragma"):
                    connection.execute(statement)
        return True
    wanted = next(each for each in _wanted(tuple(scripts)).objects if each.name == name)
    if defect.exists:
        connection.execute(_dropping(defect))
    connection.execute(wanted.sql)
    return True


def _dropping(defect: Defect) -> str:
    return _DROP[defect.kind] + defect.name


@lru_cache(maxsize=8)
def _wanted(scripts: tuple[str, ...]) -> _Schema:
    """Return what the migrations make, in a database of their own."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as made:
        for script in scripts:
            for statement in statements(script):
                made.execute(statement)
        objects = _objects(made)
        tables = [each.name for each in objects if each.kind == "table"]
        columns = {name: _columns(made, name) for name in tables}
        return _Schema(tuple(objects), columns, _stamp(made))


def _objects(connection: sqlite3.Connection) -> list[_Object]:
    return [_Object(*row) for row in connection.execute(_OBJECTS)]


def _columns(connection: sqlite3.Connection, table: str) -> list[Any]:
    return connection.execute(_COLUMNS, {"name": table}).fetchall()


def _is_same(
    connection: sqlite3.Connection, stored: _Object, schema: _Schema, wanted: _Object
) -> bool:
    if stored == wanted:
        return True
    if stored.kind != wanted.kind:
        return False
    if wanted.kind == "table":
        # A comment or a check may differ in a database of an earlier version; columns do not.
        return _columns(connection, wanted.name) == schema.columns[wanted.name]
    return _bare(stored.sql) == _bare(wanted.sql)


def _bare(sql: str) -> str:
    return " ".join(re.sub(r"--.*", "", sql).split()).casefold()


def _stamp(connection: sqlite3.Connection) -> tuple[int, int]:
    application_id = connection.execute("PRAGMA application_id").fetchone()[0]
    return application_id, connection.execute("PRAGMA user_version").fetchone()[0]
