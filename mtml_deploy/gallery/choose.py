"""Rows of a gallery that a user means, and what is done to them in blocks.

In: an open gallery of any kind and what the rows have in common. Out: their records, or how many
were removed or labelled anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from mtml_deploy.gallery.gallery import Gallery
from mtml_deploy.gallery.values import Filter, NewLabels, Selection, StoredRow

_BLOCK: Final = 10_000
"""Rows changed at once; each block is on disk before the next begins."""


@dataclass(frozen=True)
class Choice:
    """Which rows are meant: those of `named`, if it names any, that pass `where`.

    Attributes:
        named: rows, paths and vehicles, of which one must match; one without any allows all.
        where: cameras, times and orientations, all of which must hold. A row whose camera or time
            is not known fails every test that asks for one.
    """

    named: Selection = field(default_factory=Selection)
    where: Filter = field(default_factory=Filter)

    def means(self, stored: StoredRow) -> bool:
        """Whether a row is meant."""
        named, record = self.named, stored.record
        matches = self.named == Selection() or (
            stored.row in named.rows
            or record.path in named.paths
            or record.vehicle_id in named.vehicles
        )
        return matches and self.where.passes(record)


def chosen(gallery: Gallery, choice: Choice) -> Iterator[StoredRow]:
    """The rows of a gallery that are meant, by number."""
    return (stored for stored in gallery.rows() if choice.means(stored))


def remove_rows(gallery: Gallery, rows: Sequence[int]) -> int:
    """Remove rows, block by block.

    Args:
        gallery: open for writing.
        rows: their numbers.

    Returns:
        How many were there.

    Raises:
        GalleryError: see `Gallery.remove`; the blocks before are removed.
    """
    return sum(
        gallery.remove(Selection(rows=tuple(rows[start : start + _BLOCK])))
        for start in range(0, len(rows), _BLOCK)
    )


def relabel_rows(gallery: Gallery, rows: Sequence[int], labels: NewLabels) -> int:
    """Change what is known of rows, block by block; see `remove_rows`."""
    return sum(
        gallery.relabel(rows[start : start + _BLOCK], labels)
        for start in range(0, len(rows), _BLOCK)
    )
