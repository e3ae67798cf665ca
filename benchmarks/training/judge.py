"""What the features of a training are worth: one evaluator for every trainer.

In: features of query and gallery, and labels. Out: mAP, CMC, and each query's average precision.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.data.records import ImageSet
from mtml_deploy.embed.embeddings import Embeddings, ModelIdentity
from mtml_deploy.evaluation.metrics import evaluate
from mtml_deploy.evaluation.protocols import Protocol

Distance = Literal["l2", "cosine"]

DISTANCES: Final[tuple[Distance, ...]] = ("l2", "cosine")


@dataclass(frozen=True)
class Judged:
    """One feature of one training on one test set; fractions 0..1.

    Attributes:
        mean_ap: step rule.
        cmc1: CMC@1.
        cmc5: CMC@5.
        precisions: float64 [V], average precision of each query that has a match.
    """

    mean_ap: float
    cmc1: float
    cmc5: float
    precisions: NDArray[np.float64]


def judge(
    sets: tuple[ImageSet, ImageSet],
    features: tuple[NDArray[np.float32], NDArray[np.float32]],
    protocol: Protocol,
    *,
    distance: Distance,
) -> Judged:
    """Rank the gallery for every query, and compare with the labels.

    Args:
        sets: query and gallery.
        features: float32 [Q, D] and [G, D], rows as the sets'.
        protocol: which images take part.
        distance: "l2" of the features as they are, or "cosine": of the features at length 1.

    Returns:
        The measures.
    """
    if distance == "cosine":
        features = _unit(features[0]), _unit(features[1])
    model = ModelIdentity("trained here", "fp32", "fused", features[0].shape[1])
    query, gallery = (
        Embeddings.of(
            rows, images.records, names=[str(record.path) for record in images.records],
            model=model, root=str(images.root), source=images.source,
        )
        for rows, images in zip(features, sets, strict=True)
    )  # fmt: skip
    found = evaluate(query, gallery, protocol)
    counted = ~np.isnan(found.average_precision)
    return Judged(found.mean_ap, found.cmc_at(1), found.cmc_at(5), found.average_precision[counted])


def _unit(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows at length 1; a row of zeros stays."""
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    return (features / np.where(lengths > 0, lengths, 1)).astype(np.float32)
