"""Exact nearest rows of a collection: the server proposes, float64 decides.

The server's distances are float32 sums in an order of its own. They choose candidates; the order is
that of the float64 distances to the vectors the server keeps, and what it left out is proven to be
farther than what is returned.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.gallery.milvus.client import MAX_CANDIDATES, Collection
from mtml_deploy.gallery.values import GalleryError
from mtml_deploy.search.error_bounds import EXTRA

_MORE: Final = 4
"""Times as many candidates where the first ones do not prove that none is missing."""

_HALF_EPS_32: Final = 2.0**-24
"""Largest relative error of one float32 rounding."""

Exact = Callable[
    [NDArray[np.float32], NDArray[np.int64]], tuple[NDArray[np.int64], NDArray[np.float64]]
]
"""A point [D] and rows [n] -> those rows that are still there, and their squared distances."""


def nearest_rows(
    collection: Collection,
    exact_of: Exact,
    point: NDArray[np.float32],
    *,
    top_k: int,
    expression: str,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The nearest rows of one query in float64 order, ties by lower row.

    Args:
        collection: where to look.
        exact_of: float64 distances, see `Exact`.
        point: float32 [D], finite.
        top_k: rows wanted, at least 1.
        expression: which rows are looked at.

    Returns:
        int64 [k] rows and float64 [k] squared distances, nearest first; k = min(top_k, rows that
        pass).

    Raises:
        GalleryError: more rows than Milvus returns may be among the nearest.
    """
    limit = min(top_k + EXTRA, MAX_CANDIDATES)
    rows, exact = np.empty(0, np.int64), np.empty(0, np.float64)
    while True:
        found, reported = collection.search(point, expression, limit=limit)
        more_rows, more = exact_of(point, np.setdiff1d(found, rows))
        rows, exact = np.concatenate([rows, more_rows]), np.concatenate([exact, more])
        order = np.lexsort((rows, exact))[:top_k]
        if len(found) < limit or (
            len(order) == top_k and _none_missing(point, exact[order[-1]], reported.max())
        ):
            return rows[order], exact[order]
        if limit == MAX_CANDIDATES:
            raise GalleryError(
                f"the {top_k} nearest rows of {collection.name} cannot be told: Milvus returns "
                f"{MAX_CANDIDATES} candidates at most, and rows beyond them may be as near; ask "
                "for fewer places, filter by camera or time, or search an exported copy"
            )
        limit = min(_MORE * limit, MAX_CANDIDATES)


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
