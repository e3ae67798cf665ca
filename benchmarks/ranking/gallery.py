"""One query at a time: the gallery in a folder and one in memory beside a bare product.

One query needs every vector once, so reading memory is the limit, and the product of the stored
vectors with the query is the least that any exact search does.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure.process import Arrays, Entrant, Outcome, Summary, Work
from benchmarks.measure.rounds import Series, ratio
from benchmarks.ranking.data import equal_share, load_features
from benchmarks.ranking.sizes import GALLERY_BAR_SIZE, TOP_K, Size
from benchmarks.ranking.stores import (
    FILTER_US,
    LANCE,
    MILVUS_VARIABLE,
    STORE,
    TABLE,
    filtered_rows,
)
from mtml_deploy.gallery.open import open_gallery
from mtml_deploy.gallery.values import Filter
from mtml_deploy.search.prepared import prepare
from mtml_deploy.search.rank import rank

BAR: Final = 1 / 1.5
"""Least share of the speed of the bare product that search must reach."""

QUERIES: Final = 30
"""Queries of one run, each timed alone; their median counts."""

_WARM_UP_QUERIES: Final = 3

Search = Callable[[NDArray[np.float32]], NDArray[np.integer]]
"""One query [D] -> rows [K], nearest first."""


def gallery_entrants(folder: Path) -> tuple[tuple[Entrant, ...], tuple[str, ...]]:
    """The contenders, and a sentence on each that is not installed.

    Args:
        folder: data and stores.
    """
    entrants = [
        Entrant("gallery", "gallery search",
                f"One query in the gallery folder, exact {TOP_K} nearest, float64 order.",
                partial(_work, folder, _ours)),
        Entrant("gallery_memory", "prepared gallery in memory",
                f"One query by rank() in a gallery prepared once, exact {TOP_K} nearest.",
                partial(_work, folder, _memory)),
        Entrant("gallery_product", "bare matrix-vector product",
                "The stored vectors, in memory, times the query; nothing is chosen.",
                partial(_work, folder, _product)),
        Entrant("gallery_filtered", "gallery search, filtered",
                f"As gallery search, with a filter that leaves one row of a hundred, exact {TOP_K} "
                "nearest of these.",
                partial(_work, folder, partial(_ours, where=Filter(until_us=FILTER_US)))),
        Entrant("gallery_filtered_product", "bare product of the filtered rows",
                "The rows that pass, gathered before, times the query; nothing is chosen.",
                partial(_work, folder, partial(_product, filtered=True))),
        Entrant("gallery_reading", "reading alone",
                "Sum of the squares of all stored values: memory is read once.",
                partial(_work, folder, _reading)),
    ]  # fmt: skip
    notes = []
    if os.environ.get(MILVUS_VARIABLE):
        entrants += [
            Entrant("gallery_milvus", "gallery on a Milvus server",
                    f"One query in the collection, exact {TOP_K} nearest, float64 order.",
                    partial(_work, folder, _milvus)),
            Entrant("gallery_milvus_ten", "the same, ten queries in one search",
                    "Time of the whole search, which waits once for the server's newest writes.",
                    partial(_milvus_ten, folder)),
        ]  # fmt: skip
    else:
        notes.append(f"Milvus: {MILVUS_VARIABLE} names no collection, not measured.")
    if find_spec("faiss") is None:
        notes.append("FAISS: not installed, not measured.")
    else:
        entrants.append(
            Entrant("gallery_faiss", "FAISS IndexFlatL2", "One query in a flat index in memory.",
                    partial(_work, folder, _faiss))
        )  # fmt: skip
    if find_spec("lancedb") is None:
        notes.append("LanceDB: not installed, not measured.")
    else:
        entrants.append(
            Entrant("gallery_lancedb", "LanceDB", "One query in a table on disk, exact search.",
                    partial(_work, folder, _lance))
        )  # fmt: skip
    return tuple(entrants), tuple(notes)


def summarise_gallery(outcomes: Mapping[str, Outcome], *, size: Size, dim: int) -> Summary:
    """What follows from the measurements.

    Args:
        outcomes: by key.
        size: of the data.
        dim: D.

    Returns:
        The summary.
    """
    read = 4 * size.gallery * dim
    ours, product = outcomes["gallery"], outcomes["gallery_product"]
    bandwidths = []
    for key in ("gallery", "gallery_product", "gallery_reading"):
        speeds = tuple(read / seconds for seconds in outcomes[key].seconds.values)
        bandwidths.append(
            Series(
                f"{key}_bandwidth",
                f"{outcomes[key].seconds.title}, bytes of vectors",
                f"{read / 1e6:.0f} MB of vectors over the time of one query.",
                "B/s",
                speeds,
                process_medians=speeds,
            )
        )
    barred = size.name == GALLERY_BAR_SIZE
    ratios = [
        *(
            ratio(product.seconds, outcomes[key].seconds, at_least=BAR if barred else None)
            for key in ("gallery", "gallery_memory")
        ),
        ratio(bandwidths[0], bandwidths[2]),
        ratio(ours.seconds, outcomes["gallery_filtered"].seconds),
        ratio(outcomes["gallery_filtered_product"].seconds, outcomes["gallery_filtered"].seconds),
    ]
    if "gallery_milvus" in outcomes:
        one, ten = outcomes["gallery_milvus"], outcomes["gallery_milvus_ten"]
        ratios += [ratio(one.seconds, ten.seconds), ratio(ours.seconds, one.seconds)]
    notes = ["Files come from the page cache. Memory of the gallery counts its mapped files."]
    for key in ("gallery_faiss", "gallery_lancedb"):
        if key in outcomes:
            outcome = outcomes[key]
            ratios.append(ratio(outcome.seconds, ours.seconds))
            ratios.append(ratio(outcome.peak, ours.peak))
            share = equal_share(outcome.result["rows"], ours.result["rows"])
            notes.append(
                f"{outcome.seconds.title}: {100 * share:.3f} % of all positions hold the same row."
            )
    return Summary(tuple(bandwidths), tuple(ratios), tuple(notes))


def _work(folder: Path, make: Callable[[Path], Search]) -> Work:
    """Search for each of the first queries alone."""
    query, search = load_features(folder, "query"), make(folder)

    def timed(row: int) -> Arrays:
        return {"rows": search(query[row])[None]}  # [1, K]

    return Work(
        lambda: [search(point) for point in query[-_WARM_UP_QUERIES:]],
        tuple(partial(timed, row) for row in range(min(QUERIES, len(query)))),
    )


def _ours(folder: Path, *, where: Filter = Filter()) -> Search:  # noqa: B008 - frozen
    return _in_gallery(str(folder / STORE), where)


def _milvus(_: Path) -> Search:
    return _in_gallery(os.environ[MILVUS_VARIABLE], Filter())


def _milvus_ten(folder: Path) -> Work:
    """Ten queries a search, as often as one query is asked."""
    query = load_features(folder, "query")
    gallery = open_gallery(os.environ[MILVUS_VARIABLE])

    def timed(start: int) -> Arrays:
        part = query[np.arange(start, start + 10) % len(query)]
        return {"rows": gallery.search(part, model=gallery.model, top_k=TOP_K).rows - 1}

    return Work(lambda: timed(0), tuple(partial(timed, 10 * n) for n in range(QUERIES)))


def _in_gallery(name: str, where: Filter) -> Search:
    """One query at a time in the gallery of a name."""
    gallery = open_gallery(name)

    def search(point: NDArray[np.float32]) -> NDArray[np.integer]:
        hits = gallery.search(point[None], model=gallery.model, top_k=TOP_K, where=where)
        rows: NDArray[np.int64] = hits.rows[0] - 1  # rows of a gallery count from 1
        return rows

    return search


def _memory(folder: Path) -> Search:
    gallery = prepare(load_features(folder, "gallery"))

    def search(point: NDArray[np.float32]) -> NDArray[np.integer]:
        rows: NDArray[np.int32] = rank(point[None], gallery, top_k=TOP_K).rows[0]
        return rows

    return search


def _product(folder: Path, *, filtered: bool = False) -> Search:
    rows = load_features(folder, "gallery")
    if filtered:
        rows = rows[filtered_rows(len(rows))]
    products = np.empty(len(rows), dtype=np.float32)
    nothing = np.empty(0, dtype=np.int64)

    def multiply(point: NDArray[np.float32]) -> NDArray[np.integer]:
        np.matmul(rows, point, out=products)
        return nothing

    return multiply


def _reading(folder: Path) -> Search:
    values = load_features(folder, "gallery").ravel()
    nothing = np.empty(0, dtype=np.int64)

    def read(_: NDArray[np.float32]) -> NDArray[np.integer]:
        np.dot(values, values)
        return nothing

    return read


def _faiss(folder: Path) -> Search:
    import faiss

    rows = load_features(folder, "gallery")
    index = faiss.IndexFlatL2(rows.shape[1])
    index.add(rows)
    kept = min(TOP_K, len(rows))
    del rows

    def search(point: NDArray[np.float32]) -> NDArray[np.integer]:
        found: NDArray[np.int64] = index.search(point[None], kept)[1][0]
        return found

    return search


def _lance(folder: Path) -> Search:
    import lancedb

    table = lancedb.connect(folder / LANCE).open_table(TABLE)

    def search(point: NDArray[np.float32]) -> NDArray[np.integer]:
        # by L2 distance unless told otherwise
        found = table.search(point).limit(TOP_K).select(["row", "_distance"])
        rows: NDArray[np.int64] = found.to_arrow()["row"].to_numpy()
        return rows

    return search
