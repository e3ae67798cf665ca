"""The rows of a segment that pass a filter, and how a scan reads them.

In: a mask. Out: either all rows are multiplied and those that fail are passed over, or the rows
that pass are gathered and nothing else is read. The lists are the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

GATHERED_SHARE: Final = 0.4
"""Up to this share of a segment, rows are gathered: measured, see `docs/lab-records.md`."""

_GATHERED_VALUES: Final = 1 << 18
"""float32 values gathered at once (1 MiB): they stay in the cache for the product."""


@dataclass(frozen=True)
class Chosen:
    """Rows of one segment that a search looks at; made by `choose`.

    Attributes:
        slots: int64 [n], ascending, the only rows that are read; None: all are.
        left_out: bool [N], rows that are read and passed over; None: none are.
    """

    slots: NDArray[np.int64] | None
    left_out: NDArray[np.bool_] | None

    def slot(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """The slots of places among the rows that are read."""
        return places if self.slots is None else self.slots[places]


def choose(mask: NDArray[np.bool_], count: int) -> Chosen:
    """How to read rows.

    Args:
        mask: bool [N], which pass.
        count: how many do.
    """
    if count == len(mask):
        return Chosen(None, None)
    if count <= GATHERED_SHARE * len(mask):
        return Chosen(np.flatnonzero(mask), None)
    return Chosen(None, ~mask)


def products(
    query: NDArray[np.float32], features: NDArray[np.float32], slots: NDArray[np.int64] | None
) -> NDArray[np.float32]:
    """Products of queries with rows.

    Args:
        query: float32 [b, D].
        features: float32 [N, D], for example mapped from a file.
        slots: int64 [n], which rows; None: all.

    Returns:
        float32 [b, n].
    """
    if slots is None:
        return query @ features.T
    dim = features.shape[1]
    step = max(1, _GATHERED_VALUES // dim)
    found = np.empty((len(query), len(slots)), dtype=np.float32)
    buffer = np.empty((min(step, len(slots)), dim), dtype=np.float32)
    for start in range(0, len(slots), step):
        part = slots[start : start + step]
        # "clip": slots are in range, and the default would copy once more
        np.take(features, part, axis=0, out=buffer[: len(part)], mode="clip")
        found[:, start : start + step] = query @ buffer[: len(part)].T
    return found
