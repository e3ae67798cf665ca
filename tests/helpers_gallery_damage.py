"""Damage to each file of a gallery in a folder: bytes, JSON, entries, values and tables by SQL."""

from __future__ import annotations

import random
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fuzz_mutations import ENTRIES, damaged_bytes, damaged_json, replace_entry

_VALUES: Final = (
    "NULL", "0", "1", "-1", "2", "3", "7", "8", "255", "2147483648", "4294967296",
    "9223372036854775807", "-9223372036854775808", "1e400", "-1e400", "1e300", "1.5", "-0.0", "'x'",
    "'1'", "''", "x''", "x'00'", "x'ff'", "CAST(x'ff' AS TEXT)", "CAST(x'ed9fbfedbfbf' AS TEXT)",
    "char(0)", "'a' || char(0) || 'b'", "zeroblob(70000)", "hex(zeroblob(50000))",
    "CAST({column} AS TEXT)", "CAST({column} AS BLOB)", "{column} + 1", "-{column}",
    "zeroblob(length({column}))", "substr({column}, 2)", "{column} || {column}",
)  # fmt: skip
"""What a column of a record may be given instead of its own value."""


@dataclass(frozen=True)
class Damage:
    """One damage that was done.

    Attributes:
        what: for the message of a failing test.
        file: of the folder.
    """

    what: str
    file: str


def damage_bytes(folder: Path, draw: random.Random) -> Damage | None:
    """Bytes of one of the files."""
    path = draw.choice(sorted(path for path in folder.rglob("*") if path.is_file()))
    content = path.read_bytes()
    what, new = damaged_bytes(content, draw)
    path.write_bytes(new)
    return None if new == content else Damage(what, path.relative_to(folder).as_posix())


def damage_pages(folder: Path, draw: random.Random) -> Damage | None:
    """Bytes of the record of rows, most of them inside pages that are in use."""
    path = folder / "rows.sqlite"
    content = path.read_bytes()
    what, new = damaged_bytes(content, draw)
    path.write_bytes(new)
    return None if new == content else Damage(what, path.name)


def damage_json(folder: Path, draw: random.Random) -> Damage | None:
    """One of the manifests."""
    path = draw.choice(sorted(folder.rglob("*.json")))
    what, new = damaged_json(path.read_bytes(), draw)
    path.write_bytes(new)
    return Damage(what, path.relative_to(folder).as_posix())


def damage_entry(folder: Path, draw: random.Random) -> Damage | None:
    """Something else in place of a file or folder, also of those that come and go."""
    paths = [path.relative_to(folder).as_posix() for path in folder.rglob("*")]
    paths += ["rows.sqlite-wal", "rows.sqlite-shm", "rows.sqlite-journal", "writer.lock"]
    name = draw.choice(sorted(set(paths)))
    kind = draw.choice(ENTRIES)
    replace_entry(folder / name, kind)
    return Damage(f"entry {kind}", name)


