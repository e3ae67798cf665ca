"""What the ranking benchmark can measure: cases and sizes. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

from mtml_deploy.errors import DataError

Case = Literal["topk", "evaluate", "rerank", "gallery"]

CASES: Final[tuple[Case, ...]] = ("topk", "evaluate", "rerank", "gallery")


@dataclass(frozen=True)
class Size:
    """How many made-up embeddings.

    Attributes:
        name: what the user types.
        queries: Q.
        gallery: G.
        vehicles: different vehicles.
        dims: embedding sizes that top-k is measured at; the other cases take the first.
    """

    name: str
    queries: int
    gallery: int
    vehicles: int
    dims: tuple[int, ...]


_ALL: Final = (
    Size("veri", 1_678, 11_579, 200, (1024, 8192)),
    Size("100k", 500, 100_000, 2_000, (1024,)),
    Size("1m", 100, 1_000_000, 20_000, (1024,)),
)

SIZES: Final[Mapping[str, Size]] = MappingProxyType({size.name: size for size in _ALL})
"""Every size by name; "veri" is that of VeRi-776, with its fused and consensus embeddings."""

RERANK_SIZES: Final[Mapping[str, Size]] = MappingProxyType(
    {
        "veri": SIZES["veri"],
        # re-ranking compares all images with all: 100,000 in all
        "100k": Size("100k", 1_678, 98_322, 2_000, (1024,)),
    }
)
"""Sizes of re-ranking by name; its work grows with the square, so there is no "1m"."""

QUICK: Final = Size("quick", 40, 300, 12, (32,))
"""Of `--quick`: shows that everything runs, measures nothing."""

TOP_K: Final = 100
"""Ranks that are searched for and compared."""

BAR_SIZE: Final = "veri"
"""The size at which top-k, evaluation and re-ranking have a bar to reach."""

GALLERY_BAR_SIZE: Final = "100k"
"""The size at which the gallery has a bar to reach, and re-ranking one of memory."""


def plan_ranking(
    cases: tuple[Case, ...], size: str, *, quick: bool
) -> tuple[tuple[Case, Size, int], ...]:
    """What to measure: case, size and embedding size of each record.

    Args:
        cases: asked for; none means all, re-ranking only where it does not outweigh the rest.
        size: one of `SIZES`.
        quick: take `QUICK` instead.

    Raises:
        DataError: a case was asked for that has no such size.
    """
    if not cases:
        cases = tuple(case for case in CASES if case != "rerank" or quick or size == BAR_SIZE)
    planned = []
    for case in dict.fromkeys(cases):
        sizes = RERANK_SIZES if case == "rerank" else SIZES
        if not quick and size not in sizes:
            raise DataError(
                f"{case} has no size {size}, because its work grows with the square of the images; "
                f"say --size {' or --size '.join(sizes)}"
            )
        chosen = QUICK if quick else sizes[size]
        dims = chosen.dims if case == "topk" else chosen.dims[:1]
        planned += [(case, chosen, dim) for dim in dims]
    return tuple(planned)


def record_kind(case: Case, size: Size, dim: int) -> str:
    """Name of the record of a case and of its files."""
    return f"ranking-{case}-{size.name}-{dim}"
