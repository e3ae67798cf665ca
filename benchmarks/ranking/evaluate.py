"""Evaluation: mAP and CMC from embeddings, and the part of it after the distances."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure.process import Arrays, Entrant, Outcome, Summary, Work
from benchmarks.measure.rounds import ratio
from benchmarks.ranking.clustered import Labels
from benchmarks.ranking.data import (
    float32_distances,
    load_features,
    load_labels,
    load_set,
)
from benchmarks.ranking.metrics import Evaluation, compare, judged_by_argsort
from benchmarks.ranking.peers import Peer, load_evaluation
from benchmarks.ranking.sizes import BAR_SIZE, Size
from mtml_deploy.embed.embeddings import Embeddings
from mtml_deploy.evaluation.match_ranks import match_ranks
from mtml_deploy.evaluation.metrics import CMC_LENGTH, RetrievalMetrics, evaluate, retrieval_metrics
from mtml_deploy.evaluation.protocols import find_protocol, same_vehicle_rows
from mtml_deploy.search.distance_blocks import QueryDistances, product_distances
from mtml_deploy.search.distances import squared_distances, squared_norms
from mtml_deploy.search.prepared import prepare

BAR: Final = 4.0
"""How many times faster than the compiled peers the part after the distances must be."""

_PROTOCOL: Final = find_protocol("veri776")
_WARM_UP_QUERIES: Final = 32

_WHOLE, _AFTER = "evaluation", "after_distances"


def evaluate_entrants(folder: Path, peers: tuple[Peer, ...]) -> tuple[Entrant, ...]:
    """The contenders: ours, NumPy argsort and the peers, each as a whole and after the distances.

    Args:
        folder: data of `write_clustered`.
        peers: toolkits to measure.
    """
    product = "from squared L2 distances by one float32 product"
    found = [
        Entrant(_WHOLE, "evaluation",
                "Embeddings to mAP (two rules), mINP, CMC, verification rates; float64 order.",
                partial(_our_work, folder)),
        Entrant(f"{_WHOLE}_argsort", "evaluation, NumPy argsort",
                f"mAP and CMC in NumPy, {product}, stable argsort.",
                partial(_work, folder, None)),
        Entrant(_AFTER, "after distances",
                "mAP (two rules), mINP and CMC from float64 distances that are there already.",
                partial(_our_work_after, folder)),
        Entrant(f"{_AFTER}_argsort", "after distances, NumPy argsort",
                "The same from float32 distances that are there already.",
                partial(_work_after, folder, None)),
    ]  # fmt: skip
    for peer in peers:
        found += [
            Entrant(f"{_WHOLE}_{peer.key}", f"evaluation, {peer.name}",
                    f"Compiled evaluation, {product}.", partial(_work, folder, peer)),
            Entrant(f"{_AFTER}_{peer.key}", f"after distances, {peer.name}",
                    "Compiled evaluation from float32 distances that are there already.",
                    partial(_work_after, folder, peer)),
        ]  # fmt: skip
    return tuple(found)


def summarise_evaluate(outcomes: Mapping[str, Outcome], *, size: Size) -> Summary:
    """What follows from the measurements.

    Args:
        outcomes: by key.
        size: of the data.

    Returns:
        The summary.
    """
    ratios = []
    notes = [
        "All contenders leave out gallery images of the query's vehicle and camera, skip queries "
        "without a match, and take the step average precision (precision at each match)."
    ]
    ours = outcomes[_WHOLE].result
    for key, outcome in outcomes.items():
        if key in (_WHOLE, _AFTER):
            continue
        base = outcomes[_AFTER if key.startswith(_AFTER) else _WHOLE]
        compiled = key.startswith(_AFTER) and not key.endswith("argsort")
        barred = compiled and size.name == BAR_SIZE
        ratios.append(ratio(outcome.seconds, base.seconds, at_least=BAR if barred else None))
        if key.startswith(_WHOLE):
            ratios.append(ratio(outcome.peak, base.peak))
            notes.append(f"{outcome.seconds.title}: {compare(ours, outcome.result)}")
    notes.append(f"evaluation and after distances: {compare(ours, outcomes[_AFTER].result)}")
    notes.append(
        "Rules that differ: equal distances are ordered by gallery row here and by the sort in the "
        "compiled peers; orders come from float64 distances here and float32 ones there. mAP by "
        "the trapezoid rule, mINP (but for fast-reid) and verification rates are given here only."
    )
    return Summary((), tuple(ratios), tuple(notes))


def _our_work(folder: Path) -> Work:
    query, gallery = load_set(folder, "query"), load_set(folder, "gallery")
    return Work(
        lambda: evaluate(query[:_WARM_UP_QUERIES], gallery, _PROTOCOL),
        (lambda: _our_arrays(evaluate(query, gallery, _PROTOCOL)),),
    )


def _our_work_after(folder: Path) -> Work:
    query, gallery = load_set(folder, "query"), load_set(folder, "gallery")
    near, margins = product_distances(
        query.features,
        prepare(gallery.features),
        squared_norms(query.features),
        out=np.empty((len(query), len(gallery))),
    )
    # distances are overwritten, hence the copy
    warm = near[:_WARM_UP_QUERIES].copy()
    return Work(
        lambda: _judged(query, gallery, warm, margins),
        (lambda: _our_arrays(_judged(query, gallery, near, margins)),),
    )


@dataclass(frozen=True)
class _Given:
    """The order of the L2 distances, where these are known: an `Order` of the first queries.

    Attributes:
        query: float32 [Q, D].
        gallery: float32 [G, D].
        near: float64 [b, G], squared distances of the first b queries; overwritten.
        margins: float64 [b or more], their largest errors.
    """

    query: NDArray[np.float32]
    gallery: NDArray[np.float32]
    near: NDArray[np.float64]
    margins: NDArray[np.float64]

    def blocks(self) -> Iterator[list[QueryDistances]]:
        yield [
            QueryDistances(row, distances, float(self.margins[row]), partial(self.distances, row))
            for row, distances in enumerate(self.near)
        ]

    def distances(self, query_row: int, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        return squared_distances(self.query[query_row], self.gallery, rows)


def _judged(
    query: Embeddings,
    gallery: Embeddings,
    near: NDArray[np.float64],
    margins: NDArray[np.float64],
) -> RetrievalMetrics:
    """What `evaluate` does for mAP, mINP and CMC, given the distances of the first queries."""
    # the very code that runs otherwise, threads included, less the product
    ranks, tied = match_ranks(
        _Given(query.features, gallery.features, near, margins),
        matches=same_vehicle_rows(query, gallery),
        excluded=_PROTOCOL.excluded(query, gallery),
    )
    return retrieval_metrics(
        ranks,
        protocol=_PROTOCOL,
        gallery_size=len(gallery),
        ties=int(np.count_nonzero(tied)),
    )


def _work(folder: Path, peer: Peer | None) -> Work:
    query, gallery = load_features(folder, "query"), load_features(folder, "gallery")
    judge = _judge(folder, peer)

    def whole(rows: int) -> Arrays:
        return judge(float32_distances(query[:rows], gallery))

    return Work(lambda: whole(_WARM_UP_QUERIES), (lambda: whole(len(query)),))


def _work_after(folder: Path, peer: Peer | None) -> Work:
    distances = float32_distances(load_features(folder, "query"), load_features(folder, "gallery"))
    judge = _judge(folder, peer)
    return Work(lambda: judge(distances[:_WARM_UP_QUERIES]), (lambda: judge(distances),))


def _judge(folder: Path, peer: Peer | None) -> Callable[[NDArray[np.float32]], Arrays]:
    """The evaluation of a peer, or of NumPy, of the first rows of distances."""
    query, gallery = load_labels(folder, "query"), load_labels(folder, "gallery")
    ranks = min(CMC_LENGTH, len(gallery.vehicle_ids))
    judge: Evaluation = judged_by_argsort if peer is None else load_evaluation(peer)

    def arrays(distances: NDArray[np.float32]) -> Arrays:
        rows = slice(len(distances))
        labels = Labels(query.vehicle_ids[rows], query.camera_ids[rows])
        judged = judge(distances, labels, gallery, ranks)
        penalty = np.nan if judged.mean_inp is None else judged.mean_inp
        return {
            "mean_ap": np.array([judged.mean_ap]),
            "mean_inp": np.array([penalty]),
            "cmc": judged.cmc,
        }

    return arrays


def _our_arrays(metrics: RetrievalMetrics) -> Arrays:
    return {
        "mean_ap": np.array([metrics.mean_ap]),
        "mean_inp": np.array([metrics.mean_inp]),
        "cmc": metrics.cmc,
    }
