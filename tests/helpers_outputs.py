"""Commands that write where something is already."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click
from click.testing import CliRunner, Result


@dataclass(frozen=True)
class Writer:
    """A command and what it writes.

    Attributes:
        command: `mtml-deploy` or another one.
        words: the command line without what names the output; "{}" stands for the place.
        option: that names the output; "" for an argument.
        output: name of the file or folder.
        folder: whether it is a folder.
        reads: an input that is of the output's own kind; "" where none is.
    """

    command: click.Command
    words: str
    option: str
    output: str
    folder: bool = False
    reads: str = ""

    def run(self, place: Path, *flags: str, out: Path | None = None) -> Result:
        """Run it in a process that is this one."""
        named = [self.option] if self.option else []
        words = self.words.format(*[place] * self.words.count("{}")).split()
        target = place / self.output if out is None else out
        return CliRunner().invoke(self.command, [*words, *named, str(target), *flags])


def tree(place: Path) -> dict[str, bytes | str | None]:
    """Everything below a folder: bytes of files, targets of links, None for folders."""
    found: dict[str, bytes | str | None] = {}
    for path in sorted(place.rglob("*")):
        name = path.relative_to(place).as_posix()
        if path.is_symlink():
            found[name] = str(path.readlink())
        else:
            found[name] = None if path.is_dir() else path.read_bytes()
    return found


def refused(place: Path, run: Callable[[], Result], *, hint: bool = False) -> str:
    """The error of a command that must leave every byte as it is; `hint`: it names --overwrite."""
    before = tree(place)
    result = run()
    assert result.exit_code in (1, 2), result.output  # 2: a folder where a file is expected
    assert isinstance(result.exception, SystemExit), result.exception
    error = result.stderr.splitlines()[-1]
    assert error.lower().startswith("error: ") and "Traceback" not in result.output
    assert ("--overwrite" in error) == hint, error
    assert tree(place) == before
    return error
