"""Nearest rows by an approximate index: candidates from it, the order in float64."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.embed.embeddings import ModelIdentity
from mtml_deploy.gallery.approximate.open import OpenIndex
from mtml_deploy.gallery.checks import require_query
from mtml_deploy.gallery.folder.gallery import FolderGallery
from mtml_deploy.gallery.folder.search import Found, merged, nearest_lists, to_hits
from mtml_deploy.gallery.folder.view import SegmentView
from mtml_deploy.gallery.values import Filter, Hits
from mtml_deploy.search.distances import require_features, squared_distances

_MARGIN: Final = 50
"""Candidates beyond those wanted, at least: 8-bit codes order near ties the wrong way round."""

_QUERIES: Final = 256
"""Queries whose candidates are held at once."""


def search_approximate(
    gallery: FolderGallery,
    index: OpenIndex,
    query: NDArray[np.float32],
    *,
    model: ModelIdentity,
    top_k: int,
    probes: int,
    where: Filter = Filter(),  # noqa: B008 - frozen
    memory_bytes: int | None = None,
) -> Hits:
    """Nearest rows of every query, of which the index may miss some.

    What comes back is true: rows that pass the filter, in the order of their float64 distances,
    as many as an exact search gives. Rows that were added after the index was built are searched
    exactly. A filter that leaves few rows makes more lists be looked at, in proportion; where the
    lists still hold too few, all are.

    Args:
        gallery: open for reading or writing.
        index: of that gallery.
        query: float32 [Q, D].
        model: the model that made them.
        top_k: ranks wanted, at least 1; K = min(top_k, rows that pass).
        probes: lists looked at, 1 to all.
        where: which rows to look at.
        memory_bytes: for the rows searched exactly; see `nearest_lists`.

    Returns:
        The hits, [Q, K].

    Raises:
        EmbeddingsError: another model's.
        GalleryError: the gallery is damaged.
        ValueError: a query that is not float32 [Q, D] or not finite, `top_k` below 1 or `probes`
            out of range.
    """
    require_query(query, model, gallery.model)
    require_features("query", query)
    if top_k < 1 or not 1 <= probes <= index.manifest.lists:
        raise ValueError(f"top_k is {top_k}, probes {probes} of {index.manifest.lists}")
    segments = gallery.segments()
    newer = [segment.after(index.manifest.last_row) for segment in segments]
    newest = nearest_lists(newer, query, top_k=top_k, where=where, memory_bytes=memory_bytes)
    indexed = _Indexed(segments, index, where)
    lists: list[Found] = []
    for start in range(0, len(query), _QUERIES):
        part = query[start : start + _QUERIES]
        for offset, rows in enumerate(indexed.candidates(part, top_k, probes)):
            exact = indexed.distances(part[offset], rows)
            order = np.lexsort((rows, exact))[:top_k]
            found = rows[order], exact[order]
            lists.append(merged(found, newest[start + offset], top_k))
    gallery.require_unchanged(np.concatenate([np.empty(0, np.int64), *(rows for rows, _ in lists)]))
    passing = indexed.count + sum(int(np.count_nonzero(part.passing(where))) for part in newer)
    return to_hits(lists, min(top_k, passing))


class _Indexed:
    """The rows of a gallery that are in an index and pass a filter."""

    def __init__(self, segments: Sequence[SegmentView], index: OpenIndex, where: Filter) -> None:
        """Look up which rows pass."""
        self._index = index.file
        self._segments = segments
        last = index.manifest.last_row
        self._ends = np.cumsum([len(segment.numbers) for segment in segments])
        # ascending: rows are numbered and compacted in the order of their segments
        self._rows = np.concatenate(
            [np.empty(0, np.int64), *(segment.numbers["row"] for segment in segments)]
        )
        passing = np.concatenate(
            [np.empty(0, np.bool_), *(segment.passing(where) for segment in segments)]
        )
        self._passing = self._rows[passing & (self._rows <= last)]
        self.count = len(self._passing)
        self._allowed = np.zeros(last + 1, dtype=np.bool_)
        self._allowed[self._passing] = True
        self._share = self.count / index.manifest.rows

    def candidates(
        self, query: NDArray[np.float32], top_k: int, probes: int
    ) -> list[NDArray[np.int64]]:
        """For each query rows that pass, at least `top_k` where there are so many."""
        count = top_k + max(_MARGIN, top_k // 2)
        if self.count <= count:
            return [self._passing for _ in query]
        lists = self._index.lists
        probes = min(lists, int(np.ceil(probes / self._share)))
        found = self._ask(query, count, probes)
        short = [place for place, rows in enumerate(found) if len(rows) < top_k]
        if short and probes < lists:
            again = self._ask(query[short], count, lists)
            for place, rows in zip(short, again, strict=True):
                found[place] = rows
        return found

    def distances(self, query: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Squared distances float64 [n] from a query [D] to rows."""
        places = np.searchsorted(self._rows, rows)
        owners = np.searchsorted(self._ends, places, side="right")
        exact = np.empty(len(rows), dtype=np.float64)
        for owner in np.unique(owners).tolist():
            here = owners == owner
            segment = self._segments[owner]
            first = int(self._ends[owner]) - len(segment.numbers)
            exact[here] = squared_distances(query, segment.features, places[here] - first)
        return exact

    def _ask(self, query: NDArray[np.float32], count: int, probes: int) -> list[NDArray[np.int64]]:
        """Rows from the index, without the places it could not fill."""
        found = self._index.candidates(query, count, probes=probes, allowed=self._allowed)
        return [rows[rows >= 0] for rows in found]
