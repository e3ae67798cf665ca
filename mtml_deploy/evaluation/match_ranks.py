"""Ranks of every query's matches in the whole gallery, without sorting the whole gallery.

In: an order's distances, block by block, and per query which gallery rows match and which are left
out. Out: the ranks of the matches in the order of the exact distances, ties by gallery row.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.evaluation.verification import VerificationPairs
from mtml_deploy.search.distance_blocks import Order, RowsOf
from mtml_deploy.search.distances import worker_threads

_SPAN: Final = 8
"""Queries that a thread takes at once."""


def match_ranks(
    order: Order, *, matches: RowsOf, excluded: RowsOf, pairs: VerificationPairs | None = None
) -> tuple[list[NDArray[np.int64]], NDArray[np.bool_]]:
    """Ranks, from 1, of each query's matches among the gallery rows that take part.

    Args:
        order: of a gallery of G rows, for Q queries.
        matches: gallery rows that match a query row; those also excluded do not count.
        excluded: gallery rows that are left out for a query row.
        pairs: is given the distances of all pairs that take part, at no further product.

    Returns:
        For each query int64 [n] ranks, ascending (n = 0 without a match); and bool [Q], whether a
        match and another row have equal distances.
    """
    ranks: list[NDArray[np.int64]] = []
    tied: list[bool] = []
    with ThreadPoolExecutor(worker_threads()) as threads:
        for block in order.blocks():
            tasks = []
            for row, distances, margin, exact in block:
                distances[excluded(row)] = np.inf
                matching = matches(row)
                matching = matching[np.isfinite(distances[matching])]
                if pairs is not None:
                    pairs.add(row, distances, matching, margin=margin)
                tasks.append(
                    partial(ranks_in_order, distances, matching, margin=margin, exact=exact)
                )
            spans = [tasks[first : first + _SPAN] for first in range(0, len(tasks), _SPAN)]
            # NumPy lets the other threads run while it sorts
            found = threads.map(lambda span: [task() for task in span], spans)
            for places, tie in chain.from_iterable(found):
                ranks.append(places)
                tied.append(tie)
    return ranks, np.array(tied, dtype=bool)


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
