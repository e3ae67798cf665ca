"""SQLite with its errors in words for the user, and whole transactions."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from mtml_deploy.gallery.values import GalleryError

Value = int | float | str | bytes | None

_WAIT_S: Final = 30.0
"""How long to wait for another process's transaction, which takes milliseconds."""


class Database:
    """One open file; owned by one thread. Every method raises GalleryError where SQLite fails."""

    def __init__(self, path: Path, *, write: bool) -> None:
        """Open a file that exists.

        Args:
            path: the file.
            write: open it for changes.
        """
        self.path = path
        uri = f"{path.absolute().as_uri()}?mode={'rw' if write else 'ro'}"
        with self._told():
            self._connection = sqlite3.connect(uri, uri=True, timeout=_WAIT_S, isolation_level=None)
            self.run("PRAGMA synchronous = FULL")  # committed is on disk
            self.run("PRAGMA secure_delete = ON")  # deleted content is overwritten

    def run(self, sql: str, values: tuple[Value, ...] = ()) -> list[tuple[Any, ...]]:
        """All rows that a statement gives."""
        with self._told():
            return self._connection.execute(sql, values).fetchall()

    def iterate(self, sql: str) -> Iterator[tuple[Any, ...]]:
        """The rows that a statement gives, one by one."""
        with self._told():
            yield from self._connection.execute(sql)

    def run_many(self, sql: str, values: Iterable[tuple[Value, ...]]) -> int:
        """Run a changing statement with each of the values; how many rows it changed in all."""
        with self._told():
            return self._connection.executemany(sql, values).rowcount

    @contextmanager
    def transaction(self, begin: str) -> Iterator[None]:
        """`begin`, then COMMIT, or ROLLBACK on any error."""
        self.run(begin)
        try:
            yield
            self.run("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def trace(self, listener: Callable[[str], None] | None) -> None:
        """Tell `listener` every statement that runs; None ends that."""
        self._connection.set_trace_callback(listener)

    def close(self) -> None:
        """Close the file; closing twice is allowed."""
        self._connection.close()

    @contextmanager
    def _told(self) -> Iterator[None]:
        """SQLite's errors as GalleryError."""
        try:
            yield
        except sqlite3.ProgrammingError:  # a closed gallery, another thread: the caller's mistake
            raise
        except sqlite3.OperationalError as error:
            raise GalleryError(
                f"{self.path} cannot be used ({error}), expected a readable record of rows, its "
                "folder writable, and room on the disk; check these, then try again"
            ) from error
        except sqlite3.DatabaseError as error:
            raise GalleryError(
                f"{self.path} is damaged ({error}); restore the gallery from a backup"
            ) from error
