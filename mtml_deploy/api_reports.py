"""Judging for programs: evaluations and pages of rank lists, as `import mtml_deploy` offers them.

In: `Embeddings`. Out: values that show themselves in a notebook. Commands call the same functions
below.
"""

from __future__ import annotations

from pathlib import Path

from mtml_deploy.defaults import DRAW_SEED, DRAWS, PAGE_QUERIES, TOP_K, Which
from mtml_deploy.embed.embeddings import Embeddings
from mtml_deploy.evaluation.ground_truth import GroundTruth, read_ground_truth
from mtml_deploy.evaluation.protocols import find_protocol
from mtml_deploy.evaluation.random_galleries import pool_images
from mtml_deploy.evaluation.stages import SearchOptions
from mtml_deploy.report.evaluation import Evaluation, evaluate_drawn, evaluate_pair
from mtml_deploy.report.rank_page.page import RankPage
from mtml_deploy.report.rank_page.page import rank_page as make_page
from mtml_deploy.report.ranked_models import ranked_models
from mtml_deploy.search.query_expansion import ExpansionOptions
from mtml_deploy.search.rerank import RerankOptions
from mtml_deploy.user_path import user_path


def evaluate(
    query: Embeddings | None,
    gallery: Embeddings,
    protocol: str,
    *,
    expand: int | ExpansionOptions | None = None,
    rerank: bool | RerankOptions | None = None,
    ground_truth: str | Path | GroundTruth | None = None,
    junk: str | Path | None = None,
    leave_out_self: bool = False,
    draws: int | None = None,
    seed: int = DRAW_SEED,
    label: str | None = None,
    normalised: bool | None = None,
    memory_bytes: int | None = None,
) -> Evaluation:
    """MAP by both rules in use, mINP, CMC and TPR@FPR under a named protocol.

    Args:
        query: labelled queries; None for a protocol that draws its gallery from all images.
        gallery: labelled gallery of the same model.
        protocol: "veri776", "market", "aicity-top100", "vehicleid" or "plain".
        expand: also judge queries expanded by so many neighbours.
        rerank: True, or parameters: also judge the re-ranked order.
        ground_truth: matches of each query in place of ids: a file such as VeRi's gt_image.txt.
        junk: what is left out for each query (jk_image.txt), with a ground truth file only.
        leave_out_self: a query that is in the gallery itself does not find itself: its own copy
            takes no part. Where no rule leaves copies out, their number is part of the result.
        draws: random galleries of a protocol that draws them; None takes 10.
        seed: of these galleries.
        label: how the model is called in the table; None takes a short name of it.
        normalised: also judge the embeddings scaled to length 1, whose order is that of cosines;
            None does where that is cheap. Not under a protocol that draws its gallery.
        memory_bytes: see `rank`.

    Returns:
        The numbers of every stage; a notebook shows them as a table.

    Raises:
        EmbeddingsError: the sets were made by different models.
        ProtocolError: no such protocol, or labels that it needs are missing, or no query matches.
        DataError: a ground truth that is not for these images.
        ValueError: options that the protocol has no use for.
    """
    rule = find_protocol(protocol)
    expansion, reranking = _options(expand, rerank)
    if rule.draws_gallery:
        if ground_truth is not None or junk is not None or expansion is not None:
            raise ValueError(
                f"protocol {rule.name} draws its gallery, expected neither a ground truth nor "
                "expansion; leave them out"
            )
        if leave_out_self:
            raise ValueError(f"protocol {rule.name} has no image twice; leave out leave_out_self")
        if normalised:
            raise ValueError(f"protocol {rule.name} draws its gallery; leave out normalised")
        return evaluate_drawn(
            pool_images(gallery, query),
            rule,
            draws=DRAWS if draws is None else draws,
            seed=seed,
            label=label,
            reranking=reranking,
            memory_bytes=memory_bytes,
        )
    if draws is not None:
        raise ValueError(f"draws belong to protocols that draw their gallery, not {rule.name}")
    if query is None:
        raise ValueError(f"protocol {rule.name} needs queries, found None")
    if leave_out_self and ground_truth is not None:
        raise ValueError("a ground truth says itself what is left out; leave out leave_out_self")
    if isinstance(ground_truth, str | Path):
        ground_truth = read_ground_truth(
            user_path(ground_truth), None if junk is None else user_path(junk), query, gallery
        )
    elif junk is not None:
        raise ValueError("junk belongs to a ground truth file; give ground_truth as a path")
    return evaluate_pair(
        query,
        gallery,
        rule,
        truth=ground_truth,
        leave_out_self=leave_out_self,
        label=label,
        normalised=normalised,
        expansion=expansion,
        reranking=reranking,
        search=SearchOptions(memory_bytes=memory_bytes),
    )


def rank_page(
    query: Embeddings,
    gallery: Embeddings,
    *,
    top_k: int = TOP_K,
    protocol: str = "plain",
    expand: int | ExpansionOptions | None = None,
    rerank: bool | RerankOptions | None = None,
    show: Which = "spread",
    limit: int = PAGE_QUERIES,
    label: str | None = None,
    title: str = "Vehicle rank lists",
) -> RankPage:
    """Rank lists with pictures as one HTML page that needs nothing else.

    Args:
        query: queries whose images are still in their files.
        gallery: gallery of the same model, likewise.
        top_k: places of each list.
        protocol: what the lists leave out.
        expand: also show the lists of queries expanded by so many neighbours.
        rerank: True, or parameters: also show the re-ranked lists.
        show: which queries: "first", "best", "worst" or "spread", by average precision.
        limit: how many queries at most.
        label: how the model is called; None takes a short name of it.
        title: heading.

    Returns:
        The page: `save(file)` writes it, a notebook shows it.

    Raises:
        EmbeddingsError: the sets were made by different models.
        ProtocolError: no such protocol, or labels that it or `show` needs are missing.
        ValueError: a number below 1.
    """
    rule = find_protocol(protocol)
    expansion, reranking = _options(expand, rerank)
    models = ranked_models(
        query,
        gallery,
        rule,
        top_k=top_k,
        label=label,
        expansion=expansion,
        reranking=reranking,
    )
    return make_page(list(models), rule, title=title, which=show, limit=limit, length=top_k)


def _options(
    expand: int | ExpansionOptions | None, rerank: bool | RerankOptions | None
) -> tuple[ExpansionOptions | None, RerankOptions | None]:
    """Parameters of both steps, the defaults where a short form was given; None for neither."""
    expansion = ExpansionOptions(neighbours=expand) if isinstance(expand, int) else expand
    reranking = (RerankOptions() if rerank else None) if isinstance(rerank, bool) else rerank
    return expansion, reranking
