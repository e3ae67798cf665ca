"""The texts behind ids of a gallery's rows: a table of its record.

An id is made of its text, so that neither can be changed alone.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.data.ids import NamedId
from mtml_deploy.data.text_files import LARGEST_ID
from mtml_deploy.gallery.folder.sqlite import Database
from mtml_deploy.gallery.values import GalleryError


class IdTexts:
    """The table, in the open record."""

    def __init__(self, database: Database) -> None:
        """Nothing is read yet."""
        self._database = database
        self._found: dict[int, NamedId] = {}

    def keep(self, ids: Iterable[int]) -> None:
        """Record the texts of those ids that have one; inside a change.

        Raises:
            GalleryError: another text with the same number is kept already.
        """
        texts = {int(id_): id_.text for id_ in ids if isinstance(id_, NamedId)}
        if not texts:
            return
        self._database.run_many("INSERT OR IGNORE INTO texts VALUES (?, ?)", texts.items())
        for number, text in texts.items():
            kept = self._database.run("SELECT text FROM texts WHERE id = ?", (number,))[0][0]
            if kept != text:
                raise GalleryError(
                    f"the id {text!r} has the number of {kept!r}, which the gallery holds, "
                    "expected different ones; change one character of it, for example put a "
                    "letter before it"
                )

    def named(self, number: int) -> int:
        """An id of a row with its text, if it has one.

        Raises:
            GalleryError: its text is missing, or another one's.
        """
        if number <= LARGEST_ID:
            return number
        if number not in self._found:
            found = self._database.run("SELECT text FROM texts WHERE id = ?", (number,))
            if not found or NamedId(str(found[0][0])) != number:
                raise GalleryError(
                    f"{self._database.path} lacks the text of the id {number}; restore the gallery "
                    "from a backup"
                )
            self._found[number] = NamedId(str(found[0][0]))
        return self._found[number]

    def drop_unused(self, live: NDArray[np.void]) -> None:
        """Forget the texts that none of the rows, `NUMBERS` [n], has; inside a change."""
        used = {id_ for name in ("vehicle", "camera", "tracklet") for id_ in live[name].tolist()}
        kept = {id_ for (id_,) in self._database.run("SELECT id FROM texts")}
        self._database.run_many("DELETE FROM texts WHERE id = ?", [(id_,) for id_ in kept - used])
        self._found.clear()
