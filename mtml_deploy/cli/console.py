"""The terminal: data on stdout, everything else on stderr, errors as one line, progress bars.

In: texts, errors and counts of the library. Out: what a person or a pipe sees. Both command lines
(deployment and training) talk through this file.
"""

from __future__ import annotations

import logging
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from signal import SIGINT, Signals
from typing import IO, TYPE_CHECKING, Any, Final

import click

from mtml_deploy.errors import MtmlError
from mtml_deploy.signals import Interrupted, received
from mtml_deploy.text import command_line, printable

if TYPE_CHECKING:
    from rich.console import Console

Progress = Callable[[int, int], None]
"""Called with (done, total)."""

_LAYOUT: Final = "\n\t"
"""Control characters that our own texts are laid out with."""

_drawn: Final[list[Console]] = []
"""Where progress bars are on the screen, the innermost last."""

_NO_THREAD: Final = "can't start new thread"
"""What Python says, in a RuntimeError, where memory or the number of processes is limited."""


class UserError(click.ClickException):
    """An error that is shown as `error: text` on stderr; exit status 1."""

    exit_code = 1

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the text."""
        click.echo(f"error: {printable(self.message, keep=_LAYOUT)}", err=True, file=file)


def write_data(text: str) -> None:
    """Print a result on stdout."""
    click.echo(printable(text, keep=_LAYOUT))


def write_note(text: str) -> None:
    """Print a remark on stderr, above a progress bar where one is drawn."""
    shown = printable(text, keep=_LAYOUT)
    if _drawn:
        _drawn[-1].print(shown, markup=False, highlight=False, emoji=False, soft_wrap=True)
    else:
        click.echo(shown, err=True)


def write_next(*words: object) -> None:
    """Name the command that goes on from here, on stderr; words in capitals are to be filled in.

    A command that another one runs leaves it to that one.
    """
    context = click.get_current_context(silent=True)
    above = None if context is None else context.parent
    if above is not None and not isinstance(above.command, click.Group):
        return
    write_note(f"next: {command_line(*words)}")


def prepare_streams(*, verbose: bool) -> None:
    """Send log records to stderr.

    Args:
        verbose: show what the library does, not only warnings.
    """
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING,
        format="%(levelname)s: %(message)s",
        stream=sys.stderr,
        force=True,
    )
    # what Pillow thinks of a damaged image, which is read or refused in our own words
    logging.getLogger("PIL").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


@contextmanager
def exit_on_error() -> Iterator[None]:
    """Turn what a user can fix into one line and an exit status.

    Raises:
        UserError: for an `MtmlError`, for an operating system error such as a full disk, and where
            memory is not enough.
        click.exceptions.Exit: with status 128 + N after signal N: 130 after Ctrl-C.
    """
    try:
        yield
    except KeyboardInterrupt as error:
        raise _stopped(error.number if isinstance(error, Interrupted) else SIGINT) from None
    except (MtmlError, OSError, MemoryError, RuntimeError) as error:
        if isinstance(error, click.exceptions.Exit):
            raise
        if (number := received()) is not None:  # a library made an error of the exception
            raise _stopped(number) from error
        if isinstance(error, MemoryError):
            raise UserError(_no_memory(error)) from error
        if str(error) == _NO_THREAD:
            raise UserError(_no_memory(MemoryError(_NO_THREAD))) from error
        if not isinstance(error, MtmlError | OSError):
            raise
        raise UserError(str(error)) from error


def _stopped(number: int) -> click.exceptions.Exit:
    """The end of a command that was asked to."""
    write_note("interrupted" if number == SIGINT else f"stopped by {Signals(number).name}")
    return click.exceptions.Exit(128 + number)


def _no_memory(error: MemoryError) -> str:
    """What to do where memory is not enough; names only options that the command has."""
    why = str(error) or "the system gives no more"
    context = click.get_current_context(silent=True)
    known = {name for each in context.command.params for name in each.opts} if context else set()
    smaller = [name for name in ("--batch-size", "--memory-gib") if name in known]
    advice = f", or give a smaller {' or '.join(smaller)}" if smaller else ""
    return (
        f"not enough memory: {why}; expected room for all rows and one batch: close other "
        f"programs or raise the limit (ulimit -v){advice}"
    )


@contextmanager
def progress_bar(title: str, *, unit: str) -> Iterator[Progress]:
    """A progress bar on stderr; nothing is drawn where stderr is not a terminal.

    Args:
        title: what is being done.
        unit: what is counted, for example "images".

    Yields:
        Call it with (done, total). The speed shown starts at the first call, so that what an
        earlier run has done does not count.
    """
    # rich takes longer to import than everything else a --help needs
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[speed]}", markup=False),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(title, total=None, speed="")
        first: tuple[int, float] | None = None

        def update(done: int, total: int) -> None:
            nonlocal first
            now = time.monotonic()
            if first is None:
                first = done, now
            seconds = now - first[1]
            speed = f"{(done - first[0]) / seconds:.1f} {unit}/s" if seconds > 0 else ""
            bar.update(task, completed=done, total=total, speed=speed)

        if console.is_terminal:
            _drawn.append(console)
        try:
            yield update
        finally:
            if console.is_terminal:
                _drawn.remove(console)
