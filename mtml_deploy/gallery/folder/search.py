"""Exact nearest rows in mapped segments: one pass over the vectors, all else prepared.

The order is that of `rank`: float64 distances to the vectors as they are stored, ties by lower row
number.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.gallery.folder.chosen import choose, products
from mtml_deploy.gallery.folder.int8_search import nearest_by_codes
from mtml_deploy.gallery.folder.view import SegmentView
from mtml_deploy.gallery.values import Filter, Hits
from mtml_deploy.search.distances import require_features, squared_distances
from mtml_deploy.search.error_bounds import EXTRA, possible_rows, query_terms
from mtml_deploy.search.memory import block_rows

_BLOCK_VALUES: Final = 1 << 24
"""float32 products held at once (64 MiB)."""

_BLOCK_QUERIES: Final = 512
"""Queries per matrix product: BLAS gains nothing from more."""

_FIXED_BYTES: Final = 1 << 25
"""Gathered vectors and decoded codes, whatever the gallery (32 MiB)."""

_ROW_BYTES: Final = 48
"""What choosing candidates takes for each row of a segment, one query at a time."""

Found = tuple[NDArray[np.int64], NDArray[np.float64]]
"""Row numbers and squared distances, nearest first."""


def search_segments(
    segments: Sequence[SegmentView],
    query: NDArray[np.float32],
    *,
    top_k: int,
    where: Filter,
    memory_bytes: int | None = None,
) -> Hits:
    """Exact `top_k` nearest rows of every query among the rows that pass a filter.

    Args:
        segments: where to look.
        query: float32 [Q, D].
        top_k: ranks wanted, at least 1; K = min(top_k, rows that pass).
        where: which rows to look at.
        memory_bytes: see `nearest_lists`.

    Returns:
        The hits, [Q, K].

    Raises:
        MemoryBudgetError: see `nearest_lists`.
        ValueError: `top_k` below 1, or a query that is not float32, not finite or too long.
    """
    if top_k < 1:
        raise ValueError(f"top_k must be at least 1, found {top_k}")
    require_features("query", query)
    lists = nearest_lists(segments, query, top_k=top_k, where=where, memory_bytes=memory_bytes)
    if lists:
        return to_hits(lists, len(lists[0][0]))
    passing = sum(int(np.count_nonzero(segment.passing(where))) for segment in segments)
    return to_hits([], min(top_k, passing))


def nearest_lists(
    segments: Sequence[SegmentView],
    query: NDArray[np.float32],
    *,
    top_k: int,
    where: Filter,
    memory_bytes: int | None = None,
) -> list[Found]:
    """The nearest rows of every query, with their squared distances.

    Args:
        segments: where to look.
        query: float32 [Q, D], finite.
        top_k: ranks wanted, at least 1.
        where: which rows to look at.
        memory_bytes: what blocks of products and the choice among them may take, beyond the
            queries, the result and the record of rows; the vectors are mapped files, which the
            system holds or lets go as it likes. None: 64 MiB of products, or one query's.

    Returns:
        [Q] lists, each as long as rows pass, at most `top_k`.

    Raises:
        MemoryBudgetError: not even one query at a time fits into `memory_bytes`.
    """
    masks = [segment.passing(where) for segment in segments]
    counts = [int(np.count_nonzero(mask)) for mask in masks]
    longest = max((len(mask) for mask in masks), default=1)
    block = _block_queries(longest, query.shape[1], top_k, memory_bytes)
    lists = []
    for start in range(0, len(query), block):
        part = query[start : start + block]
        best: list[Found] = [(np.empty(0, np.int64), np.empty(0, np.float64)) for _ in part]
        for segment, mask, count in zip(segments, masks, counts, strict=True):
            if count:
                found = _search_one(segment, part, mask, count, top_k)
                best = [merged(*pair, top_k) for pair in zip(best, found, strict=True)]
        lists += best
    return lists


def to_hits(lists: Sequence[Found], length: int) -> Hits:
    """Lists of equal length as hits, [Q, K]."""
    rows = np.empty((len(lists), length), dtype=np.int64)
    distances = np.empty((len(lists), length), dtype=np.float32)
    for place, (found, exact) in enumerate(lists):
        rows[place] = found
        distances[place] = np.sqrt(exact)
    return Hits(rows, distances)


def merged(left: Found, right: Found, top_k: int) -> Found:
    """The `top_k` nearest of two lists."""
    rows = np.concatenate([left[0], right[0]])
    exact = np.concatenate([left[1], right[1]])
    order = np.lexsort((rows, exact))[:top_k]
    return rows[order], exact[order]


def _block_queries(longest: int, dim: int, top_k: int, memory_bytes: int | None) -> int:
    """Queries of one block, for segments of at most `longest` rows."""
    if memory_bytes is None:
        return max(1, min(_BLOCK_QUERIES, _BLOCK_VALUES // max(1, longest)))
    return block_rows(
        memory_bytes,
        fixed_bytes=_FIXED_BYTES + _ROW_BYTES * longest,
        # a row of products, the query in float64 and centred, two lists that are merged
        row_bytes=4 * longest + 40 * dim + 64 * top_k,
        most=_BLOCK_QUERIES,
        purpose="searching this gallery",
    )


def _search_one(
    segment: SegmentView,
    query: NDArray[np.float32],
    mask: NDArray[np.bool_],
    count: int,
    top_k: int,
) -> list[Found]:
    """The nearest `min(top_k, count)` rows of one segment, for each query [b, D] of a block."""
    if count <= top_k + EXTRA:  # all would be candidates: nothing to gain from products
        slots = np.flatnonzero(mask)
        return [_in_order(segment, point, slots, top_k) for point in query]
    chosen = choose(mask, count)
    if segment.codes is not None:
        return [
            (segment.numbers["row"][slots], exact)
            for slots, exact in nearest_by_codes(segment, query, chosen, top_k)
        ]
    terms = query_terms(query, segment.terms.centre)
    rows = segment.terms if chosen.slots is None else segment.terms[chosen.slots]
    found = []
    for point, product, error in zip(
        query, products(terms.doubled, segment.features, chosen.slots), terms.errors, strict=True
    ):
        places = possible_rows(product, rows, error, top_k, left_out=chosen.left_out)
        found.append(_in_order(segment, point, chosen.slot(places), top_k))
    return found


def _in_order(
    segment: SegmentView, point: NDArray[np.float32], slots: NDArray[np.int64], top_k: int
) -> Found:
    """The nearest of chosen rows of a segment; `slots` ascend, and row numbers with them."""
    exact = squared_distances(point, segment.features, slots)
    order = np.lexsort((slots, exact))[:top_k]
    return segment.numbers["row"][slots[order]], exact[order]
