"""Images with equal features: searched for once, listed each.

In: features, and the neighbours of the distinct ones. Out: the neighbours of all. Without it, many
copies of one image (black frames, say) would all be equally near to everything.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

_CHUNK_ROWS: Final = 4096
"""Distinct images whose lists are spread at once."""


class Duplicates:
    """Groups of equal rows.

    Attributes:
        first: int64 [U], the lowest row of each group, ascending.
        group: int64 [N], the group of each row.
    """

    def __init__(self, features: NDArray[np.float32], norms: NDArray[np.float64]) -> None:
        """Find the groups.

        Args:
            features: float32 [N, D], finite.
            norms: float64 [N], squared norms; equal for equal rows.
        """
        lowest = np.arange(len(features))
        _, inverse, counts = np.unique(norms, return_inverse=True, return_counts=True)
        shared = np.flatnonzero(counts[inverse] > 1)
        if len(shared):
            # adding zero makes -0.0 and 0.0, which are equal, equal in their bytes as well
            rows = np.ascontiguousarray(features[shared] + np.float32(0))
            packed = rows.view(np.dtype((np.void, rows.shape[1] * 4))).ravel()
            _, index, inverse = np.unique(packed, return_index=True, return_inverse=True)
            lowest[shared] = shared[index[inverse]]
        self.first = np.flatnonzero(lowest == np.arange(len(features)))
        self.group = np.searchsorted(self.first, lowest)

    def spread(
        self, groups: NDArray[np.int64], distances: NDArray[np.float64], *, count: int
    ) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        """Neighbours of every row from those of the groups.

        Args:
            groups: int64 [U, k], nearest groups of each group in the order of (distance, group);
                k = min(count, U).
            distances: float64 [U, k], squared.
            count: list length, at most N.

        Returns:
            int32 [N, count] rows, the row itself first, then by (distance, row); float64
            [N, count], their squared distances.
        """
        size = len(self.group)
        if len(self.first) == size:
            return groups.astype(np.int32), distances
        members = np.argsort(self.group, kind="stable")
        starts = np.searchsorted(self.group[members], np.arange(len(self.first)))
        # a list has no place for more than `count` members of one group
        sizes = np.minimum(np.bincount(self.group), count)
        lists = np.empty((len(self.first), count), dtype=np.int32)
        spread = np.empty((len(self.first), count))
        for begin in range(0, len(self.first), _CHUNK_ROWS):
            part = groups[begin : begin + _CHUNK_ROWS]
            repeats = sizes[part.ravel()]
            inside = np.arange(repeats.sum()) - np.repeat(np.cumsum(repeats) - repeats, repeats)
            rows = members[np.repeat(starts[part.ravel()], repeats) + inside]
            near = np.repeat(distances[begin : begin + _CHUNK_ROWS].ravel(), repeats)
            owner = np.repeat(np.repeat(np.arange(len(part)), part.shape[1]), repeats)
            order = np.lexsort((rows, near, owner))
            begins = np.searchsorted(owner, np.arange(len(part)))
            chosen = order[begins[:, None] + np.arange(count)]
            lists[begin : begin + len(part)] = rows[chosen]
            spread[begin : begin + len(part)] = near[chosen]
        return _self_first(lists[self.group], spread[self.group])


def _self_first(
    rows: NDArray[np.int32], distances: NDArray[np.float64]
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Lists with the row itself moved, or put in, at the front; the last one falls out if put in.

    Args:
        rows: int32 [N, K].
        distances: float64 [N, K].

    Returns:
        The two arrays, changed.
    """
    own = np.arange(len(rows), dtype=np.int32)[:, None]
    found = rows == own
    place = np.where(found.any(axis=1), found.argmax(axis=1), rows.shape[1] - 1)[:, None]
    source = np.arange(rows.shape[1])[None, :]
    # places up to its own take what stood one before
    source = np.where(source <= place, np.maximum(source - 1, 0), source)
    rows = np.take_along_axis(rows, source, axis=1)
    distances = np.take_along_axis(distances, source, axis=1)
    rows[:, 0], distances[:, 0] = own[:, 0], 0.0
    return rows, distances
