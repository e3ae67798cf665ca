"""Text for people: names that any terminal can show, percent, Markdown tables.

In: names, fractions, cells. Out: text without anything that harms a terminal, or lines of Markdown.
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

_COLOURS: Final = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")

_INSIDE_WORD: Final = re.compile(r"(?<=[^\W_])_+(?=[^\W_])")
"""Underscores with a letter or a digit on both sides."""

_RULES: Final = {"l": "---", "r": "---:"}


def printable(text: Path | str, *, keep: str = "") -> str:
    """`text` without characters that can harm a terminal: a file name may hold anything.

    Args:
        text: a name, or a longer text with names in it.
        keep: characters that stay as they are, for example line ends of a longer text.

    Returns:
        The text with control characters and undecodable bytes as escapes; valid UTF-8.
    """
    shown = str(text)
    if shown.isprintable():  # a long text is looked at in no time
        return shown
    return "".join(char if char.isprintable() or char in keep else _escape(char) for char in shown)


def _escape(char: str) -> str:
    """A character as an escape; of a byte that is not UTF-8, the byte."""
    if "\udc80" <= char <= "\udcff":
        return f"\\x{ord(char) - 0xDC00:02x}"
    return char.encode("unicode_escape").decode()


def command_line(*words: object) -> str:
    """A command as a shell takes it: names with blanks are quoted, and nothing harms a terminal."""
    return printable(shlex.join(map(str, words)))


def foreign(text: object) -> str:
    """The first sentence of another library's text: no colours, no advice behind it.

    Args:
        text: an error, or its text.

    Returns:
        One line, without full stop; empty where there is none.
    """
    plain = _COLOURS.sub("", str(text)).strip()
    line = plain.splitlines()[0].strip() if plain else ""
    return printable(line.split(". ")[0].removesuffix("."))


def percent(fraction: float | None) -> str:
    """`fraction` as percent with one digit, without the sign; a dash for None and NaN."""
    return "–" if fraction is None or math.isnan(fraction) else f"{100 * fraction:.1f}"


def json_number(value: float | None) -> float | None:
    """`value`, or None for NaN, which JSON does not have."""
    return None if value is None or math.isnan(value) else value


def table(titles: Sequence[str], rows: Iterable[Sequence[str]], *, align: str) -> list[str]:
    """Lines of a Markdown table.

    Args:
        titles: of the columns.
        rows: cells of each line, as many as titles; foreign text is `escaped` by the caller.
        align: "l" or "r" for each column.

    Returns:
        The title, the rule below it and the rows.
    """
    rule = [_RULES[side] for side in align]
    return [table_row(cells) for cells in (titles, rule, *rows)]


def table_row(cells: Sequence[str]) -> str:
    """One line of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def escaped(text: str) -> str:
    """`text` on one line, without what Markdown, HTML or a terminal give a meaning.

    An underscore inside a word has none and stays: such reports are read on terminals too.
    """
    flat = printable(" ".join(text.split()))
    kept = {at for run in _INSIDE_WORD.finditer(flat) for at in range(*run.span())}
    return "".join(
        f"&#{ord(char)};" if char in "&<>|*_`[]\\" and at not in kept else char
        for at, char in enumerate(flat)
    )


def shortened(text: str, length: int) -> str:
    """`text` in at most `length` characters, without its middle: both ends tell names apart.

    Args:
        text: a name, or a path.
        length: 3 or more.
    """
    if len(text) <= length:
        return text
    head = (length - 1) // 2
    return f"{text[:head]}…{text[len(text) - (length - 1 - head) :]}"
