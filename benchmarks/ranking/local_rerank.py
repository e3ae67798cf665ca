"""How far re-ranking of shortlists agrees with the full method, in which every image takes part.

In: features and vehicle ids. Out: overlap and order of the first places, and mAP before, after
local and after full re-ranking, all without leaving anything out of the lists.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.gallery.local_rerank import rerank_shortlists
from mtml_deploy.gallery.values import Hits
from mtml_deploy.search.rank import rank
from mtml_deploy.search.rerank import RerankOptions, rerank


@dataclass(frozen=True)
class Agreement:
    """Means over queries, all 0..1, Kendall's tau -1..1.

    Attributes:
        shortlist: rows that were re-ranked for each query.
        top1: queries whose first place is the same.
        top10: share of the first 10 places of the full method that are among the first 10.
        kendall: tau of the order of the full method's first 50 that are in the shortlist.
        map_before: mAP by distance alone.
        map_local: with the shortlist re-ranked, the rest behind it by distance.
        map_full: with everything re-ranked.
    """

    shortlist: int
    top1: float
    top10: float
    kendall: float
    map_before: float
    map_local: float
    map_full: float


def local_agreement(
    query: NDArray[np.float32],
    gallery: NDArray[np.float32],
    query_ids: NDArray[np.int32],
    gallery_ids: NDArray[np.int32],
    *,
    shortlist: int,
    options: RerankOptions | None = None,
) -> Agreement:
    """Compare local with full re-ranking.

    Args:
        query: float32 [Q, D].
        gallery: float32 [G, D].
        query_ids: int32 [Q], vehicles; queries without a match do not count for mAP.
        gallery_ids: int32 [G].
        shortlist: M.
        options: parameters; None takes the paper's.

    Returns:
        The comparison.
    """
    everything = len(gallery)
    before = rank(query, gallery, top_k=everything)
    full = rerank(query, gallery, options=options).rank(top_k=everything).rows
    shortlists = Hits(before.rows[:, :shortlist].astype(np.int64), before.distances[:, :shortlist])
    local = rerank_shortlists(
        query, shortlists, lambda rows: gallery[list(rows)], top_k=shortlist, options=options
    ).hits.rows
    whole = np.concatenate([local, before.rows[:, local.shape[1] :]], axis=1)
    pairs = list(zip(whole, full, strict=True))

    def mean_ap(orders: NDArray[np.integer]) -> float:
        found = [
            _average_precision(gallery_ids[order] == vehicle)
            for order, vehicle in zip(orders, query_ids, strict=True)
            if (gallery_ids == vehicle).any()
        ]
        return float(np.mean(found))

    return Agreement(
        shortlist=local.shape[1],
        top1=float(np.mean(whole[:, 0] == full[:, 0])),
        top10=float(np.mean([len(np.intersect1d(a[:10], b[:10])) / 10 for a, b in pairs])),
        kendall=float(np.mean([_kendall(a, b[:50]) for a, b in pairs])),
        map_before=mean_ap(before.rows),
        map_local=mean_ap(whole),
        map_full=mean_ap(full),
    )


def _average_precision(matches: NDArray[np.bool_]) -> float:
    """Step AP of one list, in which there is a match."""
    places = np.flatnonzero(matches)
    return float(np.mean(np.arange(1, len(places) + 1) / (places + 1)))


def _kendall(order: NDArray[np.integer], first: NDArray[np.integer]) -> float:
    """Tau of two orders of the rows in `first`: pairs in the same order, less the others."""
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    places = place[first]
    left, right = np.triu_indices(len(places), k=1)
    return float(np.mean(np.sign(places[right] - places[left])))
