"""What a TensorRT library says: one logger per library and process, into `logging`.

The library keeps the first logger it is given for as long as the process lives and warns of any
other, so that one per engine would be ignored, or die with its engine.
"""

from __future__ import annotations

import logging
import re
from collections import deque
from functools import cache
from types import ModuleType
from typing import Final, Protocol

logger = logging.getLogger(__name__)

_KEPT: Final = 16
"""Error messages that are remembered: a program may open engines for months."""

_LISTING: Final = "Layers:"
"""How the message begins in which a build lists its kernels."""

_IGNORED: Final = re.compile(r"disabled|ignor|unsupported|not supported", re.IGNORECASE)
"""What the library says of a setting that it does not follow."""


class LibraryLog(Protocol):
    """A logger of a TensorRT library.

    Attributes:
        errors: its last error messages, for the text of an error.
        listing: the kernels of the last build, as the library writes them; empty before one.
    """

    errors: deque[str]
    listing: str


def library_log(module: ModuleType) -> LibraryLog:
    """The process's one logger of a library.

    Args:
        module: `tensorrt` or `tensorrt_rtx`.

    Returns:
        An `ILogger` of the library.
    """
    return _make(module)


def last_errors(log: LibraryLog, most: int) -> str:
    """The last messages of a logger in one line; empty where there is none."""
    return "; ".join(" ".join(text.split()) for text in list(log.errors)[-most:])


@cache
def _make(module: ModuleType) -> LibraryLog:
    """A logger that lives as long as the process."""
    severity = module.ILogger.Severity
    levels = {
        severity.INTERNAL_ERROR: logging.ERROR,
        severity.ERROR: logging.ERROR,
        # the library warns of what it handles itself; -v shows it
        severity.WARNING: logging.INFO,
        severity.INFO: logging.INFO,
    }

    class Forward(module.ILogger):  # type: ignore[misc, name-defined]
        """Sends messages to `logging`."""

        def __init__(self) -> None:
            super().__init__()
            self.errors: deque[str] = deque(maxlen=_KEPT)
            self.listing = ""

        def log(self, level: object, message: str) -> None:
            """Take one message."""
            rank = levels.get(level, logging.DEBUG)
            if rank == logging.ERROR:
                self.errors.append(message)
                rank = logging.INFO  # the caller raises with these texts
            elif level == severity.WARNING and _IGNORED.search(message):
                rank = logging.WARNING  # a setting that somebody gave
            elif message.startswith(_LISTING):
                self.listing = message
                rank = logging.INFO
            logger.log(rank, "%s: %s", module.__name__, message)

    made: LibraryLog = Forward()
    return made
