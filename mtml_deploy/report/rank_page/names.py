"""Names of images on tiles: whole for hovering, in two parts for a tile that has no room for them.

In: the names of a set. Out: what each is shown as.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

_TAIL: Final = 9
"""Last characters, which a narrow tile keeps: number and suffix tell images of a camera apart."""


@dataclass(frozen=True)
class ShownName:
    """One name; a tile shows `head` as far as it has room, and all of `tail`.

    Attributes:
        whole: below the root of the set.
        head: its beginning, without folders that all names of the set are in.
        tail: its end; empty for a short name.
    """

    whole: str
    head: str
    tail: str


class NamesOfSet:
    """The names of one set."""

    def __init__(self, names: Sequence[str]) -> None:
        """Find the folder that they share."""
        prefix = os.path.commonprefix(names)  # noqa: RUF071 - cut at a folder below
        self._folder = prefix[: prefix.rfind("/") + 1]

    def shown(self, name: str) -> ShownName:
        """How `name`, one of the set, is shown."""
        own = name.removeprefix(self._folder)
        cut = len(own) - _TAIL if len(own) > 2 * _TAIL else len(own)
        return ShownName(name, own[:cut], own[cut:])
