"""Exact nearest rows of a collection: the server proposes, float64 decides.

The server's distances are float32 sums in an order of its own. They choose candidates; the order is
that of the float64 distances to the vectors the server keeps, and what it left out is proven to be
farther than what is returned.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.gallery.milvus.client import MAX_CANDIDATES
from mtml_deploy.gallery.milvus.entities import IMAGES
from mtml_deploy.gallery.milvus.rows import CollectionRows
from mtml_deploy.gallery.values import GalleryError
from mtml_deploy.search.error_bounds import EXTRA

_MORE: Final = 4
"""Times as many candidates where the first ones do not prove that none is missing."""

FEW: Final = 20_000
"""Rows that pass a filter, up to which a server with a graph is made to compare all of them."""

_HIT_BYTES: Final = 256
"""Of a hit without its vector, as the client library holds it."""

_HALF_EPS_32: Final = 2.0**-24
"""Largest relative error of one float32 rounding."""

Found = tuple[NDArray[np.int64], NDArray[np.float64]]
"""Rows [k] and their squared distances, nearest first."""


def nearest_rows(
    table: CollectionRows, points: NDArray[np.float32], *, top_k: int, expression: str
) -> list[Found]:
    """The nearest rows of every query in float64 order, ties by lower row.

    Args:
        table: where to look.
        points: float32 [Q, D], finite.
        top_k: rows wanted, at least 1.
        expression: which rows are looked at.

    Returns:
        [Q], each int64 [k] rows and float64 [k] squared distances; k = min(top_k, rows that pass).
        All see what was written before the call.

    Raises:
        GalleryError: more rows than Milvus returns may be among the nearest.
    """
    found: dict[int, Found] = {}
    limit = min(top_k + EXTRA, MAX_CANDIDATES)
    fresh = True
    while todo := [query for query in range(len(points)) if query not in found]:
        step = table.collection.queries_at_once(table.vector_bytes, limit=limit)
        for start in range(0, len(todo), step):
            part = todo[start : start + step]
            candidates = table.nearest_candidates(
                points[part], expression, limit=limit, fresh=fresh
            )
            fresh = False
            for query, near in zip(part, candidates, strict=True):
                order = np.lexsort((near.rows, near.exact))[:top_k]
                if len(near.reported) < limit or (
                    len(order) == top_k
                    and _none_missing(points[query], near.exact[order[-1]], near.reported.max())
                ):
                    found[query] = near.rows[order], near.exact[order]
                elif limit == MAX_CANDIDATES:
                    raise _too_many(table.collection.name, top_k)
        limit = min(_MORE * limit, MAX_CANDIDATES)
    return [found[query] for query in range(len(points))]


def approximate_rows(
    table: CollectionRows, points: NDArray[np.float32], *, top_k: int, expression: str, ef: int
) -> list[Found]:
    """Near rows of every query by the approximate index, of which some may be missed.

    Where a filter leaves few rows, all of them are compared.

    Args:
        table: where to look; its last fresh read is what the search sees.
        points: float32 [Q, D], finite.
        top_k: rows wanted, at least 1.
        expression: which rows are looked at.
        ef: candidates that the server keeps on its way.

    Returns:
        [Q], as `nearest_rows`.
    """
    kept = limit = min(top_k + EXTRA, MAX_CANDIDATES)
    if top_k > limit:
        raise _too_many(table.collection.name, top_k)
    if expression != IMAGES:
        passing = table.collection.count(expression, fresh=False)
        if passing <= FEW:
            # a graph most of whose rows are left out loses many; a server that is asked for half
            # of those that are left does without it and compares every one
            limit = max(limit, passing // 2 + 1)
    at_once = table.collection.queries_at_once
    step = at_once(table.vector_bytes, limit=kept)
    if limit > kept:
        step = min(step, at_once(_HIT_BYTES, limit=limit))
    found: list[Found] = []
    for start in range(0, len(points), step):
        for near in table.nearest_candidates(
            points[start : start + step],
            expression,
            limit=limit,
            kept=kept,
            fresh=False,
            ef=max(ef, limit),
        ):
            order = np.lexsort((near.rows, near.exact))[:top_k]
            found.append((near.rows[order], near.exact[order]))
    return found


def _too_many(name: str, top_k: int) -> GalleryError:
    """The error that the server cannot name enough candidates."""
    return GalleryError(
        f"the {top_k} nearest rows of {name} cannot be told: Milvus returns {MAX_CANDIDATES} "
        "candidates at most, and rows beyond them may be as near; ask for fewer places, filter by "
        "camera or time, or search an exported copy"
    )


def _none_missing(point: NDArray[np.float32], last: float, reported: float) -> bool:
    """Whether no row beyond the candidates can be as near as the last one that is returned.

    A float32 squared distance of vectors q and g, summed in any order, also as
    |q|^2 + |g|^2 - 2 q.g, also after a square root, is off by at most
    (D + 16) u / (1 - (D + 16) u) (|q| + |g|)^2, with u the unit roundoff (Higham, Accuracy and
    Stability of Numerical Algorithms, 2002, section 3.1); and |g| is at most |q| plus the distance.
    The server reported at least `reported` for every row it left out.

    Args:
        point: float32 [D], q.
        last: exact squared distance of the last row that would be returned.
        reported: largest squared distance that the server reported.
    """
    norm = float(np.linalg.norm(point.astype(np.float64)))
    # 1.25: the denominator, for D up to three million
    share = 1.25 * (len(point) + 16) * _HALF_EPS_32
    return last + share * (2 * norm + float(np.sqrt(last))) ** 2 < reported
