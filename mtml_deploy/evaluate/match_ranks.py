"""Ranks of every query's matches in the whole gallery, without sorting the whole gallery.

In: float32 features and, per query, which gallery rows match and which are left out. Out: the ranks
of the matches in the order of the float64 distances, ties by gallery row. Memory is bounded: the
gallery is read in tiles, distances are kept for one block of queries.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.evaluate.protocols import RowsOf
from mtml_deploy.evaluate.verification import VerificationPairs
from mtml_deploy.search.distances import (
    chunk_bytes,
    require_features,
    squared_distances,
    worker_threads,
)
from mtml_deploy.search.memory import block_rows

_BLOCK_VALUES: Final = 1 << 23
"""float64 distances held at once (64 MiB)."""

_BLOCK_QUERIES: Final = 1024
"""Queries per matrix product; the gallery is converted to float64 once for each block."""

_TILE_VALUES: Final = 1 << 22
"""float64 gallery values held at once (32 MiB)."""

_SPAN: Final = 8
"""Queries that a thread takes at once."""

_HALF_EPS_64: Final = 2.0**-53
"""Largest relative error of one float64 rounding."""


def match_ranks(
    query: NDArray[np.float32],
    gallery: NDArray[np.float32],
    *,
    matches: RowsOf,
    excluded: RowsOf,
    pairs: VerificationPairs | None = None,
    memory_bytes: int | None = None,
) -> tuple[list[NDArray[np.int64]], NDArray[np.bool_]]:
    """Ranks, from 1, of each query's matches among the gallery rows that take part.

    Args:
        query: float32 [Q, D].
        gallery: float32 [G, D].
        matches: gallery rows that match a query row; those also excluded do not count.
        excluded: gallery rows that are left out for a query row.
        pairs: is given the distances of all pairs that take part, at no further product.
        memory_bytes: what may be taken beside the inputs, the result, `pairs` and what BLAS keeps
            for itself; None takes about 150 MiB.

    Returns:
        For each query int64 [n] ranks, ascending (n = 0 without a match); and bool [Q], whether a
        match and another row have equal distances.

    Raises:
        ValueError: other dtypes or shapes, or values that are not finite.
        MemoryBudgetError: too little memory.
    """
    query_norms = require_features("query", query)
    gallery_norms = require_features("gallery", gallery)
    if query.shape[1] != gallery.shape[1]:
        raise ValueError(f"query has {query.shape[1]} dimensions, gallery {gallery.shape[1]}")
    ranks: list[NDArray[np.int64]] = []
    tied = np.zeros(len(query), dtype=bool)
    if len(gallery) == 0:
        return [np.empty(0, dtype=np.int64)] * len(query), tied

    block = _block_queries(*gallery.shape, memory_bytes=memory_bytes)
    space = np.empty((min(block, len(query)), len(gallery)))
    with ThreadPoolExecutor(worker_threads()) as threads:
        for start in range(0, len(query), block):
            part = slice(start, start + block)
            near, margins = product_distances(
                query[part], gallery, query_norms[part], gallery_norms, out=space
            )
            tasks = []
            for offset, distances in enumerate(near):
                row = start + offset
                distances[excluded(row)] = np.inf
                matching = matches(row)
                matching = matching[np.isfinite(distances[matching])]
                margin = float(margins[offset])
                if pairs is not None:
                    pairs.add(row, distances, matching, margin=margin)
                exact = partial(squared_distances, query[row], gallery)
                tasks.append(
                    partial(ranks_in_order, distances, matching, margin=margin, exact=exact)
                )
            spans = [tasks[first : first + _SPAN] for first in range(0, len(tasks), _SPAN)]
            # NumPy lets the other threads run while it sorts
            orders = list(
                chain.from_iterable(threads.map(lambda span: [task() for task in span], spans))
            )
            ranks += [found for found, _ in orders]
            tied[part] = [tie for _, tie in orders]
    return ranks, tied


def _block_queries(size: int, dim: int, *, memory_bytes: int | None) -> int:
    """Queries of one product with `size` gallery rows."""
    tile = min(size, max(1, _TILE_VALUES // dim))
    return block_rows(
        memory_bytes,
        # norms; a tile; in each thread what is sorted and, among masses of ties, compared exactly
        fixed_bytes=8 * size + 8 * tile * dim + worker_threads() * (96 * size + chunk_bytes(dim)),
        # a distance to every row, a tile of products, the query in float64
        row_bytes=8 * size + 8 * tile + 16 * dim + 1024,
        most=max(1, min(_BLOCK_QUERIES, _BLOCK_VALUES // size)),
        purpose="evaluation",
    )


def product_distances(
    query: NDArray[np.float32],
    gallery: NDArray[np.float32],
    query_norms: NDArray[np.float64],
    gallery_norms: NDArray[np.float64],
    *,
    out: NDArray[np.float64] | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Squared L2 distances from a float64 product, tile by tile of the gallery.

    Args:
        query: float32 [b, D].
        gallery: float32 [G, D], G at least 1.
        query_norms: float64 [b], squared.
        gallery_norms: float64 [G], squared.
        out: float64 [b or more, G], where the distances are written; None takes new memory.

    Returns:
        float64 [b, G], and float64 [b], the largest error of each row against
        `squared_distances`.
    """
    distances = np.empty((len(query), len(gallery))) if out is None else out[: len(query)]
    points = query.astype(np.float64) * -2  # [b, D]
    tile = max(1, _TILE_VALUES // gallery.shape[1])
    for start in range(0, len(gallery), tile):
        part = gallery[start : start + tile].astype(np.float64)  # [tile, D]
        product = points @ part.T  # [b, tile]
        product += gallery_norms[start : start + tile]
        product += query_norms[:, None]
        distances[:, start : start + tile] = product
    # |g - q|^2 from norms and a float64 product, in any order of summation, and the sum of
    # squares it stands for are each off by at most a few D roundings of these norms
    margins = 8 * (query.shape[1] + 8) * _HALF_EPS_64 * (query_norms + gallery_norms.max())
    return distances, margins


def ranks_in_order(
    distances: NDArray[np.float64],
    matching: NDArray[np.int64],
    *,
    margin: float,
    exact: Callable[[NDArray[np.int64]], NDArray[np.float64]],
) -> tuple[NDArray[np.int64], bool]:
    """Ranks of the rows in `matching` for one query.

    The set of ranks depends only on how many other rows come before each match, so the matches are
    never compared with each other and the others never among themselves.

    Args:
        distances: float64 [G], distances within `margin`; infinite for rows left out; overwritten.
        matching: int64 [n], rows that match.
        margin: largest error of `distances`.
        exact: the distances that decide the order, float64 [m] for int64 [m] rows.

    Returns:
        int64 [n] ranks, ascending; whether a match and another row are equally far.
    """
    if len(matching) == 0:
        return np.empty(0, dtype=np.int64), False
    number = np.arange(1, len(matching) + 1)
    match_distances = np.sort(distances[matching])  # [n]
    distances[matching] = np.inf
    # whatever is behind the last match comes before none; the matches are behind all
    others = np.sort(distances[distances <= match_distances[-1] + 2 * margin])
    before = np.searchsorted(others, match_distances - 2 * margin, side="left")
    unsure = np.searchsorted(others, match_distances + 2 * margin, side="right") > before
    if not unsure.any():
        return number + before, False

    # Others so near to a match that only the exact sums can order the two.
    doubtful = np.zeros(len(distances), dtype=bool)
    for value in match_distances[unsure]:
        doubtful |= np.abs(distances - value) <= 2 * margin
    close = np.flatnonzero(doubtful)
    # The remaining others are farther than the margin from every match: sorting the approximate
    # distances of both tells their order.
    sure = np.sort(distances[~doubtful & (distances <= match_distances[-1])])
    before = np.searchsorted(sure, match_distances)

    rows = np.concatenate([matching, close])
    values = exact(rows)
    order = np.lexsort((rows, values))
    is_match = order < len(matching)
    close_before = np.cumsum(~is_match)[is_match]  # [n], in the order of the matches
    tied = np.isin(values[: len(matching)], values[len(matching) :]).any()
    return number + before + close_before, bool(tied)
