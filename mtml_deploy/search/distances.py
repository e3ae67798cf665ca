"""Squared L2 distances between embeddings, in the one way that decides every order.

In: float32 features. Out: float64 numbers whose bits depend on the two rows alone, never on the
number of rows asked for at once, the block size or the BLAS library. Faster products only choose
which rows are worth this sum.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import numpy as np
from numpy.typing import NDArray

NORM_LIMIT: Final = 1e18
"""Largest norm of a row: the square of a larger one leaves the range of float32 products."""

CHUNK_VALUES: Final = 1 << 17
"""float64 values a thread holds at once (1 MiB): stays in the cache from pass to pass."""

_SPAN: Final = 8
"""Pieces of this size that a thread looks at one after the other."""


def squared_distances(
    query: NDArray[np.float32], gallery: NDArray[np.float32], rows: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Sum of (g - q)^2 over the dimensions, in float64, for chosen gallery rows.

    Equal gallery rows give equal bits, so exact duplicates are exact ties.

    Args:
        query: float32 [D], one embedding.
        gallery: float32 [G, D].
        rows: int64 [n], gallery rows, in any order.

    Returns:
        float64 [n], squared L2 distances, row-aligned with `rows`.
    """
    exact = np.empty(len(rows), dtype=np.float64)
    point = query.astype(np.float64)
    step = max(1, min(len(rows), CHUNK_VALUES // len(query)))
    # kept from chunk to chunk: new memory costs as much as the sums
    space = np.empty((step, len(query)))
    for start in range(0, len(rows), step):
        part = rows[start : start + step]
        difference = space[: len(part)]  # [step, D]
        difference[...] = gallery[part]
        difference -= point
        np.square(difference, out=difference)
        # a sum along contiguous rows is pairwise within each row: its bits do not depend on step
        difference.sum(axis=1, out=exact[start : start + step])
    return exact


def squared_pair_distances(
    features: NDArray[np.float32], left: NDArray[np.int64], right: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Sum of (a - b)^2 over the dimensions, in float64, for pairs of rows of one set.

    The bits are those of `squared_distances`; a pair that comes again, or the other way round, is
    computed once.

    Args:
        features: float32 [N, D].
        left: int64 [n], rows.
        right: int64 [n], rows.

    Returns:
        float64 [n], squared L2 distances.
    """
    keys = np.minimum(left, right) * len(features) + np.maximum(left, right)
    keys, inverse = np.unique(keys, return_inverse=True)
    first, second = np.divmod(keys, len(features))
    exact = np.empty(len(keys), dtype=np.float64)
    step = max(1, CHUNK_VALUES // features.shape[1])

    def compute(start: int) -> None:
        part = slice(start, start + step)
        difference = features[first[part]].astype(np.float64)  # [step, D]
        difference -= features[second[part]]
        np.square(difference, out=difference)
        exact[part] = difference.sum(axis=1)

    in_threads(compute, range(0, len(keys), step))
    return exact[inverse]


def squared_norms(
    features: NDArray[np.float32], centre: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Squared L2 norm of every row, in float64.

    Args:
        features: float32 [N, D].
        centre: float64 [D], subtracted from every row first; None subtracts nothing.

    Returns:
        float64 [N], each off by at most D + 1 roundings of itself; NaN or infinite exactly where
        the row holds such a value.
    """
    norms = np.empty(len(features), dtype=np.float64)

    def use(part: slice, wide: NDArray[np.float64]) -> None:
        if centre is not None:
            wide -= centre
        np.vecdot(wide, wide, out=norms[part])

    _each_piece(features, use)
    return norms


def squared_norms_about(
    features: NDArray[np.float32], centre: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Squared L2 norm of every row and its squared distance to a centre, in one pass.

    Args:
        features: float32 [N, D].
        centre: float64 [D].

    Returns:
        Two times float64 [N], bit for bit `squared_norms` without and with the centre.
    """
    norms = np.empty(len(features), dtype=np.float64)
    about = np.empty(len(features), dtype=np.float64)

    def use(part: slice, wide: NDArray[np.float64]) -> None:
        np.vecdot(wide, wide, out=norms[part])
        # infinite values, which have no place here, are for the caller to find in `norms`
        with np.errstate(invalid="ignore"):
            wide -= centre
        np.vecdot(wide, wide, out=about[part])

    _each_piece(features, use)
    return norms, about


def require_features(name: str, features: NDArray[np.float32]) -> NDArray[np.float64]:
    """Refuse features that have no order, and give their squared norms.

    Args:
        name: "query" or "gallery", for the text.
        features: expected float32 [N, D], D at least 1, every value finite.

    Returns:
        float64 [N], squared norms.

    Raises:
        ValueError: wrong dtype or shape, NaN or infinite values, or a norm above `NORM_LIMIT`.
    """
    require_matrix(name, features)
    norms = squared_norms(features)
    require_order(name, norms)
    return norms


def require_matrix(name: str, features: NDArray[np.float32]) -> None:
    """Refuse features of another dtype or shape; see `require_features`."""
    if features.dtype != np.float32 or features.ndim != 2 or features.shape[1] < 1:
        raise ValueError(
            f"{name} features must be float32 [N, D], found {features.dtype} {list(features.shape)}"
        )


def require_order(name: str, norms: NDArray[np.float64]) -> None:
    """Refuse features whose squared norms, float64 [N], tell that they have no order."""
    # NaN fails this comparison as well
    good = norms <= NORM_LIMIT**2
    if not good.all():
        row = int(np.argmin(good))
        raise ValueError(
            f"{name} row {row} has norm {np.sqrt(norms[row]):.3g}; every value must be finite and "
            f"the norm at most {NORM_LIMIT:.0e}"
        )


def worker_threads() -> int:
    """Threads that look at queries or rows side by side: one per CPU."""
    return os.cpu_count() or 1


def chunk_bytes(dim: int) -> int:
    """Memory that a thread takes at most for sums over rows of `dim` values."""
    return 20 * max(CHUNK_VALUES, dim)


def _each_piece(
    features: NDArray[np.float32], use: Callable[[slice, NDArray[np.float64]], None]
) -> None:
    """Call `use` with every piece of the rows: which, and their values, which it may overwrite."""
    size, dim = features.shape
    step = max(1, CHUNK_VALUES // max(1, dim))

    def compute(first: int) -> None:
        # kept from piece to piece: new memory costs as much as the sums
        space = np.empty((min(step, size - first), dim))
        for start in range(first, min(first + _SPAN * step, size), step):
            part = slice(start, min(start + step, size))
            wide = space[: part.stop - start]
            wide[...] = features[part]
            use(part, wide)

    in_threads(compute, range(0, size, _SPAN * step))


def in_threads(compute: Callable[[int], None], starts: range) -> None:
    """Call `compute` with every start, in any order, in one thread for each CPU.

    NumPy lets other threads run inside each of its steps.
    """
    if len(starts) < 2:  # a single query must not wait for threads to start
        for start in starts:
            compute(start)
        return
    with ThreadPoolExecutor(worker_threads()) as threads:
        for _ in threads.map(compute, starts):
            pass
