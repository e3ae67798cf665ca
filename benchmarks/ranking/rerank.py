"""Re-ranking: `rerank` beside the dense programs of the peers, in time, memory and order."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure.process import Arrays, Entrant, Outcome, Summary, Work
from benchmarks.measure.rounds import Series, ratio
from benchmarks.ranking.data import equal_share, float32_distances, load_features
from benchmarks.ranking.peers import Peer, load_reranking
from benchmarks.ranking.sizes import BAR_SIZE, GALLERY_BAR_SIZE, RERANK_SIZES, TOP_K, Size
from mtml_deploy.search.rerank import RerankOptions, estimate_bytes, rerank

SPEED_BAR: Final = 6.0
"""How many times faster than the peers re-ranking must be."""

MEMORY_BAR: Final = 8.0
"""How many times their memory must be ours."""

MEMORY_LIMIT_BYTES: Final = 24 * 2**30
"""Memory of the machine that must hold the re-ranking of 100,000 images."""

DENSE_LIMIT: Final = 20_000
"""Images up to which the peers run: their memory grows with the square, 4 GiB at 13,257."""

_WARM_UP_QUERIES, _WARM_UP_GALLERY = 32, 256


def rerank_entrants(
    folder: Path, peers: tuple[Peer, ...], *, size: Size
) -> tuple[tuple[Entrant, ...], tuple[str, ...]]:
    """The contenders, and a sentence on each peer that does not run at this size.

    Args:
        folder: data of `write_clustered`.
        peers: toolkits to measure.
        size: of the data.
    """
    ours = Entrant(
        "rerank",
        "re-ranking",
        f"Features to the first {TOP_K} rows of every query, exact neighbours, sparse.",
        partial(_our_work, folder),
    )
    images = size.queries + size.gallery
    if images > DENSE_LIMIT:
        dense = f"{4 * images**2 / 2**30:.0f} GiB for each of its {images} x {images} matrices"
        return (ours,), tuple(f"{p.name}: not run, it needs {dense}." for p in peers)
    return (
        ours,
        *(
            Entrant(f"rerank_{peer.key}", f"re-ranking, {peer.name}",
                    "L2 distances by float32 products, the dense re-ranking, argsort; "
                    f"the first {TOP_K} rows of every query.",
                    partial(_peer_work, folder, peer))
            for peer in peers
        ),
    ), ()  # fmt: skip


def summarise_rerank(outcomes: Mapping[str, Outcome], *, size: Size, dim: int) -> Summary:
    """What follows from the measurements.

    Args:
        outcomes: by key.
        size: of the data.
        dim: D.

    Returns:
        The summary.
    """
    ours = outcomes["rerank"]
    estimate = Series(
        "rerank_estimate",
        "re-ranking, its own estimate",
        "Memory beyond the two inputs that the re-ranking says it takes at most.",
        "B",
        (float(estimate_bytes(size.queries, size.gallery, dim, options=RerankOptions())),),
    )
    growth = Series(
        "rerank_growth",
        "re-ranking, memory beyond the inputs",
        "Peak of the process less what it held before the timed work.",
        "B",
        tuple(map(float, ours.growth_bytes)),
        process_medians=tuple(map(float, ours.growth_bytes)),
    )
    series = [estimate, growth]
    # an estimate may be too high; where it is below what was taken it misleads
    holds = 1.0 if size.name in RERANK_SIZES else None
    ratios = [ratio(estimate, growth, at_least=holds)]
    if size.name == GALLERY_BAR_SIZE:
        limit = Series(
            "memory_limit", "24 GiB", "A machine of 24 GiB.", "B", (float(MEMORY_LIMIT_BYTES),)
        )
        series.append(limit)
        ratios.append(ratio(limit, ours.peak, at_least=1.0))
    notes = []
    barred = size.name == BAR_SIZE
    for key, outcome in outcomes.items():
        if key == "rerank":
            continue
        ratios.append(ratio(outcome.seconds, ours.seconds, at_least=SPEED_BAR if barred else None))
        ratios.append(ratio(outcome.peak, ours.peak, at_least=MEMORY_BAR if barred else None))
        share = equal_share(outcome.result["rows"], ours.result["rows"])
        notes.append(
            f"{outcome.seconds.title}: {100 * share:.3f} % of the first "
            f"{ours.result['rows'].shape[1]} positions hold the same row. It orders neighbours by "
            "float32 distances and takes equal ones as the sort leaves them."
        )
    if len(outcomes) > 1:
        notes.append(
            "The peers square the distances that they are given, so they get L2 distances, not "
            "squared ones: the method as published. Computing those is part of their time."
        )
    return Summary(tuple(series), tuple(ratios), tuple(notes))


def l2_distances(left: NDArray[np.float32], right: NDArray[np.float32]) -> NDArray[np.float32]:
    """float32 [n, m] L2 distances of float32 [n, D] and [m, D]."""
    distances = float32_distances(left, right)
    return np.sqrt(distances, out=distances)


def _our_work(folder: Path) -> Work:
    query, gallery = load_features(folder, "query"), load_features(folder, "gallery")

    def run(queries: int, rows: int) -> Arrays:
        return {"rows": rerank(query[:queries], gallery[:rows]).rank(top_k=TOP_K).rows}

    return Work(
        lambda: run(_WARM_UP_QUERIES, _WARM_UP_GALLERY), (lambda: run(len(query), len(gallery)),)
    )


def _peer_work(folder: Path, peer: Peer) -> Work:
    query, gallery = load_features(folder, "query"), load_features(folder, "gallery")
    reranked = load_reranking(peer)

    def run(queries: int, rows: int) -> Arrays:
        left, right = query[:queries], gallery[:rows]
        distances = reranked(
            l2_distances(left, right), l2_distances(left, left), l2_distances(right, right)
        )
        return {"rows": np.argsort(distances, axis=1)[:, :TOP_K]}

    return Work(
        lambda: run(_WARM_UP_QUERIES, _WARM_UP_GALLERY), (lambda: run(len(query), len(gallery)),)
    )
