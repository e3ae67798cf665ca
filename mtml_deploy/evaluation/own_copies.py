"""Queries that are in the gallery themselves: found at rank 1, they make every number look better.

In: two sets of embeddings of one model. Out: for each query the gallery rows that are its own
image.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.embed.embeddings import Embeddings
from mtml_deploy.search.distance_blocks import RowsOf

NAMED_TOLERANCE: Final = 1e-2
"""L2 distance of two embeddings of one image under one name, relative to their length, at most:
int8 models differ by thousandths between batches, two views of one vehicle by far more."""

EQUAL_TOLERANCE: Final = 1e-5
"""The same whatever the names are: what a float32 model differs by between batches."""

COPY_RULE: Final = (
    "a gallery image is a query's own copy if it shows the same vehicle, and either file name "
    "(without folder) and camera are equal and the embeddings nearly so, or the embeddings are "
    "equal up to float32 rounding, whatever the names are"
)

_BLOCK: Final = 1024
"""Rows compared with a query at once."""


@dataclass(frozen=True)
class OwnCopies:
    """Which gallery rows are copies of a query.

    Attributes:
        rows: Q times int64 [n], ascending; empty for a query that is not in the gallery.
        left_out: whether they take no part, as if they were not in the gallery.
    """

    rows: tuple[NDArray[np.int64], ...]
    left_out: bool

    @property
    def queries(self) -> int:
        """How many queries are in the gallery."""
        return sum(len(rows) > 0 for rows in self.rows)


def find_own_copies(query: Embeddings, gallery: Embeddings, *, left_out: bool) -> OwnCopies:
    """The copies of each query; see `COPY_RULE`. Unknown labels are equal to each other here.

    Args:
        query: Q rows as embedded, not expanded.
        gallery: G rows of the same model.
        left_out: whether they are to take no part.

    Returns:
        The copies.
    """
    named: dict[tuple[str, int, int], list[int]] = defaultdict(list)
    for row, key in enumerate(map(_key, gallery.names, *_labels(gallery))):
        named[key].append(row)
    # Vectors whose distance is d have sums that differ by at most sqrt(D) * d: rows sorted by
    # vehicle and sum, only a short stretch can be equal to a query.
    sums = gallery.features.sum(axis=1, dtype=np.float64)
    order = np.lexsort((sums, gallery.vehicle_ids))
    vehicles, sums = gallery.vehicle_ids[order], sums[order]
    starts = np.searchsorted(vehicles, query.vehicle_ids, side="left")
    ends = np.searchsorted(vehicles, query.vehicle_ids, side="right")
    found = []
    for row, key in enumerate(map(_key, query.names, *_labels(query))):
        features = query.features[row].astype(np.float64)
        length = float(np.linalg.norm(features))
        middle = query.features[row].sum(dtype=np.float64)
        # twice the bound, because the sums are rounded themselves
        reach = 2 * math.sqrt(len(features)) * EQUAL_TOLERANCE * length
        stretch = sums[starts[row] : ends[row]]
        first, last = starts[row] + np.searchsorted(stretch, [middle - reach, middle + reach])
        equal = _within(features, gallery, order[first:last], EQUAL_TOLERANCE * length)
        alike = _within(features, gallery, np.array(named.get(key, ()), dtype=np.int64),
                        NAMED_TOLERANCE * length)  # fmt: skip
        found.append(np.union1d(equal, alike))
    return OwnCopies(tuple(found), left_out)


def without_copies(excluded: RowsOf, copies: OwnCopies | None) -> RowsOf:
    """Gallery rows that take no part: those of a protocol, and the copies if they are left out."""
    if copies is None or not copies.left_out:
        return excluded
    return lambda row: np.union1d(excluded(row), copies.rows[row])


def are_near(left: NDArray[np.float32], right: NDArray[np.float32]) -> bool:
    """Whether two embeddings float32 [D] may be of one image under one name."""
    length = float(np.linalg.norm(left.astype(np.float64)))
    return float(np.linalg.norm(left.astype(np.float64) - right)) <= NAMED_TOLERANCE * length


def _labels(rows: Embeddings) -> tuple[list[int], list[int]]:
    """Vehicle and camera of every row."""
    return rows.vehicle_ids.tolist(), rows.camera_ids.tolist()


def _key(name: str, vehicle: int, camera: int) -> tuple[str, int, int]:
    """What copies under one name have in common."""
    return name.rpartition("/")[2], vehicle, camera


def _within(
    features: NDArray[np.float64], gallery: Embeddings, rows: NDArray[np.int64], most: float
) -> NDArray[np.int64]:
    """Those of `rows` whose distance to `features` is at most `most`."""
    near = [np.empty(0, dtype=np.int64)]
    for start in range(0, len(rows), _BLOCK):
        block = rows[start : start + _BLOCK]
        near.append(block[np.linalg.norm(gallery.features[block] - features, axis=1) <= most])
    return np.concatenate(near)
