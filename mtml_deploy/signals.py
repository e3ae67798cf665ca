"""Signals that ask a command to end: it stops as on Ctrl-C, with its temporary files removed.

In: SIGINT, SIGTERM and SIGHUP. Out: one exception, which everything that tidies up knows.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Ctrl-C, the kill that asks first, and a terminal that was closed."""


class Interrupted(KeyboardInterrupt):
    """The program was asked to end.

    Attributes:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        """Say which signal it was."""
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.number = number

    @property
    def status(self) -> int:
        """The exit status, as shells give it."""
        return 128 + self.number


_received: list[int] = []
"""The signal that asked, if one has: signals are a process's, so is this."""


def received() -> int | None:
    """The signal that asked the command to end; known also where a library lost the exception."""
    return _received[0] if _received else None


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Raise `Interrupted` in the main thread at the first signal; a second one ends the process.

    A signal that is ignored (nohup) or that somebody handles already is left so.
    """
    owner = os.getpid()
    before: dict[signal.Signals, Any] = {}

    def receive(number: int, frame: FrameType | None) -> None:
        if os.getpid() != owner:  # a process that was forked: its parent tidies up
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        for each in before:
            signal.signal(each, signal.SIG_DFL)
        _received.append(number)
        raise Interrupted(number)

    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                before[number] = signal.signal(number, receive)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if before:
            _received.clear()
