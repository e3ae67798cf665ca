"""Exact nearest rows by a scan of int8 codes: the true vectors are read for few rows only."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.gallery.folder.chosen import Chosen
from mtml_deploy.gallery.folder.int8 import code_products
from mtml_deploy.gallery.folder.view import SegmentView
from mtml_deploy.search.distances import squared_distances
from mtml_deploy.search.error_bounds import EXTRA, lower_bounds

_ROOM = 1 + 1e-12
"""For the roundings of a few float64 operations."""


def nearest_by_codes(
    segment: SegmentView,
    query: NDArray[np.float32],
    chosen: Chosen,
    top_k: int,
) -> list[tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """Slots of the `top_k` nearest rows of a segment with codes, ties by lower slot.

    A row g with the decoded vector c and the error e = |g - c| is at least |q - c| - e from a query
    q. Products with the codes bound |q - c| from below. Whatever these bounds cannot prove farther
    than the last rank is compared with its float32 vector in float64, so the order is that of a
    gallery without codes.

    Args:
        segment: where to look.
        query: float32 [b, D].
        chosen: the rows that pass.
        top_k: ranks wanted, less than the rows that pass.

    Returns:
        For each query int64 [top_k] slots and float64 [top_k] squared distances, nearest first.
    """
    codes = segment.codes
    if codes is None:
        raise ValueError("this segment has no codes")
    slots = chosen.slots
    errors = np.empty(len(codes) if slots is None else len(slots), dtype=np.float32)
    bounds = lower_bounds(
        query,
        lambda centred: code_products(centred, codes, errors, slots=slots),
        rows=segment.terms if slots is None else segment.terms[slots],
    )
    widths = errors.astype(np.float64)
    found = []
    for point, (lower, shift, slack) in zip(query, bounds, strict=True):
        if chosen.left_out is not None:
            lower[chosen.left_out] = np.inf

        def exact_of(
            places: NDArray[np.int64], point: NDArray[np.float32] = point
        ) -> NDArray[np.float64]:
            return squared_distances(point, segment.features, chosen.slot(places))

        places, exact = _nearest(exact_of, lower, widths, top_k, offset=shift - slack)
        found.append((chosen.slot(places), exact))
    return found


def _nearest(
    exact_of: Callable[[NDArray[np.int64]], NDArray[np.float64]],
    lower: NDArray[np.float32],
    errors: NDArray[np.float64],
    count: int,
    *,
    offset: float,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The `count` nearest slots and squared distances.

    Args:
        exact_of: slots int64 [m] -> float64 squared distances [m].
        lower: float32 [n]; with `offset` the lower bound of |q - c|^2; infinite for rows left out;
            overwritten.
        errors: float64 [n], e of every row.
        count: ranks wanted.
        offset: see `lower`.
    """
    first = min(count + EXTRA, len(lower) - 1)
    slots = np.argpartition(lower, first)[:first]
    slots = slots[np.isfinite(lower[slots])]
    exact = exact_of(slots)
    last = float(np.sqrt(np.partition(exact, count - 1)[count - 1]))
    reach = errors + last
    reach *= _ROOM
    np.square(reach, out=reach)
    lower[slots] = np.inf
    more = np.flatnonzero(lower + offset <= reach)
    if len(more):
        slots = np.concatenate([slots, more])
        exact = np.concatenate([exact, exact_of(more)])
    order = np.lexsort((slots, exact))[:count]
    return slots[order], exact[order]
