"""The standard streams of a command: what cannot be written there ends no work.

In: the streams as a shell gives them: a terminal, a file, a full disk, a pipe whose reader has
gone, or nothing at all. Out: streams that remember their first failure, and an exit status.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from codecs import lookup
from collections.abc import Iterator
from contextlib import contextmanager
from signal import SIGPIPE
from typing import Final, TextIO, cast

READER_GONE: Final = 128 + SIGPIPE
"""Exit status where the reader of stdout has gone, as shells give it, for example `| head -1`."""

NOT_WRITTEN: Final = 1
"""Exit status where stdout took no more for another reason."""


class _Lasting(io.TextIOWrapper):
    """A stream that goes on when it can no longer be written: its first error is kept.

    Text is counted as written or not here, above the buffer: below it, a signal that comes behind
    the system's call would have the buffer write twice.
    """

    lost: OSError | None = None

    def write(self, text: str, /) -> int:
        """Write what the stream takes; after an error everything is taken, and dropped."""
        try:
            return super().write(text)
        except OSError as error:
            self._drop(error)
            return len(text)

    def flush(self) -> None:
        """See `write`."""
        try:
            super().flush()
        except OSError as error:
            self._drop(error)

    def _drop(self, error: OSError) -> None:
        """From here on everything goes nowhere, also what is in the buffer still."""
        self.lost = self.lost or error
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())
        os.close(nowhere)


@contextmanager
def lasting_streams() -> Iterator[None]:
    """Have a stdout and stderr whose failures are found at the end, not in the middle of work.

    Streams that a program put in the place of the standard ones are left alone.
    """
    _fill_gaps()
    before = sys.stdout, sys.stderr
    ours: list[_Lasting] = []
    if sys.stdout is sys.__stdout__:
        ours.append(_lasting(sys.stdout, 1))
        sys.stdout = ours[-1]
    if sys.stderr is sys.__stderr__:
        ours.append(_lasting(sys.stderr, 2))
        sys.stderr = ours[-1]
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
        for stream in ours:
            stream.flush()
            stream.detach()  # else it would close the buffer, which the one before has, too


def lost_data() -> OSError | None:
    """Why a part of what was written to stdout is lost; None where all of it was taken."""
    return sys.stdout.lost if isinstance(sys.stdout, _Lasting) else None


def status_of_loss(error: OSError) -> int:
    """The exit status of a command whose stdout was lost; says why where nobody chose that."""
    if error.errno == errno.EPIPE:
        return READER_GONE
    sys.stderr.write(
        f"error: stdout cannot be written ({error.strerror}), expected room for the result; all "
        "else is done: run the command again with > FILE where there is room, or > /dev/null\n"
    )
    return NOT_WRITTEN


def _fill_gaps() -> None:
    """Take the numbers of closed streams: else the next file would get them, and our texts."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDONLY)  # gets the lowest free number, and takes no text


def _lasting(stream: TextIO | None, number: int) -> _Lasting:
    """Our stream on the buffer of a standard one, which is None where it is closed."""
    if stream is None:
        buffer, encoding = io.BufferedWriter(io.FileIO(number, "w", closefd=False)), "utf-8"
    else:
        stream.flush()
        buffer, encoding = cast("io.BufferedWriter[io.FileIO]", stream.buffer), stream.encoding
    return _Lasting(
        buffer,
        # a terminal that says it knows ASCII alone mostly was not asked
        encoding="utf-8" if lookup(encoding).name == "ascii" else encoding,
        errors="backslashreplace",  # any other gets escapes instead of ending the program
        line_buffering=True,
    )
