"""What an engine is: float32 arithmetic that proposes rows, with a proven bound of its error.

In: a block of queries. Out: for each query candidates, and the distance below which no other row
can be; `rank` decides between them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Proposal:
    """Candidates for the first places of one query.

    Attributes:
        rows: int64 [n], distinct gallery rows, in any order, none of them left out.
        floor: no row that takes part and is not listed has a smaller squared distance.
    """

    rows: NDArray[np.int64]
    floor: float


class Engine(Protocol):
    """Float32 arithmetic over one gallery, with a proven bound of its error."""

    @property
    def block(self) -> int:
        """Queries that `propose` takes at most."""
        ...

    def propose(
        self, query: NDArray[np.float32], left_out: Sequence[NDArray[np.int64]], count: int
    ) -> Callable[[int], Proposal]:
        """Candidates for a block of queries.

        Args:
            query: float32 [b, D], b at most `block`.
            left_out: for each query, int64 [n] gallery rows that take no part.
            count: places wanted, at least 1.

        Returns:
            Row of the block -> its candidates. May be called by several threads; valid until the
            next `propose`.
        """
        ...
