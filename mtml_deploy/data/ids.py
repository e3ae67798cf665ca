"""Ids as people write them: plates, UUIDs, camera names, numbers of any size.

A number below 2^31 is itself. Any other text stands for a number that is made from the text alone,
so two tables that are read by two commands agree on it without knowing of each other. What is kept
and shown is the text; the number is only compared.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Mapping, Set
from functools import lru_cache
from typing import Final, Self

from mtml_deploy.data.text_files import LARGEST_ID
from mtml_deploy.errors import DataError

UNKNOWN: Final = -1
"""Vehicle, camera, orientation or tracklet that nobody tells."""

LARGEST_NUMBER: Final = 2**63 - 1
"""Numbers of texts are above `LARGEST_ID` and up to here."""

MOST_CHARACTERS: Final = 200
"""A longer cell is no id, but a sentence or a damaged file."""

UNKNOWN_TEXTS: Final = frozenset({"", "nan", "none", "null", "<na>"})
"""Cells, in lower case, that say that an id is not known: what table programs write."""

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
"""How a cell begins that a spreadsheet runs."""

_NUMBER: Final = re.compile(r"(-?[0-9]+)(?:[.,]0*)?", re.ASCII)


def number_of(text: str) -> int:
    """The number that stands for a text, 2^31 to 2^63 - 1; the same on every machine."""
    digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()
    first = LARGEST_ID + 1
    return first + int.from_bytes(digest[:8], "big") % (LARGEST_NUMBER - LARGEST_ID)


class NamedId(int):
    """An id that is a text: compared by `number_of` it, shown as it was written.

    Attributes:
        text: as it was written, without white space around it.
    """

    text: str

    def __new__(cls, text: str) -> Self:
        """The id of a text."""
        self = super().__new__(cls, number_of(text))
        self.text = text
        return self

    def __getnewargs__(self) -> tuple[str]:  # type: ignore[override]  # an int is made from an int
        """What a copy is made of."""
        return (self.text,)

    def __repr__(self) -> str:
        """The text in quotes."""
        return repr(self.text)

    def __str__(self) -> str:
        """The text."""
        return self.text

    def __format__(self, spec: str) -> str:
        """The text, padded."""
        return format(self.text, spec)


def id_cell(id_: int) -> str:
    """An id as a table holds it; `read_id` reads it back.

    A cell that begins like a formula runs as one in a spreadsheet, so such an id gets an
    apostrophe before it, which spreadsheets take for "this is text".
    """
    text = str(id_)
    return f"'{text}" if text.startswith(_FORMULA) else text


def read_id(text: str) -> int:
    """The id that a cell or an option tells.

    Args:
        text: a number ("41", "0041", and "41.0" or "41,0" as tables with gaps
            have it), any other text, or a
            word for unknown (an empty cell, nan, none, null, <NA>).

    Returns:
        A number below 2^31 as it is, a `NamedId` for all else, -1 for unknown.

    Raises:
        ValueError: below -1, longer than 200 characters, or with a NUL.

    Example:
        >>> read_id("41.0"), read_id("AB-41 CD"), read_id("nan")
        (41, 'AB-41 CD', -1)
    """
    return _read(text)


@lru_cache(maxsize=1 << 16)  # a table has each id many times, and needs it once
def _read(text: str) -> int:
    """See `read_id`."""
    text = unicodedata.normalize("NFC", text.strip())
    if text.lower() in UNKNOWN_TEXTS:
        return UNKNOWN
    if len(text) > MOST_CHARACTERS or "\0" in text:
        raise ValueError(f"{text[:40]!r}... is no id: more than {MOST_CHARACTERS} characters, "
                         "or a NUL")  # fmt: skip
    found = _NUMBER.fullmatch(text)
    if found is None:
        # the apostrophe of `id_cell` is not part of the id
        return NamedId(text[1:] if text.startswith("'") and text[1:].startswith(_FORMULA) else text)
    number = int(found[1])
    if number < UNKNOWN:
        raise ValueError(f"{text} is below -1")
    return number if number <= LARGEST_ID else NamedId(str(number))


def shown_id(number: int) -> int | str:
    """What JSON and people see of an id: the number, or the text behind it."""
    return number.text if isinstance(number, NamedId) else int(number)


def known_id(shown: int | str) -> int:
    """The id that `shown_id` wrote.

    Raises:
        ValueError: a number that no id is.
    """
    if isinstance(shown, str):
        return NamedId(shown)
    if not UNKNOWN <= shown <= LARGEST_ID:
        raise ValueError(f"{shown} is outside -1..{LARGEST_ID}")
    return shown


def in_order(ids: Iterable[int]) -> list[int]:
    """The different ids: numbers ascending, then texts by their characters."""
    different = set(ids)
    numbers = [id_ for id_ in different if not isinstance(id_, NamedId)]
    return sorted(numbers) + sorted(different - set(numbers), key=str)


def texts_of(ids: Iterable[int]) -> dict[int, str]:
    """The texts of those ids that have one, by their numbers.

    Raises:
        DataError: two different texts have one number.
    """
    texts: dict[int, str] = {}
    for id_ in ids:
        if isinstance(id_, NamedId) and texts.setdefault(int(id_), id_.text) != id_.text:
            raise _collision(texts[int(id_)], id_.text)
    return texts


def texts_of_names(names: Iterable[str]) -> dict[int, str]:
    """As `texts_of`, for texts that a file keeps."""
    return texts_of(map(NamedId, names))


def joined(maps: Iterable[Mapping[int, str]]) -> dict[int, str]:
    """All texts of several sets by their numbers.

    Raises:
        DataError: two different texts have one number.
    """
    every: dict[int, str] = {}
    for texts in maps:
        if not every:
            every = dict(texts)
            continue
        for number in texts.keys() & every.keys():
            if texts[number] != every[number]:
                raise _collision(every[number], texts[number])
        every |= texts
    return every


def named(number: int, texts: Mapping[int, str]) -> int:
    """A number with the text that stands behind it, if one does."""
    text = texts.get(number)
    return int(number) if text is None else NamedId(text)


def require_texts(numbers: Set[int], texts: Mapping[int, str]) -> None:
    """Refuse ids that are neither numbers below 2^31 nor texts that are told.

    Raises:
        ValueError: names one.
    """
    for number in numbers:
        if number > LARGEST_ID and number not in texts:
            raise ValueError(f"id {number} has no text, expected one for ids from {LARGEST_ID + 1}")


def _collision(left: str, right: str) -> DataError:
    """Two texts with one number: once in 10^7 tables of a million ids."""
    return DataError(
        f"the ids {left!r} and {right!r} have the same number, expected different ones; change one "
        "character of one of them, for example put a letter before it, in every table"
    )
