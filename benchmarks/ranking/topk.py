"""Top-k search: the exact `rank` beside float32 searches, and beside the product alone.

Contenders import this file, so it imports no library that only one of them needs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure.process import Arrays, Entrant, Outcome, Summary, Work
from benchmarks.measure.rounds import Series, ratio
from benchmarks.ranking.data import BLOCK_QUERIES, equal_share, float32_distances, load_features
from benchmarks.ranking.sizes import BAR_SIZE, TOP_K, Size
from mtml_deploy.defaults import EngineName
from mtml_deploy.search.rank import rank

BAR: Final = 0.85
"""Least share of the machine's FLOP/s that search must reach."""

BAR_DIM: Final = 8192
"""Embedding size of that bar; at smaller ones the choice of ranks weighs more."""

_WARM_UP_QUERIES: Final = 32
"""Enough for every library to take the path of large batches."""

Search = Callable[[NDArray[np.float32], NDArray[np.float32]], NDArray[np.integer]]
"""query [Q, D], gallery [G, D] -> rows [Q, K], nearest first."""


def topk_entrants(folder: Path) -> tuple[tuple[Entrant, ...], tuple[str, ...]]:
    """The contenders, and a sentence on each that is not installed.

    Args:
        folder: data of `write_clustered`.
    """
    entrants = [
        Entrant("topk", "top-k", f"Exact {TOP_K} nearest rows of every query, float64 order.",
                partial(_work, folder, _ours)),
        Entrant("topk_argsort", "NumPy argsort",
                f"float32 product and argsort of all distances, {BLOCK_QUERIES} queries at once.",
                partial(_work, folder, _argsort)),
        Entrant("topk_torch", "torch",
                f"torch.addmm and topk, {BLOCK_QUERIES} queries at once.",
                partial(_work, folder, _torch)),
    ]  # fmt: skip
    if find_spec("faiss") is None:
        return tuple(entrants), ("FAISS: not installed, not measured.",)
    entrants += [
        Entrant("topk_engine_faiss", "top-k, engine faiss",
                f"Exact {TOP_K} nearest rows, float64 order, candidates from FAISS.",
                partial(_work, folder, partial(_ours, engine="faiss"))),
        Entrant("topk_faiss", "FAISS knn", "faiss.knn, which takes the arrays as they are.",
                partial(_work, folder, _faiss_knn)),
        Entrant("topk_faiss_flat", "FAISS IndexFlatL2",
                "Filling the index, which copies the gallery, and searching it.",
                partial(_work, folder, _faiss_flat)),
    ]  # fmt: skip
    return tuple(entrants), ()


def summarise_topk(
    outcomes: Mapping[str, Outcome], limit: Series, *, size: Size, dim: int
) -> Summary:
    """What follows from the measurements.

    Args:
        outcomes: by key.
        limit: what the machine can do, FLOP/s.
        size: of the data.
        dim: D.

    Returns:
        The summary.
    """
    flop = 2 * size.queries * size.gallery * dim
    ours = outcomes["topk"]
    speeds = tuple(flop / seconds for seconds in ours.seconds.values)
    achieved = Series(
        "topk_arithmetic",
        "top-k, arithmetic",
        f"{flop / 1e9:.1f} GFLOP of the one product that search needs, over its time.",
        "FLOP/s",
        speeds,
        process_medians=speeds,
    )
    barred = size.name == BAR_SIZE and dim == BAR_DIM
    ratios = [ratio(achieved, limit, at_least=BAR if barred else None)]
    notes = []
    for key, outcome in outcomes.items():
        if key != "topk":
            ratios.append(ratio(outcome.seconds, ours.seconds))
            ratios.append(ratio(outcome.peak, ours.peak))
            share = equal_share(outcome.result["rows"], ours.result["rows"])
            notes.append(
                f"{outcome.seconds.title}: {100 * share:.3f} % of all positions hold the same row."
            )
    return Summary((achieved,), tuple(ratios), tuple(notes))


def _work(folder: Path, search: Search) -> Work:
    """Search the whole data set once."""
    query, gallery = load_features(folder, "query"), load_features(folder, "gallery")

    def timed() -> Arrays:
        return {"rows": search(query, gallery)}

    return Work(lambda: search(query[:_WARM_UP_QUERIES], gallery), (timed,))


def _kept(gallery: NDArray[np.float32]) -> int:
    """K."""
    return min(TOP_K, len(gallery))


def _ours(
    query: NDArray[np.float32], gallery: NDArray[np.float32], *, engine: EngineName = "numpy"
) -> NDArray[np.integer]:
    return rank(query, gallery, top_k=TOP_K, engine=engine).rows


def _argsort(query: NDArray[np.float32], gallery: NDArray[np.float32]) -> NDArray[np.integer]:
    rows = [
        np.argsort(float32_distances(query[start : start + BLOCK_QUERIES], gallery), axis=1)[
            :, : _kept(gallery)
        ]
        for start in range(0, len(query), BLOCK_QUERIES)
    ]
    return np.concatenate(rows)


def _torch(query: NDArray[np.float32], gallery: NDArray[np.float32]) -> NDArray[np.integer]:
    import torch

    with torch.inference_mode():
        points = torch.from_numpy(gallery)
        squares = torch.linalg.vecdot(points, points)  # [G]
        rows = []
        for part in torch.split(torch.from_numpy(query), BLOCK_QUERIES):
            # |q|^2 changes no order
            distances = torch.addmm(squares, part, points.T, alpha=-2)
            rows.append(distances.topk(_kept(gallery), largest=False).indices)
        return torch.cat(rows).numpy()


def _faiss_knn(query: NDArray[np.float32], gallery: NDArray[np.float32]) -> NDArray[np.integer]:
    import faiss

    _, rows = faiss.knn(query, gallery, _kept(gallery))
    found: NDArray[np.int64] = rows
    return found


def _faiss_flat(query: NDArray[np.float32], gallery: NDArray[np.float32]) -> NDArray[np.integer]:
    import faiss

    index = faiss.IndexFlatL2(gallery.shape[1])
    index.add(gallery)
    _, rows = index.search(query, _kept(gallery))
    found: NDArray[np.int64] = rows
    return found
