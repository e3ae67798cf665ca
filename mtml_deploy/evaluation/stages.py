"""One question to a gallery in up to three stages: as embedded, expanded, re-ranked.

In: a query set and a gallery of one model, a protocol, and which stages. Out: for each stage its
queries, its order, and the metrics of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

from mtml_deploy.defaults import ENGINE, EngineName
from mtml_deploy.embed.embeddings import Embeddings, require_comparable
from mtml_deploy.errors import EmbeddingsError
from mtml_deploy.evaluation.ground_truth import GroundTruth
from mtml_deploy.evaluation.metrics import RetrievalMetrics, evaluate
from mtml_deploy.evaluation.own_copies import OwnCopies, without_copies
from mtml_deploy.evaluation.protocols import Protocol
from mtml_deploy.search.distance_blocks import RowsOf
from mtml_deploy.search.prepared import PreparedGallery, prepare
from mtml_deploy.search.query_expansion import ExpansionOptions, expand
from mtml_deploy.search.rank import Ranking, rank
from mtml_deploy.search.rerank import RerankOptions, rerank
from mtml_deploy.search.reranked_order import Reranked

Watch = Callable[
    [Embeddings, Embeddings, RerankOptions],
    AbstractContextManager[Callable[[int, int], None] | None],
]
"""Called before two sets are re-ranked; gives what is called with (blocks done, in total)."""


@dataclass(frozen=True)
class SearchOptions:
    """How candidates are proposed; see `rank`.

    Attributes:
        engine: what proposes them.
        device: where it does.
        memory_bytes: the budget of ranking and metrics; None sets none.
    """

    engine: EngineName = ENGINE
    device: str = "cpu"
    memory_bytes: int | None = None


@dataclass(frozen=True)
class Stage:
    """One order of a gallery.

    Attributes:
        query: the queries, expanded or as embedded.
        gallery: what was searched.
        prepared: its features.
        protocol: which gallery rows take part.
        truth: matches and junk in place of labels; None takes the labels.
        search: how candidates are proposed.
        copies: of the queries as embedded; they take no part where they say so.
        expansion: parameters, if the queries were expanded.
        reranking: parameters, if the order was re-ranked.
        reranked: that order; None is the order of the L2 distances.
        unit: the rows were scaled to length 1.
    """

    query: Embeddings
    gallery: Embeddings
    prepared: PreparedGallery
    protocol: Protocol
    truth: GroundTruth | None
    search: SearchOptions
    copies: OwnCopies | None = None
    expansion: ExpansionOptions | None = None
    reranking: RerankOptions | None = None
    reranked: Reranked | None = None
    unit: bool = False

    @property
    def suffix(self) -> str:
        """What was done, to be appended to the name of the model; "" as embedded."""
        if self.unit:
            return ", length 1"
        expanded = "" if self.expansion is None else ", expanded"
        return expanded if self.reranking is None else f"{expanded}, re-ranked"

    def excluded(self) -> RowsOf:
        """Gallery rows that take no part for a query row: int64 [n], ascending."""
        if self.truth is not None:
            return without_copies(self.truth.junk.__getitem__, self.copies)
        return without_copies(self.protocol.excluded(self.query, self.gallery), self.copies)

    def ranking(self, top_k: int) -> Ranking:
        """The first places of every query.

        Args:
            top_k: places wanted, at least 1.

        Returns:
            The ranking; what the protocol leaves out has no place.

        Raises:
            MtmlError: what `rank` raises.
        """
        if self.reranked is not None:
            return self.reranked.rank(top_k=top_k, excluded=self.excluded())
        return rank(
            self.query.features,
            self.prepared,
            top_k=top_k,
            excluded=self.excluded(),
            engine=self.search.engine,
            device=self.search.device,
            memory_bytes=self.search.memory_bytes,
        )

    def metrics(self) -> RetrievalMetrics:
        """The metrics of this order.

        Raises:
            MtmlError: what `evaluate` raises.
        """
        return evaluate(
            self.query,
            self.gallery,
            self.protocol,
            truth=self.truth,
            copies=self.copies,
            reranked=self.reranked,
            prepared=self.prepared,
            memory_bytes=self.search.memory_bytes,
        )


def stages(
    query: Embeddings,
    gallery: Embeddings,
    protocol: Protocol,
    *,
    prepared: PreparedGallery | None = None,
    truth: GroundTruth | None = None,
    copies: OwnCopies | None = None,
    search: SearchOptions | None = None,
    expansion: ExpansionOptions | None = None,
    reranking: RerankOptions | None = None,
    watch: Watch | None = None,
) -> Iterator[Stage]:
    """The stages asked for, that of the embeddings first; each begins where the one before ended.

    Args:
        query: the query set.
        gallery: the gallery, of the same model.
        protocol: which gallery rows take part; what it leaves out does not help to expand either.
        prepared: the gallery's features, where `prepare` was asked before; None prepares them.
        truth: see `evaluate`.
        copies: see `evaluate`.
        search: how candidates are proposed; None takes NumPy without a budget.
        expansion: parameters; None does not expand.
        reranking: parameters; None does not re-rank.
        watch: see `Watch`; None watches nothing.

    Yields:
        One to three stages; nothing of a stage is computed before it is asked for.

    Raises:
        EmbeddingsError: the sets were made by different models, or an empty one is to be re-ranked.
        MemoryBudgetError: too little memory to expand.
    """
    require_comparable(query, gallery)
    prepared = prepared or prepare(gallery.features)
    stage = Stage(query, gallery, prepared, protocol, truth, search or SearchOptions(), copies)
    yield stage
    if expansion is not None:
        features = expand(
            query.features,
            prepared,
            options=expansion,
            excluded=stage.excluded(),
            memory_bytes=stage.search.memory_bytes,
        )
        stage = replace(stage, query=replace(query, features=features), expansion=expansion)
        yield stage
    if reranking is not None:
        order = _reranked(stage, reranking, watch)
        yield replace(stage, reranking=reranking, reranked=order)


def _reranked(stage: Stage, options: RerankOptions, watch: Watch | None) -> Reranked:
    """The re-ranked order of a stage's two sets, none of them empty."""
    query, gallery = stage.query, stage.gallery
    for role, images in (("query set", query), ("gallery", gallery)):
        if len(images) == 0:
            raise EmbeddingsError(
                f"the {role} ({images.source}) has no images, and re-ranking needs neighbours; "
                f"embed at least one image, or leave out --rerank"
            )
    with nullcontext() if watch is None else watch(query, gallery, options) as progress:
        return rerank(query.features, stage.prepared, options=options, progress=progress)
