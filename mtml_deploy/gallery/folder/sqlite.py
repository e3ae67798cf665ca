"""SQLite with its errors in words for the user, whole transactions, and no trust in the file.

A file is used only where its schema is the declared one, so that nothing in it runs; statements end
after a number of steps that no sound file of its size needs.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from mtml_deploy.gallery.values import GalleryError
from mtml_deploy.write_error import number_of, write_error

Value = int | float | str | bytes | None

WAIT_S: Final = 30.0
"""How long to wait for another process's transaction, which takes milliseconds."""

_NO_WRITE: Final = tuple(
    f"SQLITE_IOERR_{what}" for what in ("WRITE", "FSYNC", "TRUNCATE", "SHMSIZE", "SHMMAP")
)
"""Names of SQLite's errors of writing, which does not tell the system's."""

_MOST_BYTES: Final = 1 << 24
"""Of one row or value (16 MiB)."""

_STEPS: Final = 1_000_000
"""Steps of SQLite's machine between two looks at how many there were."""

_BYTES_A_LOOK: Final = 1 << 18
"""Bytes of a file that allow another `_STEPS`: about a hundred times what is needed."""


class Database:
    """One open file; owned by one thread. Every method raises GalleryError where SQLite fails."""

    def __init__(self, path: Path, *, write: bool, schema: str) -> None:
        """Open a file that exists.

        Args:
            path: the file.
            write: open it for changes.
            schema: SQL that declares all that it holds.
        """
        self.path = path
        self._looks = 0
        for name in (path.name, *(f"{path.name}-{part}" for part in ("wal", "shm", "journal"))):
            _require_plain(path.with_name(name))
        mode = "rw" if write else "ro"
        if not write and _never_changes(path):
            mode += "&immutable=1"  # readers coordinate through a file that cannot be made there
        uri = f"{path.absolute().as_uri()}?mode={mode}"
        with self._told():
            self._connection = sqlite3.connect(uri, uri=True, timeout=WAIT_S, isolation_level=None)
        try:
            self._connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MOST_BYTES)
            self._connection.set_progress_handler(self._look, _STEPS)
            self.run("PRAGMA trusted_schema = OFF")  # functions in a schema have no side effects
            self.run("PRAGMA cell_size_check = ON")  # damaged pages are told early
            self.run("PRAGMA synchronous = FULL")  # committed is on disk
            self.run("PRAGMA secure_delete = ON")  # deleted content is overwritten
            found = self.run("SELECT type, name, tbl_name, sql FROM sqlite_master")
            if set(found) != _declared(schema):
                raise GalleryError(
                    f"{path} does not hold the tables of a record of rows and nothing else; "
                    "restore the gallery from a backup"
                )
        except BaseException:
            self._connection.close()
            raise

    def run(self, sql: str, values: tuple[Value, ...] = ()) -> list[tuple[Any, ...]]:
        """All rows that a statement gives."""
        with self._told():
            return self._connection.execute(sql, values).fetchall()

    def iterate(self, sql: str, many: int) -> Iterator[list[tuple[Any, ...]]]:
        """The rows that a statement gives, `many` at a time."""
        with self._told():
            cursor = self._connection.execute(sql)
        while True:
            with self._told():
                found = cursor.fetchmany(many)
            if not found:
                return
            yield found

    def run_many(self, sql: str, values: Iterable[tuple[Value, ...]]) -> int:
        """Run a changing statement with each of the values; how many rows it changed in all."""
        with self._told():
            return self._connection.executemany(sql, values).rowcount

    def script(self, sql: str) -> None:
        """Run statements that take no values, one by one, inside a transaction."""
        for statement in filter(str.strip, sql.split(";")):
            self.run(statement)

    @contextmanager
    def transaction(self, begin: str) -> Iterator[None]:
        """`begin`, then COMMIT, or ROLLBACK on any error."""
        self.run(begin)
        try:
            yield
            self.run("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                with suppress(sqlite3.Error):  # the error that led here says more
                    self._connection.execute("ROLLBACK")
            raise

    def trace(self, listener: Callable[[str], None] | None) -> None:
        """Tell `listener` every statement that runs; None ends that."""
        self._connection.set_trace_callback(listener)

    def close(self) -> None:
        """Close the file; closing twice is allowed."""
        self._connection.close()

    def _look(self) -> bool:
        """Whether a statement took more steps than any of a sound file of this size does."""
        self._looks += 1
        size = sum(
            path.stat().st_size
            for path in (self.path, self.path.with_name(f"{self.path.name}-wal"))
            if path.exists()
        )
        return self._looks > 10 + size // _BYTES_A_LOOK

    @contextmanager
    def _told(self) -> Iterator[None]:
        """SQLite's errors as GalleryError."""
        self._looks = 0
        try:
            yield
        except sqlite3.ProgrammingError:  # a closed gallery, another thread: the caller's mistake
            raise
        except (sqlite3.Error, UnicodeDecodeError) as error:
            # the second: SQLite's own words quote a damaged schema, which may be no text
            raise GalleryError(_words(self.path, error)) from error


def _words(path: Path, error: Exception) -> str:
    """What went wrong, and what to do."""
    # texts that are no UTF-8 are Python's own finding and have no code
    code = getattr(error, "sqlite_errorname", "")
    if code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return (
            f"{path} is being changed by another process for more than {WAIT_S:g} s, expected "
            "milliseconds; wait until it has ended, or look for one that hangs, then try again"
        )
    if code == "SQLITE_FULL" or code.startswith(_NO_WRITE):
        return str(write_error(path, error, number_of(error)))
    if code.startswith(("SQLITE_IOERR", "SQLITE_NOMEM")):
        return f"{path} cannot be read ({error}); check disk and memory, then try again"
    if code.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_AUTH")):
        return (
            f"{path} cannot be used ({error}), expected a record of rows that you may read, in a "
            "folder that you may write, as searching needs it, too; check both, or copy the "
            "gallery to a folder of yours"
        )
    found = "it does not end" if code == "SQLITE_INTERRUPT" else error
    return f"{path} is damaged ({found}); restore the gallery from a backup"


def _require_plain(path: Path) -> None:
    """Refuse what SQLite would wait for, or follow to somewhere else."""
    try:
        mode = path.lstat().st_mode
    except OSError:
        return  # missing, or SQLite says what is wrong
    if not stat.S_ISREG(mode):
        raise GalleryError(
            f"{path} is no regular file, expected one and no link; put the gallery's own file "
            "back, for example from a backup"
        )


def _never_changes(path: Path) -> bool:
    """Whether a file is whole and lies on a file system that nobody writes to."""
    log = path.with_name(f"{path.name}-wal")
    try:
        if not os.statvfs(path.parent).f_flag & os.ST_RDONLY:
            return False
        left = log.stat().st_size
    except FileNotFoundError:
        return True
    except OSError:
        return False  # SQLite says what is wrong
    if left:
        raise GalleryError(
            f"{log} holds changes of a writer that was killed, on a file system that is read-only; "
            "copy the gallery to where it can be written, and read it there"
        )
    return True


@lru_cache
def _declared(schema: str) -> frozenset[tuple[Any, ...]]:
    """What SQLite keeps of a schema."""
    with closing(sqlite3.connect(":memory:")) as memory:
        memory.executescript(schema)
        return frozenset(memory.execute("SELECT type, name, tbl_name, sql FROM sqlite_master"))
