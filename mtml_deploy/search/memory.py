"""Block sizes from the memory a user allows.

In: a number of bytes and what a computation takes, fixed and for each row of a block. Out: rows of
a block, or an error that says the least that works.
"""

from __future__ import annotations

import math
from typing import Final

from mtml_deploy.errors import MemoryBudgetError

GIB: Final = 1 << 30
"""Bytes of one GiB."""


def block_rows(
    memory_bytes: int | None, *, fixed_bytes: int, row_bytes: int, most: int, purpose: str
) -> int:
    """Rows of a block that fit into a budget.

    Args:
        memory_bytes: the budget; None allows `most`.
        fixed_bytes: taken whatever the block.
        row_bytes: taken by each row of a block, at least 1.
        most: rows beyond which a larger block gains nothing, at least 1.
        purpose: for the text of the error, for example "ranking".

    Returns:
        1..`most`.

    Raises:
        MemoryBudgetError: not even one row fits.
    """
    if memory_bytes is None:
        return most
    if memory_bytes < (least := fixed_bytes + row_bytes):
        # rounded up, so that the advice works
        advice = math.ceil(least / GIB * 1000) / 1000
        raise MemoryBudgetError(
            f"{purpose} may take {memory_bytes / GIB:.3g} GiB beside its inputs and needs at least "
            f"{advice:.3f} GiB; allow as much: --memory-gib {advice:.3f}"
        )
    return min(most, (memory_bytes - fixed_bytes) // row_bytes)
