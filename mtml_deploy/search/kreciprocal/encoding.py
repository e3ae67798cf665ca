"""k-reciprocal encoding: every image as weights over the images it is mutually near to.

In: neighbour lists of N images. Out: sparse vectors whose overlap is the Jaccard distance of Zhong
et al., Re-ranking Person Re-identification with k-reciprocal Encoding, CVPR 2017, sections 3.2-3.4.
All of it is arithmetic on sorted index arrays; nothing of size N x N exists.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.search.distances import squared_pair_distances
from mtml_deploy.search.kreciprocal.neighbours import Neighbours
from mtml_deploy.search.portable import exp_of_minus

BLOCK_ROWS: Final = 2048
"""Images whose sets are worked on at once."""


@dataclass(frozen=True)
class SparseRows:
    """N sparse vectors, row after row.

    Attributes:
        starts: int64 [N + 1]; row i is the entries starts[i] .. starts[i + 1] - 1.
        columns: int32 [E], ascending within a row.
        values: float64 [E], not zero.
    """

    starts: NDArray[np.int64]
    columns: NDArray[np.int32]
    values: NDArray[np.float64]


def encode(
    features: NDArray[np.float32], neighbours: Neighbours, *, k1: int, k2: int
) -> SparseRows:
    """The vector of every image.

    1. R(i): images j with j among the k1 nearest of i and i among the k1 nearest of j.
    2. R*(i): R(i), and for each j in R(i) the same set H(j) with k1 / 2 (rounded half to even) in
       place of k1, if more than two thirds of H(j) lie in R(i).
    3. Weights exp(-d(i, j)) over R*(i), divided by their sum; d is the squared distance divided by
       the squared distance from i to the image farthest from it.
    4. The mean of these vectors over the k2 nearest of i, itself included.

    An image is its own nearest in all of these, beyond the k1 others. The formulas of the paper
    and the authors' program differ: the program, which gave the paper's numbers and is what other
    toolkits have copied, counts the image itself in step 2 and asks for more than two thirds where
    the paper asks for at least two thirds. This follows the program.

    Args:
        features: float32 [N, D] of the same images.
        neighbours: lists with at least min(max(k1 + 1, k2), N) places.
        k1: neighbours that must be mutual.
        k2: lists that step 4 averages; 1 changes nothing.

    Returns:
        The vectors, each with sum 1.
    """
    mutual = _mutual(neighbours.rows[:, : k1 + 1])
    half = _mutual(neighbours.rows[:, : round(k1 / 2) + 1])
    size = len(features)
    blocks = range(0, size, BLOCK_ROWS)
    keys = np.concatenate(
        [_expanded(mutual, half, start, min(start + BLOCK_ROWS, size)) for start in blocks]
    )
    weighted = _weighted(features, neighbours, keys)
    parts = [
        _averaged(weighted, neighbours.rows[start : start + BLOCK_ROWS, :k2]) for start in blocks
    ]
    columns = np.concatenate([part.columns for part in parts])
    values = np.concatenate([part.values for part in parts])
    counts = np.concatenate([np.diff(part.starts) for part in parts])
    return SparseRows(np.concatenate([[0], np.cumsum(counts)]), columns, values)


def entries(
    starts: NDArray[np.int64], rows: NDArray[np.integer]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where the entries of chosen rows are, row after row.

    Args:
        starts: int64 [N + 1], as in `SparseRows`.
        rows: int [n], any rows in any order.

    Returns:
        int64 [m] positions of their entries, and int64 [m], for each the place in `rows` it
        belongs to.
    """
    counts = starts[rows + 1] - starts[rows]
    owners = np.repeat(np.arange(len(rows)), counts)
    shifts = starts[rows] - (np.cumsum(counts) - counts)
    return np.arange(len(owners)) + shifts[owners], owners


@dataclass(frozen=True)
class _Sets:
    """N sets of rows, as sorted keys row * N + member."""

    starts: NDArray[np.int64]
    keys: NDArray[np.int64]


def _mutual(lists: NDArray[np.int32]) -> _Sets:
    """For each row the members of its list whose list it is in; itself is one of them."""
    size = len(lists)
    own = np.arange(size)[:, None]
    both = np.concatenate(
        [(own * size + lists).ravel(), (lists.astype(np.int64) * size + own).ravel()]
    )
    both.sort()
    # each key comes at most once from either side
    keys = both[:-1][both[1:] == both[:-1]]
    return _Sets(np.searchsorted(keys, np.arange(size + 1) * size), keys)


def _expanded(mutual: _Sets, half: _Sets, begin: int, end: int) -> NDArray[np.int64]:
    """Keys of R*(i) for the rows from `begin` to before `end`, sorted."""
    size = len(mutual.starts) - 1
    known = mutual.keys[mutual.starts[begin] : mutual.starts[end]]
    rows, through = np.divmod(known, size)
    positions, owners = entries(half.starts, through)
    keys = rows[owners] * size + half.keys[positions] % size
    inside = _contains(known, keys)
    shared = np.bincount(owners, weights=inside, minlength=len(known))
    members = half.starts[through + 1] - half.starts[through]
    accepted = 3 * shared > 2 * members
    return np.unique(np.concatenate([known, keys[accepted[owners] & ~inside]]))


def _contains(known: NDArray[np.int64], keys: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of `keys` are in `known`, sorted and not empty: bool [n]."""
    places = np.searchsorted(known, keys)
    places[places == len(known)] = 0
    found: NDArray[np.bool_] = known[places] == keys
    return found


def _weighted(
    features: NDArray[np.float32], neighbours: Neighbours, keys: NDArray[np.int64]
) -> SparseRows:
    """Vectors of step 3 over the sets `keys`."""
    size = len(neighbours.rows)
    rows, columns = np.divmod(keys, size)
    # most distances are in the lists already
    listed = (np.arange(size)[:, None] * size + neighbours.rows).ravel()
    order = np.argsort(listed)
    places = np.searchsorted(listed, keys, sorter=order)
    places = order[np.minimum(places, len(order) - 1)]
    distances = neighbours.distances.ravel()[places]
    absent = np.flatnonzero(listed[places] != keys)
    distances[absent] = squared_pair_distances(features, rows[absent], columns[absent])

    farthest = neighbours.farthest[rows]
    # where all images are equal every distance is 0, whatever it is divided by
    weights = exp_of_minus(distances / np.where(farthest > 0, farthest, 1.0))
    weights /= np.bincount(rows, weights=weights, minlength=size)[rows]
    starts = np.searchsorted(keys, np.arange(size + 1) * size)
    return SparseRows(starts, columns.astype(np.int32), weights)


def _averaged(vectors: SparseRows, lists: NDArray[np.int32]) -> SparseRows:
    """Means of the vectors that each of n lists names: [n, k] rows to n vectors."""
    count, length = lists.shape
    positions, owners = entries(vectors.starts, lists.ravel())
    row, place = np.divmod(owners, length)
    size = len(vectors.starts) - 1
    # the place in the list makes the keys different: the order of each sum is that of the list
    keys = (row * size + vectors.columns[positions]) * length + place
    order = np.argsort(keys)
    cells = keys[order] // length
    first = np.flatnonzero(np.diff(cells, prepend=-1))
    sums = np.add.reduceat(vectors.values[positions[order]], first)
    cells = cells[first]
    starts = np.searchsorted(cells, np.arange(count + 1) * size)
    return SparseRows(starts, (cells % size).astype(np.int32), sums / length)
