"""A search of the gallery as the command `search` makes it.

In: an open gallery, queries and a question. Out: a list for each query.
"""

from __future__ import annotations

from functools import partial

from mtml_deploy.embed.embeddings import Embeddings
from mtml_deploy.gallery.cut import near_hits
from mtml_deploy.gallery.gallery import Gallery
from mtml_deploy.gallery.local_rerank import rerank_shortlists
from mtml_deploy.gallery.values import Filter, Hit
from mtml_deploy.serve.questions import SearchQuestion


def search_rows(
    gallery: Gallery,
    queries: Embeddings,
    asked: SearchQuestion,
    where: Filter,
    *,
    max_distance: float | None,
) -> tuple[tuple[Hit, ...], ...]:
    """The lists of all queries.

    Args:
        gallery: of the model of the queries.
        queries: Q rows.
        asked: how to look.
        where: which rows to look at.
        max_distance: rows farther away are left out; None leaves out none.
    """
    reranking = asked.reranking()
    wanted = asked.top_k if reranking is None else asked.shortlist
    found = gallery.search(queries, top_k=wanted, where=where)
    lists = gallery.hit_lists(
        found
        if reranking is None
        else rerank_shortlists(
            queries.features,
            found,
            partial(gallery.vectors, fresh=False),
            top_k=asked.top_k,
            options=reranking,
        )
    )
    if max_distance is None:
        return lists
    return near_hits(lists, max_distance)
