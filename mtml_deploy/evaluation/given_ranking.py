"""Metrics of lists that are given, for example in a file, whatever ordered them.

In: a `Ranking` and the vehicles of both sets. Out: `RetrievalMetrics`, those that `evaluate` gives
for an order that begins with these lists.
"""

from __future__ import annotations

import numpy as np

from mtml_deploy.data.records import UNKNOWN, ImageSet
from mtml_deploy.evaluation.metrics import RetrievalMetrics, retrieval_metrics
from mtml_deploy.evaluation.no_match import require_shared_vehicle
from mtml_deploy.evaluation.protocols import Protocol
from mtml_deploy.search.rank import Ranking


def evaluate_ranking(
    ranking: Ranking, query: ImageSet, gallery: ImageSet, protocol: Protocol
) -> RetrievalMetrics:
    """Metrics of lists that are given, whatever ordered them.

    Args:
        ranking: K places of Q queries; the gallery rows of a list are different.
        query: Q images with vehicle ids.
        gallery: G images with vehicle ids.
        protocol: one that sees K places of a list and leaves nothing out.

    Returns:
        What `evaluate` gives for an order that begins with these lists, but for `verification`: a
        list tells no distances. `ties` is 0: the order is given.

    Raises:
        ProtocolError: no query has a match in the gallery.
        ValueError: the ranking does not fit the sets, or the protocol sees another part of it.
    """
    shape = len(query.records), protocol.list_length
    if ranking.rows.shape != shape or protocol.excludes_unknown or protocol.excludes_same_camera:
        raise ValueError(
            f"protocol {protocol.name} sees rows {list(shape)}, found {list(ranking.rows.shape)}"
        )
    vehicles = np.array([record.vehicle_id for record in gallery.records], dtype=np.int64)  # [G]
    require_shared_vehicle(
        [record.vehicle_id for record in query.records],
        vehicles.tolist(),
        sources=(query.source, gallery.source),
        protocol=protocol,
    )
    # a place without an image holds no match; row -1 is the last one
    listed = np.append(vehicles, UNKNOWN)[ranking.rows]  # [Q, K]
    ranks = []
    for record, found in zip(query.records, listed, strict=True):
        if record.vehicle_id == UNKNOWN:
            ranks.append(np.empty(0, dtype=np.int64))
            continue
        seen = np.flatnonzero(found == record.vehicle_id) + 1
        unseen = int(np.count_nonzero(vehicles == record.vehicle_id)) - len(seen)
        # where a match comes beyond the list plays no part
        ranks.append(np.append(seen, np.full(unseen, len(found) + 1)))
    return retrieval_metrics(ranks, protocol=protocol, gallery_size=len(vehicles), ties=0)
