"""How much two models agree on the order of a gallery.

In: query and gallery embeddings of both. Out: overlap of the first ranks and Kendall's tau.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.embed.embeddings import Embeddings
from mtml_deploy.evaluation.protocols import Protocol
from mtml_deploy.search.distances import squared_distances
from mtml_deploy.search.rank import rank

TAU_RANKS: Final = 100
"""First ranks of the reference whose order is compared: what a person or a tracker looks at."""


@dataclass(frozen=True)
class RankAgreement:
    """Agreement of two rankings of one gallery, means over the queries; fractions.

    Attributes:
        top1: share of queries with the same first image.
        top10: mean share of the first ten images that are in both lists.
        kendall_tau: mean over the queries of Kendall's tau of the reference's first 100 images
            under the candidate's distances, -1..1; 1 is the same order.
    """

    top1: float
    top10: float
    kendall_tau: float


def rank_agreement(
    reference: tuple[Embeddings, Embeddings],
    candidate: tuple[Embeddings, Embeddings],
    protocol: Protocol,
) -> RankAgreement:
    """Compare the rank lists of two models over the same images.

    Args:
        reference: query and gallery embeddings of the reference.
        candidate: the same images embedded by the candidate.
        protocol: gallery images it leaves out are in neither list.

    Returns:
        The agreement.
    """
    excluded = protocol.excluded(*reference)
    lists = [
        rank(query.features, gallery.features, top_k=TAU_RANKS, excluded=excluded).rows
        for query, gallery in (reference, candidate)
    ]
    top1, top10, tau = [], [], []
    for row, (left, right) in enumerate(zip(*lists, strict=True)):
        expected = left[left >= 0].astype(np.int64)
        if not len(expected):  # the protocol removes the whole gallery
            continue
        found = right[right >= 0]
        top1.append(float(expected[0] == found[0]))
        shared = np.intersect1d(expected[:10], found[:10])
        top10.append(len(shared) / len(expected[:10]))
        distances = squared_distances(candidate[0].features[row], candidate[1].features, expected)
        tau.append(kendall_tau(distances))
    if not top1:
        return RankAgreement(float("nan"), float("nan"), float("nan"))
    return RankAgreement(float(np.mean(top1)), float(np.mean(top10)), float(np.mean(tau)))


def kendall_tau(distances: NDArray[np.float64]) -> float:
    """Kendall's tau (tau-a) of a list against ascending order: (agreeing - opposed) / all pairs.

    Args:
        distances: float64 [n], in the order of the reference; equal values agree with neither.

    Returns:
        -1..1; 1 for fewer than two values.

    Example:
        One of three pairs is the other way round: (2 - 1) / 3.

        >>> round(kendall_tau(np.array([1.0, 3.0, 2.0])), 4)
        0.3333
    """
    count = len(distances)
    if count < 2:
        return 1.0
    signs = np.sign(distances[None, :] - distances[:, None])  # [n, n]
    return float(np.triu(signs, 1).sum() / (count * (count - 1) / 2))
