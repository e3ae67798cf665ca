"""Ranking for programs: what `import mtml_deploy` offers beside models and galleries.

In: `Embeddings`, or arrays where no label is needed. Out: rankings, expanded queries. Commands
call the same functions below.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from mtml_deploy.data.records import UNKNOWN
from mtml_deploy.data.source import load_source
from mtml_deploy.defaults import (
    DEVICE,
    ENGINE,
    EXPAND_ALPHA,
    RERANK_K1,
    RERANK_K2,
    RERANK_LAMBDA,
    TOP_K,
    EngineName,
)
from mtml_deploy.embed.embeddings import Embeddings, ModelIdentity
from mtml_deploy.evaluation.protocols import Protocol, find_protocol, require_labels
from mtml_deploy.evaluation.stages import SearchOptions, Stage, stages
from mtml_deploy.search.prepared import PreparedGallery
from mtml_deploy.search.prepared import prepare as make_ready
from mtml_deploy.search.query_expansion import ExpansionOptions
from mtml_deploy.search.rank import Ranking
from mtml_deploy.search.rerank import RerankOptions

if TYPE_CHECKING:
    from mtml_deploy.data.records import ImageSet

Rows: TypeAlias = "Embeddings | ArrayLike"
"""Embeddings, or their features [N, D] alone: any real numbers, rounded to float32 once (float16 is
exact, float64, NumPy's own kind, loses what is beyond 7 digits)."""


@dataclass(frozen=True)
class KeptGallery:
    """A gallery that is asked more than once; made by `prepare`.

    Attributes:
        rows: the gallery; its features must not change any more.
        prepared: what ranking needs of them, computed once.
    """

    rows: Embeddings
    prepared: PreparedGallery


def prepare(gallery: Rows) -> KeptGallery:
    """A gallery, made ready for many questions: one pass over it that each would do by itself.

    Args:
        gallery: G rows; its features must not change any more.

    Returns:
        What `rank`, `expand` and `rerank` take in its place.

    Raises:
        ValueError: an array that is not [N, D], or values that are not finite.

    Example:
        >>> gallery = prepare([[3, 4], [0, 1], [1, 0]])
        >>> [rank([[x, 0]], gallery, top_k=1).rows.tolist() for x in (0.2, 9)]
        [[[2]], [[0]]]
    """
    rows = _set(gallery, "gallery", None)
    return KeptGallery(rows, make_ready(rows.features))


def load_images(source: str | Path, *, split: str = "") -> ImageSet:
    """The images that a source names, with what is known of them.

    Args:
        source: "veri:DIR#query" or another published data set, "csv:FILE", "folders:DIR",
            "market1501:DIR", a folder, a LIST.txt or an image file; see docs/data.md.
        split: "train", "query" or "gallery", where a data set's source names none.

    Returns:
        One or more records, in the order of the data set's own list; no image is opened.

    Raises:
        DataError: it cannot be read, is empty, or names no split.
        ValueError: `split` is none of the three.
    """
    return load_source(str(source), split=split)


def rank(
    query: Rows,
    gallery: Rows | KeptGallery,
    *,
    top_k: int = TOP_K,
    protocol: str = "plain",
    engine: EngineName = ENGINE,
    device: str = DEVICE,
    memory_bytes: int | None = None,
) -> Ranking:
    """The nearest gallery rows of every query, exact, by L2 distance, ties by gallery row.

    Args:
        query: Q rows.
        gallery: G rows of the same model; asked often, first `prepare` it.
        top_k: places wanted, at least 1; K = min(top_k, G).
        protocol: what takes no part: "plain" leaves nothing out and needs no label.
        engine: what proposes candidates: "numpy", "faiss" or "ort"; the result is the same.
        device: where engine "ort" does, "cpu" or "cuda:N".
        memory_bytes: most memory beside the inputs; None sets no limit.

    Returns:
        rows int32 [Q, K], nearest first, -1 where fewer are left; distances float32 [Q, K].

    Raises:
        EmbeddingsError: the sets were made by different models.
        ProtocolError: no such protocol, or labels that it needs are missing.
        ValueError: `top_k` below 1, or arrays that are not [N, D].
        MissingExtraError: the engine's library is not installed.
        MemoryBudgetError: too little memory.

    Example:
        >>> found = rank([[0.0, 0.0]], [[3, 4], [0, 1], [1, 0]], top_k=2)
        >>> found.rows.tolist(), found.distances.tolist()
        ([[1, 2]], [[1.0, 1.0]])
    """
    search = SearchOptions(engine=engine, device=device, memory_bytes=memory_bytes)
    return _last(query, gallery, protocol, search=search).ranking(top_k)


def expand(
    query: Rows,
    gallery: Rows | KeptGallery,
    *,
    neighbours: int = 3,
    alpha: float = EXPAND_ALPHA,
    protocol: str = "plain",
    memory_bytes: int | None = None,
) -> Embeddings:
    """Queries moved towards the gallery rows nearest to them (alpha query expansion).

    Args:
        query: Q rows.
        gallery: G rows of the same model; asked often, first `prepare` it.
        neighbours: nearest rows that are added to each query, at least 1.
        alpha: power of the cosine that weighs them, 0 or more.
        protocol: what it leaves out does not help either.
        memory_bytes: see `rank`.

    Returns:
        The queries with new features; everything else as it was.

    Raises:
        EmbeddingsError: the sets were made by different models.
        ProtocolError: no such protocol, or labels that it needs are missing.
        ValueError: a parameter out of its range, or arrays that are not [N, D].
        MemoryBudgetError: too little memory.
    """
    options = ExpansionOptions(neighbours=neighbours, alpha=alpha)
    search = SearchOptions(memory_bytes=memory_bytes)
    return _last(query, gallery, protocol, search=search, expansion=options).query


def rerank(
    query: Rows,
    gallery: Rows | KeptGallery,
    *,
    k1: int = RERANK_K1,
    k2: int = RERANK_K2,
    weight: float = RERANK_LAMBDA,
    top_k: int = TOP_K,
    protocol: str = "plain",
) -> Ranking:
    """The nearest gallery rows of every query in the order of k-reciprocal re-ranking.

    Args:
        query: Q rows, at least one; all of them take part as neighbours.
        gallery: G rows of the same model, at least one.
        k1: neighbours that must be mutual, at least 1.
        k2: nearest rows whose vectors are averaged, 1 to k1 + 1.
        weight: share of the original distance, 0..1 (lambda of the paper).
        top_k: places wanted, at least 1; K = min(top_k, G).
        protocol: what takes no place in the lists.

    Returns:
        rows int32 [Q, K], -1 where fewer are left; re-ranked distances float32 [Q, K].

    Raises:
        EmbeddingsError: an empty set, or sets of different models.
        ProtocolError: no such protocol, or labels that it needs are missing.
        ValueError: a parameter out of its range, or arrays that are not [N, D].
    """
    options = RerankOptions(k1=k1, k2=k2, weight=weight)
    return _last(query, gallery, protocol, reranking=options).ranking(top_k)


def _last(
    query: Rows,
    gallery: Rows | KeptGallery,
    protocol: str,
    *,
    search: SearchOptions | None = None,
    expansion: ExpansionOptions | None = None,
    reranking: RerankOptions | None = None,
) -> Stage:
    """The last of the stages asked for."""
    rule: Protocol = find_protocol(protocol)
    kept = None
    if isinstance(gallery, KeptGallery):
        kept = gallery.prepared
        gallery = gallery.rows
    given = [each.model for each in (query, gallery) if isinstance(each, Embeddings)]
    model = given[0] if given else None
    queries, searched = _set(query, "query", model), _set(gallery, "gallery", model)
    if rule.needs_cameras:
        require_labels(rule, queries, searched)
    asked = stages(
        queries,
        searched,
        rule,
        prepared=kept,
        search=search,
        expansion=expansion,
        reranking=reranking,
    )
    *_, last = asked
    return last


def _set(rows: Rows, role: str, model: ModelIdentity | None) -> Embeddings:
    """Embeddings as they are, features without any label."""
    if isinstance(rows, Embeddings):
        return rows
    given = np.asarray(rows)
    if given.dtype.kind not in "fiub":
        raise ValueError(f"{role} must be numbers [N, D], found {given.dtype} {list(given.shape)}")
    with np.errstate(over="ignore"):
        features = np.ascontiguousarray(given, dtype=np.float32)
    if np.isinf(features).any() and np.isfinite(given).all():
        raise ValueError(f"{role} holds numbers beyond float32 (3.4e38), expected features")
    if features.ndim != 2:
        hint = "; pass [vector] for one" if features.ndim == 1 else ""
        raise ValueError(f"{role} must be [N, D], found {list(features.shape)}{hint}")
    unknown = np.full(len(features), UNKNOWN, dtype=np.int32)
    return Embeddings(
        features=features,
        vehicle_ids=unknown,
        camera_ids=unknown,
        orientations=unknown,
        tracklet_ids=unknown,
        names=tuple(map(str, range(len(features)))),
        root="",
        source=f"an array of {role} features",
        model=model or ModelIdentity("an array", "float32", "features", features.shape[1]),
    )
