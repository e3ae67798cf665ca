"""Retrieval metrics of a query set against a gallery under a named protocol.

In: embeddings with labels. Out: `RetrievalMetrics`, fractions 0..1. The ranks of the matches are
those of the float64 distances with ties by gallery row, as in `rank`.

Two definitions of average precision are in use and differ by thousandths of mAP; both are given:
step (precision at each match, most toolkits) and trapezoid (area under the precision-recall curve
by the trapezoid rule, the VeRi-776 and Market-1501 scripts).

Verification looks at single pairs instead of lists; see `verification`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.data.records import UNKNOWN
from mtml_deploy.embed.embeddings import Embeddings, require_comparable
from mtml_deploy.errors import ProtocolError
from mtml_deploy.evaluation.match_ranks import match_ranks
from mtml_deploy.evaluation.no_match import require_match
from mtml_deploy.evaluation.own_copies import OwnCopies, without_copies
from mtml_deploy.evaluation.protocols import Protocol, require_labels, same_vehicle_rows
from mtml_deploy.evaluation.verification import Verification, VerificationPairs
from mtml_deploy.search.distance_blocks import Order, PlainOrder, RowsOf
from mtml_deploy.search.prepared import PreparedGallery

if TYPE_CHECKING:
    from mtml_deploy.evaluation.ground_truth import GroundTruth

CMC_LENGTH: Final = 50
"""Ranks of the CMC curve that are kept; fewer if the gallery is smaller."""

_NEVER: Final = np.iinfo(np.int64).max
"""Rank of a match that is not seen."""


@dataclass(frozen=True)
class RetrievalMetrics:
    """Result of one evaluation; fractions 0..1.

    Attributes:
        protocol: name of the protocol.
        mean_ap: mean over the counted queries of the step average precision.
        mean_ap_trapezoid: the same with the trapezoid rule.
        mean_inp: mean inverse negative penalty: matches / rank of the last match.
        cmc: float64 [K], cmc[k - 1] is the share of counted queries with a match in the first k;
            K = min(50, gallery size).
        num_queries: Q, all queries.
        num_valid: queries with at least one match in the gallery.
        unmatched: whether the other queries are "skipped" or count as "zero" in every mean.
        ties: queries for which a match and another image are equally far, so that the tie rule
            (lower gallery row first) takes part in the result.
        average_precision: float64 [Q], step average precision of each query; NaN where skipped.
        verification: rates and thresholds over all pairs that take part, of every query of known
            vehicle, those without a match included; list length plays no part. None where only
            ranks were given.
    """

    protocol: str
    mean_ap: float
    mean_ap_trapezoid: float
    mean_inp: float
    cmc: NDArray[np.float64]
    num_queries: int
    num_valid: int
    unmatched: Literal["skipped", "zero"]
    ties: int
    average_precision: NDArray[np.float64]
    verification: Verification | None = None

    def cmc_at(self, rank: int) -> float:
        """CMC@`rank`: share of counted queries with a match in the first `rank`.

        Args:
            rank: 1 or more; beyond the gallery it is the last value of the curve.

        Returns:
            The fraction.

        Raises:
            ValueError: `rank` below 1, or beyond the curve that is kept of a larger gallery.
        """
        if rank < 1 or rank > max(len(self.cmc), CMC_LENGTH):
            raise ValueError(f"the CMC curve has ranks 1..{len(self.cmc)}, asked for {rank}")
        return float(self.cmc[min(rank, len(self.cmc)) - 1])


def evaluate(
    query: Embeddings,
    gallery: Embeddings,
    protocol: Protocol,
    *,
    truth: GroundTruth | None = None,
    copies: OwnCopies | None = None,
    reranked: Order | None = None,
    prepared: PreparedGallery | None = None,
    memory_bytes: int | None = None,
) -> RetrievalMetrics:
    """Metrics of ranking `gallery` for every image of `query`.

    Args:
        query: Q labelled embeddings.
        gallery: G labelled embeddings of the same model.
        protocol: which gallery images take part and how queries without a match count.
        truth: matches and junk of the data set's own files, in place of ids and cameras, which may
            then be unknown; the protocol still gives list length and counting. None: the labels.
        copies: of the queries as embedded, which take no part where they say so.
        reranked: `rerank` of the same two sets, whose order is judged; None judges the order of
            the L2 distances.
        prepared: the gallery's features, where `prepare` was asked before; None prepares them.
        memory_bytes: see `PlainOrder`; plays no part where `reranked` is given.

    Returns:
        The metrics.

    Raises:
        EmbeddingsError: the two sets were made by different models.
        MemoryBudgetError: too little memory.
        ProtocolError: labels the protocol needs are missing, no query has a match, or a ground
            truth is given to a protocol that draws its gallery.
        ValueError: a ground truth of another number of queries, or `prepared` of other features.

    Example:
        One query of vehicle 7; the gallery, by distance: 7, 3, 7. The matches are at ranks 1 and 3:
        step AP (1/1 + 2/3) / 2, trapezoid ((1 + 1)/2 + (1/2 + 2/3)/2) / 2, INP 2/3.

        >>> from mtml_deploy.embed.embeddings import ModelIdentity
        >>> from mtml_deploy.evaluation.protocols import find_protocol
        >>> def points(values, vehicles):
        ...     unknown = np.full(len(values), -1, dtype=np.int32)
        ...     return Embeddings(
        ...         features=np.array([[v] for v in values], dtype=np.float32),
        ...         vehicle_ids=np.array(vehicles, dtype=np.int32),
        ...         camera_ids=unknown, orientations=unknown, tracklet_ids=unknown,
        ...         names=tuple(map(str, values)), root="", source="example",
        ...         model=ModelIdentity("0" * 64, "fp32", "fused", 1))
        >>> result = evaluate(points([0], [7]), points([3, 1, 2], [7, 7, 3]),
        ...                   find_protocol("plain"))
        >>> f"{result.mean_ap:.4f} {result.mean_ap_trapezoid:.4f} {result.mean_inp:.4f}"
        '0.8333 0.7917 0.6667'
        >>> result.cmc.tolist()
        [1.0, 1.0, 1.0]
    """
    require_comparable(query, gallery)
    matches, excluded, known = relevance(query, gallery, protocol, truth)
    excluded = without_copies(excluded, copies)
    require_match(query, gallery, protocol, truth=truth, copies=copies)
    if prepared is not None and not (
        prepared.features is gallery.features or np.array_equal(prepared.features, gallery.features)
    ):
        raise ValueError(
            f"the prepared gallery {list(prepared.features.shape)} does not hold the features of "
            f"{gallery.source} {list(gallery.features.shape)}"
        )
    order: Order = reranked or PlainOrder(
        query.features, prepared or gallery.features, memory_bytes=memory_bytes
    )
    pairs = VerificationPairs(
        known,
        gallery_size=len(gallery),
        exact=order.distances,
        squared="" if reranked is not None else "squared",
    )
    ranks, tied = match_ranks(order, matches=matches, excluded=excluded, pairs=pairs)
    return retrieval_metrics(
        ranks,
        protocol=protocol,
        gallery_size=len(gallery),
        ties=int(np.count_nonzero(tied)),
        verification=pairs.result(),
    )


def relevance(
    query: Embeddings, gallery: Embeddings, protocol: Protocol, truth: GroundTruth | None
) -> tuple[RowsOf, RowsOf, NDArray[np.bool_]]:
    """Which rows count how for each query.

    Args:
        query: the query set.
        gallery: the gallery.
        protocol: the rule.
        truth: in place of labels; None takes those.

    Returns:
        Rows that match, rows left out, and bool [Q] queries of which this is known.

    Raises:
        ProtocolError: labels are missing, or the protocol draws its gallery.
        ValueError: a ground truth of another number of queries.
    """
    if truth is None:
        require_labels(protocol, query, gallery)
        return (
            same_vehicle_rows(query, gallery),
            protocol.excluded(query, gallery),
            query.vehicle_ids != UNKNOWN,
        )
    if protocol.draws_gallery:
        raise ProtocolError(
            f"protocol {protocol.name} draws its gallery, and a ground truth belongs to one fixed "
            f"gallery; leave out the ground truth or choose another protocol"
        )
    if len(truth.matches) != len(query):
        raise ValueError(f"a ground truth of {len(truth.matches)} for {len(query)} queries")
    return truth.matches.__getitem__, truth.junk.__getitem__, np.ones(len(query), dtype=bool)


def retrieval_metrics(
    ranks: Sequence[NDArray[np.int64]],
    *,
    protocol: Protocol,
    gallery_size: int,
    ties: int,
    verification: Verification | None = None,
) -> RetrievalMetrics:
    """Metrics from the ranks of each query's matches, however the gallery was ordered.

    Args:
        ranks: for each of Q queries, int64 [n] ranks (from 1) of all its matches, ascending.
        protocol: list length and counting of queries without a match.
        gallery_size: G.
        ties: see `RetrievalMetrics.ties`.
        verification: see `RetrievalMetrics.verification`.

    Returns:
        The metrics; those without a counted query are NaN.
    """
    length = min(CMC_LENGTH, gallery_size)
    totals = np.array([len(found) for found in ranks], dtype=np.int64)
    valid = totals > 0
    seen = list(ranks)
    if protocol.list_length is not None:
        seen = [found[found <= protocol.list_length] for found in ranks]
    # a query without a match has zeros here; they enter the means only where it counts
    step, trapezoid = average_precisions(seen, totals)
    first_match = np.array([found[0] if len(found) else _NEVER for found in seen])
    last_match = np.array(
        [found[-1] if 0 < len(found) == total else _NEVER
         for found, total in zip(seen, totals, strict=True)]
    )  # fmt: skip
    penalty = np.where(last_match == _NEVER, 0.0, totals / last_match)

    counted = valid if protocol.unmatched == "skipped" else np.ones(len(ranks), dtype=bool)
    hits = first_match[counted, None] <= np.arange(1, length + 1)  # [counted, K]
    none = not counted.any()
    return RetrievalMetrics(
        protocol=protocol.name,
        mean_ap=float("nan") if none else float(step[counted].mean()),
        mean_ap_trapezoid=float("nan") if none else float(trapezoid[counted].mean()),
        mean_inp=float("nan") if none else float(penalty[counted].mean()),
        cmc=np.full(length, np.nan) if none else hits.mean(axis=0),
        num_queries=len(ranks),
        num_valid=int(np.count_nonzero(valid)),
        unmatched=protocol.unmatched,
        ties=ties,
        average_precision=np.where(counted, step, np.nan),
        verification=verification,
    )


def average_precisions(
    ranks: Sequence[NDArray[np.int64]], totals: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Average precision of ranked lists, by the step and by the trapezoid rule.

    Args:
        ranks: for each of Q lists int64 [n], ranks (from 1) of the matches seen, ascending.
        totals: int64 [Q], matches that exist, n or more; those not seen add nothing.

    Returns:
        Step and trapezoid average precision, float64 [Q], 0..1; 0 for a list without a match.

    Example:
        All four matches at ranks 1, 2, 4 and 7: step (1 + 1 + 3/4 + 4/7) / 4; one match at rank 2.

        >>> lists = [np.array([1, 2, 4, 7]), np.array([2])]
        >>> step, trapezoid = average_precisions(lists, np.array([4, 1]))
        >>> step.round(4).tolist(), trapezoid.round(4).tolist()
        ([0.8304, 0.5], [0.811, 0.25])
    """
    lengths = np.array([len(found) for found in ranks], dtype=np.int64)
    lists = np.repeat(np.arange(len(ranks)), lengths)
    # all lists one after the other: a loop over queries would take longer than sorting them
    flat = np.concatenate([np.empty(0, dtype=np.int64), *ranks])
    number = np.arange(1, len(flat) + 1) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    precision = number / flat
    # precision one rank earlier, the left end of the trapezoid; 1 before the first rank
    before = np.where(flat > 1, (number - 1) / np.maximum(flat - 1, 1), 1.0)
    step = np.bincount(lists, weights=precision, minlength=len(ranks))
    left = np.bincount(lists, weights=before, minlength=len(ranks))
    existing = np.maximum(totals, 1)
    return step / existing, (left + step) / 2 / existing
