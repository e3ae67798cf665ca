"""The rank lists of every stage of one model, for pages and files.

In: two sets of embeddings and a protocol. Out: one `RankedModel` for each stage asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from mtml_deploy.data.records import UNKNOWN
from mtml_deploy.embed.embeddings import Embeddings
from mtml_deploy.errors import ProtocolError
from mtml_deploy.evaluation.protocols import Protocol, require_labels
from mtml_deploy.evaluation.stages import SearchOptions, Watch, stages
from mtml_deploy.report.rank_lists import RankedModel
from mtml_deploy.search.query_expansion import ExpansionOptions
from mtml_deploy.search.rerank import RerankOptions


def ranked_models(
    query: Embeddings,
    gallery: Embeddings,
    protocol: Protocol,
    *,
    top_k: int,
    label: str | None = None,
    search: SearchOptions | None = None,
    expansion: ExpansionOptions | None = None,
    reranking: RerankOptions | None = None,
    watch: Watch | None = None,
    note: Callable[[str], None] = lambda _: None,
) -> Iterator[RankedModel]:
    """The lists of every stage of one model, with metrics where the labels allow any.

    Args:
        query: the query set.
        gallery: the gallery, of the same model.
        protocol: what the lists leave out.
        top_k: places of each list, at least 1.
        label: how the model is called; None takes a short name of it.
        search: how candidates are proposed.
        expansion: parameters; None does not expand.
        reranking: parameters; None does not re-rank.
        watch: see `stages`.
        note: told why there are no metrics, where the labels would allow some.

    Yields:
        One to three stages.

    Raises:
        MtmlError: see `stages`, and labels that the protocol needs are missing.
    """
    if protocol.needs_cameras:  # without labels its lists would silently be those of "plain"
        require_labels(protocol, query, gallery)
    known = all((images.vehicle_ids != UNKNOWN).any() for images in (query, gallery))
    for stage in stages(
        query,
        gallery,
        protocol,
        search=search,
        expansion=expansion,
        reranking=reranking,
        watch=watch,
    ):
        ranking, metrics = stage.ranking(top_k), None
        try:
            metrics = stage.metrics() if known else None
        except ProtocolError as error:  # a list is useful without metrics
            note(f"no metrics: {error}")
            known = False
        yield RankedModel(
            label=f"{label or query.model.label}{stage.suffix}",
            query=stage.query,
            gallery=gallery,
            ranking=ranking,
            metrics=metrics,
            reranking=stage.reranking,
            expansion=stage.expansion,
        )