def damage_sql(folder: Path, draw: random.Random) -> Damage | None:
    """Values of the record of rows, by SQL, past every check of its schema."""
    database = sqlite3.connect(folder / "rows.sqlite", isolation_level=None)
    try:
        database.execute("PRAGMA ignore_check_constraints = ON")
        table = draw.choice(("rows", "rows", "rows", "segments", "state"))
        columns = [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
        column = draw.choice(columns)
        value = draw.choice(_VALUES).replace("{column}", column)
        count = database.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
        only = draw.random() < 0.8
        key = columns[0]
        where = f"WHERE {key} = (SELECT {key} FROM {table} LIMIT 1 OFFSET {draw.randrange(count)})"
        sql = f"UPDATE {table} SET {column} = {value} {where if only else ''}"
        before = "\n".join(database.iterdump())
        strict = _loosened(database, table)
        try:
            database.execute(sql)
        except (sqlite3.Error, OverflowError):
            return None
        finally:
            _restored(database, strict)
        if before == "\n".join(database.iterdump()):
            return None
    except sqlite3.Error:
        return Damage(f"sql {sql}", "rows.sqlite")  # the dump itself fails on what was written
    finally:
        database.close()
    _fold(folder)
    return Damage(f"sql {sql}", "rows.sqlite")


_STATEMENTS: Final = (
    "DROP TABLE {table}", "DELETE FROM {table}", "ALTER TABLE {table} RENAME TO other",
    "ALTER TABLE {table} RENAME COLUMN {column} TO other",
    "ALTER TABLE {table} DROP COLUMN {column}",
    "ALTER TABLE {table} ADD COLUMN other",
    "ALTER TABLE {table} RENAME TO hidden; CREATE VIEW {table} AS SELECT * FROM hidden",
    "ALTER TABLE {table} RENAME TO hidden; CREATE VIEW {table} AS WITH RECURSIVE n(x) AS "
    "(SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT hidden.* FROM n, hidden",
    "CREATE VIEW v AS WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) "
    "SELECT x FROM n",
    "CREATE TRIGGER t AFTER INSERT ON {table} BEGIN DELETE FROM {table}; END",
    "CREATE TRIGGER t AFTER UPDATE ON {table} BEGIN UPDATE state SET value = 0; END",
    "CREATE VIRTUAL TABLE f USING fts5(x)", "CREATE INDEX i ON {table} ({column})",
    "CREATE INDEX i ON {table} (abs({column}))", "CREATE TABLE other (x)",
    "DELETE FROM {table} WHERE rowid = 2", "DELETE FROM rows WHERE row = 7",
    "DELETE FROM rows WHERE row > 9", "DELETE FROM segments WHERE segment = 1",
    "INSERT INTO rows SELECT 100 + row, {rest} FROM rows WHERE row = 4",
    "INSERT INTO segments SELECT 9, {segments} FROM segments WHERE segment = 2",
    "INSERT INTO state VALUES ('other', 1{pad})", "PRAGMA user_version = 77",
    "PRAGMA application_id = 77", "PRAGMA journal_mode = DELETE",
    "PRAGMA page_size = 65536; VACUUM",
    "PRAGMA encoding = 'UTF-16'; VACUUM", "PRAGMA auto_vacuum = 1; VACUUM", "REINDEX",
    "PRAGMA writable_schema = ON; UPDATE sqlite_master SET rootpage = 2 WHERE name = '{table}'",
    "PRAGMA writable_schema = ON; UPDATE sqlite_master SET rootpage = 3 WHERE name = '{table}'",
    "PRAGMA writable_schema = ON; UPDATE sqlite_master SET sql = 'x' WHERE name = '{table}'",
    "PRAGMA writable_schema = ON; UPDATE sqlite_master SET sql = CAST(x'ff' AS TEXT)",
    "PRAGMA writable_schema = ON; DELETE FROM sqlite_master WHERE type = 'index'",
    "PRAGMA writable_schema = ON; UPDATE sqlite_master SET type = 'view'",
)  # fmt: skip


def damage_schema(folder: Path, draw: random.Random) -> Damage | None:
    """Tables, columns, views, triggers and settings of the record of rows."""
    database = sqlite3.connect(folder / "rows.sqlite", isolation_level=None)
    try:
        table = draw.choice(("rows", "segments", "state"))
        columns = [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
        rest = [row[1] for row in database.execute("PRAGMA table_info(rows)")][1:]
        more = [row[1] for row in database.execute("PRAGMA table_info(segments)")][1:]
        state = database.execute("PRAGMA table_info(state)").fetchall()
        sql = (
            draw.choice(_STATEMENTS)
            .replace("{table}", table)
            .replace("{column}", draw.choice(columns))
            .replace("{rest}", ", ".join(f"'y'||{c}" if c == "content" else c for c in rest))
            .replace("{segments}", ", ".join(more))
            .replace("{pad}", ", 5" * (len(state) - 2))
        )
        try:
            for statement in sql.split("; "):
                database.execute(statement)
        except sqlite3.Error:
            return None
    finally:
        database.close()
    _fold(folder)
    return Damage(f"schema {sql}", "rows.sqlite")


DAMAGES: Final = {
    "bytes": damage_bytes, "pages": damage_pages, "json": damage_json, "entry": damage_entry,
    "sql": damage_sql, "schema": damage_schema,
}  # fmt: skip


def _fold(folder: Path) -> None:
    """Leave one file, as closing does."""
    for name in ("rows.sqlite-wal", "rows.sqlite-shm"):
        path = folder / name
        if (path.exists() and path.stat().st_size == 0) or name.endswith("shm"):
            path.unlink(missing_ok=True)


def _loosened(database: sqlite3.Connection, table: str) -> list[tuple[str, str]]:
    """Take STRICT and NOT NULL off a table's declaration; what it was."""
    old = database.execute(
        "SELECT name, sql FROM sqlite_master WHERE type = 'table' AND name = ?", (table,)
    ).fetchall()
    database.execute("PRAGMA writable_schema = ON")
    for name, sql in old:
        loose = sql.replace("NOT NULL", "").replace("STRICT, WITHOUT ROWID", "WITHOUT ROWID")
        loose = loose.replace(") STRICT", ")")
        database.execute("UPDATE sqlite_master SET sql = ? WHERE name = ?", (loose, name))
    _reparse(database)
    return old


def _restored(database: sqlite3.Connection, old: list[tuple[str, str]]) -> None:
    """Put the declaration back."""
    for name, sql in old:
        database.execute("UPDATE sqlite_master SET sql = ? WHERE name = ?", (sql, name))
    _reparse(database)
    database.execute("PRAGMA writable_schema = OFF")


def _reparse(database: sqlite3.Connection) -> None:
    """Make SQLite read the schema anew."""
    version = database.execute("PRAGMA schema_version").fetchone()[0]
    database.execute(f"PRAGMA schema_version = {version + 1}")
