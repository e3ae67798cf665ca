"""How far a search by the approximate index must look: recall against all vectors, with filters.

The exact nearest rows are found by reading every vector once, as the server cannot tell them any
more. Filters are measured too: an index may lose what passes a narrow one without a word.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.data.clock import UNKNOWN_TIME, format_time
from mtml_deploy.data.ids import named, shown_id
from mtml_deploy.data.records import UNKNOWN
from mtml_deploy.gallery.milvus.client import MAX_CANDIDATES
from mtml_deploy.gallery.milvus.entities import (
    IMAGES,
    RECORD_BYTES,
    filter_expression,
    id_texts_of,
)
from mtml_deploy.gallery.milvus.gallery import MilvusGallery
from mtml_deploy.gallery.milvus.search import FEW, approximate_rows
from mtml_deploy.gallery.tuning import Measured, Tuning
from mtml_deploy.gallery.values import Filter, GalleryError
from mtml_deploy.search.error_bounds import EXTRA
from mtml_deploy.search.rank import rank

SAMPLE: Final = 200
"""Rows that serve as queries where the user gives none."""

_SEED: Final = 0
"""Of the sample."""

_MOST_EF: Final = 32768
"""That Milvus takes."""

_FIELDS: Final = ("camera_id", "time_us", "id_texts")


@dataclass(frozen=True)
class Rung:
    """One setting that was tried.

    Attributes:
        ef: candidates kept on the way.
        measured: recall with each filter, the first without one.
        query_ms: mean time of a query without a filter, several asked at once.
    """

    ef: int
    measured: tuple[Measured, ...]
    query_ms: float

    @property
    def recall(self) -> float:
        """The worst."""
        return min(one.recall for one in self.measured)


@dataclass(frozen=True)
class _Truth:
    """The exact nearest rows among those that pass a filter.

    Attributes:
        where: the filter in words.
        expression: of the server.
        share: of all rows pass.
        few: whether so few pass that all are compared, whatever `ef` is.
        rows: int64 [Q, k].
        distances: float32 [Q, k], nearest first.
    """

    where: str
    expression: str
    share: float
    few: bool
    rows: NDArray[np.int64]
    distances: NDArray[np.float32]


def tune_index(
    gallery: MilvusGallery,
    *,
    recall: float,
    top_k: int,
    queries: NDArray[np.float32] | None = None,
    where: Filter = Filter(),  # noqa: B008 - frozen
    tried: Callable[[Rung], None] | None = None,
) -> tuple[Rung, ...]:
    """Keep the smallest `ef` whose recall reaches a target with every filter.

    Recall is the mean, over the queries, of the share of the `top_k` exact nearest rows that are
    found; a found row as near as the last exact one counts, so ties are no losses. Measured are all
    rows, the camera with the most rows, the one with the fewest, the middle tenth of the times,
    and the filter that is given. Without queries a sample of the gallery's own rows asks, each
    passing over itself: queries of other origin may be served worse.

    Args:
        gallery: opened for writing, with an approximate index.
        recall: the target, above 0, at most 1.
        top_k: places compared, at least 1.
        queries: float32 [Q, D], Q at least 1, of the gallery's model; None samples rows.
        where: a filter that is measured as well; one that all pass adds nothing.
        tried: told each setting once it was measured.

    Returns:
        What was tried; the last is the chosen one, which is kept in the gallery's manifest.

    Raises:
        GalleryError: no setting reaches the target, or the gallery has no approximate index.
        ValueError: it was opened for reading.
    """
    gallery.require_approximate()
    gallery.set_tuning(None)
    numbers, filters = _filters(gallery, where)
    own = None
    if queries is None:
        own = np.random.default_rng(_SEED).permutation(numbers)[:SAMPLE]
        queries = gallery.vectors(own.tolist())
    wanted = top_k if own is None else top_k + 1
    if wanted > MAX_CANDIDATES - EXTRA:
        raise GalleryError(
            f"{top_k} places were asked for, expected at most {MAX_CANDIDATES - EXTRA - 1}, which "
            "Milvus returns; lower --top-k"
        )
    truths = [_truth(gallery, *one, len(numbers), queries, wanted) for one in filters]
    rungs: list[Rung] = []
    ef = wanted + EXTRA
    while True:
        measured: list[Measured] = []
        query_ms = 0.0
        for number, truth in enumerate(truths):
            if rungs and truth.few:
                measured.append(rungs[0].measured[number])
                continue
            begin = time.perf_counter()
            found = approximate_rows(
                gallery.table, queries, top_k=wanted, expression=truth.expression, ef=ef
            )
            if not measured:
                query_ms = (time.perf_counter() - begin) * 1e3 / len(queries)
            measured.append(Measured(truth.where, truth.share, _recall(truth, found, own, top_k)))
        rungs.append(Rung(ef, tuple(measured), query_ms))
        if tried is not None:
            tried(rungs[-1])
        if rungs[-1].recall >= recall:
            best = rungs[-1]
            gallery.set_tuning(Tuning(ef, best.recall, recall, top_k, len(queries), best.measured))
            return tuple(rungs)
        if ef >= min(_MOST_EF, 2 * len(numbers)):
            worst = min(measured, key=lambda one: one.recall)
            raise GalleryError(
                f"no setting reaches recall@{top_k} {recall:g}: ef {ef} gives {worst.recall:.4f} "
                f"for {worst.where}; ask for less with --recall, or give the gallery the "
                f"exact index again: mtml-deploy gallery index {gallery.name} --exact"
            )
        ef = min(_MOST_EF, 2 * ef)


def _filters(
    gallery: MilvusGallery, given: Filter
) -> tuple[NDArray[np.int64], list[tuple[str, Filter]]]:
    """Numbers of all rows, and the filters that are measured, each in words."""
    numbers: list[int] = []
    cameras: Counter[int] = Counter()
    times: list[int] = []
    for part in gallery.table.windows(_FIELDS, row_bytes=RECORD_BYTES):
        for entity in part:
            numbers.append(entity["row"])
            if entity["camera_id"] != UNKNOWN:
                cameras[named(entity["camera_id"], id_texts_of(entity))] += 1
            if entity["time_us"] != UNKNOWN_TIME:
                times.append(entity["time_us"])
    if len(numbers) < 2:
        raise GalleryError(
            f"{gallery.name} holds {len(numbers)} rows, expected 2 or more to measure recall; add "
            "images first"
        )
    filters = [("all rows", Filter())]
    if len(cameras) > 1:
        order = sorted(cameras, key=lambda camera: (-cameras[camera], int(camera)))
        for camera in (order[0], order[-1]):
            filters.append((f"camera {shown_id(camera)}", Filter(cameras=(camera,))))
    if times:
        since, until = np.quantile(np.array(times), (0.45, 0.55), method="nearest").tolist()
        if since < until:
            text = f"{format_time(since)} to {format_time(until)}"
            filters.append((text, Filter(since_us=since, until_us=until)))
    if given != Filter():
        filters.append(("the given filter", given))
    return np.array(numbers, dtype=np.int64), filters


def _truth(
    gallery: MilvusGallery,
    text: str,
    where: Filter,
    total: int,
    queries: NDArray[np.float32],
    wanted: int,
) -> _Truth:
    """The exact nearest rows, from every vector that passes a filter."""
    expression = filter_expression(where)
    rows = np.empty((len(queries), 0), dtype=np.int64)
    distances = np.empty((len(queries), 0), dtype=np.float32)
    passing = 0
    for part_rows, features in _parts(gallery, expression):
        passing += len(part_rows)
        near = rank(queries, features, top_k=wanted)
        rows = np.concatenate([rows, part_rows[near.rows]], axis=1)
        distances = np.concatenate([distances, near.distances], axis=1)
        order = np.argsort(distances, axis=1, kind="stable")[:, :wanted]
        rows = np.take_along_axis(rows, order, axis=1)
        distances = np.take_along_axis(distances, order, axis=1)
    if expression is None or not passing:
        raise GalleryError(
            f"no row of {gallery.name} passes {text}, expected some to measure recall; filter less"
        )
    few = expression != IMAGES and passing <= FEW
    return _Truth(text, expression, passing / total, few, rows, distances)


def _parts(
    gallery: MilvusGallery, expression: str | None
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """Numbers [n] and vectors [n, D] of the rows that pass."""
    if expression is None:
        return
    table = gallery.table
    for part in table.windows(
        ("vector", "crc"), row_bytes=table.vector_bytes + 64, expression=expression
    ):
        if part:
            yield np.array([entity["row"] for entity in part], dtype=np.int64), table.checked(part)


def _recall(
    truth: _Truth,
    found: list[tuple[NDArray[np.int64], NDArray[np.float64]]],
    own: NDArray[np.int64] | None,
    top_k: int,
) -> float:
    """Mean share of exact places that were found."""
    shares = []
    for place, (rows, exact) in enumerate(found):
        left = -1 if own is None else int(own[place])
        wanted = truth.distances[place][truth.rows[place] != left][:top_k]
        got = np.sqrt(exact).astype(np.float32)[rows != left][:top_k]
        if len(wanted):
            shares.append(np.count_nonzero(got <= wanted[-1]) / len(wanted))
    return float(np.mean(shares)) if shares else 1.0
