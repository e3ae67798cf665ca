"""How many lists a search must look at: recall against exact search, measured on this gallery."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from mtml_deploy.gallery.approximate.open import OpenIndex, open_index
from mtml_deploy.gallery.approximate.search import search_approximate
from mtml_deploy.gallery.folder.gallery import FolderGallery
from mtml_deploy.gallery.index_manifest import IndexManifest, Tuning, save_index_manifest
from mtml_deploy.gallery.values import GalleryError, Hits

SAMPLE: Final = 200
"""Rows that serve as queries where the user gives none."""

_SEED: Final = 0
"""Of the sample."""


@dataclass(frozen=True)
class Rung:
    """One setting that was tried.

    Attributes:
        probes: lists looked at.
        recall: share of the exact nearest rows that were found; 0..1.
        query_ms: mean time of a query, asked alone.
    """

    probes: int
    recall: float
    query_ms: float


@dataclass(frozen=True)
class Tuned:
    """What tuning found.

    Attributes:
        rungs: the settings tried, cheapest first; the last one is chosen.
        exact_ms: mean time of an exact search for one query.
        manifest: the index with its new setting.
    """

    rungs: tuple[Rung, ...]
    exact_ms: float
    manifest: IndexManifest


def tune_index(
    gallery: FolderGallery,
    *,
    recall: float,
    top_k: int,
    queries: NDArray[np.float32] | None = None,
    tried: Callable[[Rung], None] | None = None,
) -> Tuned:
    """Keep the fewest lists whose recall reaches a target.

    Recall is the mean, over the queries, of the share of the `top_k` exact nearest rows that are
    found; a found row as near as the last exact one counts, so ties are no losses. Without queries
    a sample of the gallery's own rows asks, each passing over itself: they lie where the lists are,
    so queries of other origin may be served worse.

    Args:
        gallery: opened for writing; it has an index.
        recall: the target, above 0, at most 1.
        top_k: places compared, at least 1.
        queries: float32 [Q, D], Q at least 1, of the gallery's model; None samples rows.
        tried: told each setting once it was measured.

    Returns:
        What was tried; the setting is stored in the index's manifest.

    Raises:
        GalleryError: no setting reaches the target, or the gallery or its index is of no use.
        MissingExtraError: faiss is not installed.
        ValueError: the gallery was opened for reading.
    """
    gallery.require_writable()
    index = open_index(gallery)
    own: NDArray[np.int64] | None = None
    if queries is None:
        own = _sample(gallery)
        queries = gallery.vectors(own.tolist())
    wanted = top_k if own is None else top_k + 1
    exact, exact_ms = _timed(
        queries, lambda one: gallery.search(one, model=gallery.model, top_k=wanted)
    )
    rungs: list[Rung] = []
    for probes in _ladder(index.manifest.lists):
        found, query_ms = _timed(queries, _asker(gallery, index, wanted, probes))
        rung = Rung(probes, _recall(exact, found, own, top_k), query_ms)
        rungs.append(rung)
        if tried is not None:
            tried(rung)
        if rung.recall >= recall:
            tuning = Tuning(probes, rung.recall, recall, top_k, len(queries))
            manifest = msgspec.structs.replace(index.manifest, tuning=tuning)
            save_index_manifest(gallery.folder, manifest)
            return Tuned(tuple(rungs), exact_ms, manifest)
    best = max(rung.recall for rung in rungs)
    raise GalleryError(
        f"no setting reaches recall@{top_k} {recall:g}: all {index.manifest.lists} lists give "
        f"{best:.4f}; ask for less, or search exactly"
    )


def _sample(gallery: FolderGallery) -> NDArray[np.int64]:
    """Numbers of rows that serve as queries."""
    numbers = gallery.table.numbers()
    live = numbers["row"][~numbers["removed"]]
    if len(live) < 2:
        raise GalleryError(
            f"{gallery.folder} holds {len(live)} rows, expected 2 or more to measure recall; add "
            "images first"
        )
    rows: NDArray[np.int64] = np.random.default_rng(_SEED).permutation(live)[:SAMPLE]
    return rows


def _ladder(lists: int) -> Iterator[int]:
    """1, 2, 3, 4, 6, 8, 12, ... and all lists at last."""
    step = 1
    while step < lists:
        yield step
        if step > 1 and step * 3 // 2 < lists:
            yield step * 3 // 2
        step *= 2
    yield lists


def _asker(
    gallery: FolderGallery, index: OpenIndex, top_k: int, probes: int
) -> Callable[[NDArray[np.float32]], Hits]:
    """A search with one setting."""
    return lambda one: search_approximate(
        gallery, index, one, model=gallery.model, top_k=top_k, probes=probes
    )


def _timed(
    queries: NDArray[np.float32], ask: Callable[[NDArray[np.float32]], Hits]
) -> tuple[list[Hits], float]:
    """The hits of each query asked alone, and the mean time in ms."""
    begin = time.perf_counter()
    hits = [ask(queries[i : i + 1]) for i in range(len(queries))]
    return hits, (time.perf_counter() - begin) * 1e3 / len(queries)


def _recall(
    exact: list[Hits], found: list[Hits], own: NDArray[np.int64] | None, top_k: int
) -> float:
    """Mean share of exact places that were found."""
    shares = []
    for place, (truth, answer) in enumerate(zip(exact, found, strict=True)):
        left = -1 if own is None else int(own[place])
        wanted = truth.distances[0][truth.rows[0] != left][:top_k]
        got = answer.distances[0][answer.rows[0] != left][:top_k]
        shares.append(np.count_nonzero(got <= wanted[-1]) / len(wanted))
    return float(np.mean(shares))
