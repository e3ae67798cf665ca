"""What a compression does to retrieval: metrics of the same images before and after.

In: embeddings of a query set and a gallery, and a projection learnt from other images. Out: both
results, and the part of them that the manifest keeps.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np

from mtml_deploy.compression.projection import Projection
from mtml_deploy.data.records import UNKNOWN
from mtml_deploy.embed.embeddings import Embeddings
from mtml_deploy.errors import EmbeddingsError
from mtml_deploy.evaluation.measures import LISTED
from mtml_deploy.evaluation.metrics import RetrievalMetrics, evaluate
from mtml_deploy.evaluation.protocols import Protocol


@dataclass(frozen=True)
class CompressionMetrics:
    """Metrics of one query set and gallery before and after a projection.

    Attributes:
        query: the queries as embedded.
        gallery: the gallery as embedded.
        projected_query: the queries as the compressed model gives them.
        projected_gallery: the gallery as the compressed model gives it.
        before: metrics of the first two.
        after: metrics of the last two.
    """

    query: Embeddings
    gallery: Embeddings
    projected_query: Embeddings
    projected_gallery: Embeddings
    before: RetrievalMetrics
    after: RetrievalMetrics

    def record(self) -> dict[str, object]:
        """What the manifest keeps; JSON values, fractions 0..1."""
        return {
            "protocol": self.before.protocol,
            "query": self.query.source,
            "gallery": self.gallery.source,
            "before": _numbers(self.before),
            "after": _numbers(self.after),
        }


def measure(
    query: Embeddings, gallery: Embeddings, protocol: Protocol, projection: Projection
) -> CompressionMetrics:
    """Metrics before and after `projection`.

    Args:
        query: embeddings of the model that is compressed.
        gallery: of the same model.
        protocol: rule of the evaluation.
        projection: learnt from other images, see `require_unseen`.

    Returns:
        Both results.

    Raises:
        EmbeddingsError: the two sets were made by different models.
        ProtocolError: labels the protocol needs are missing, or no query has a match.
    """
    after = project(query, projection), project(gallery, projection)
    return CompressionMetrics(
        query=query,
        gallery=gallery,
        projected_query=after[0],
        projected_gallery=after[1],
        before=evaluate(query, gallery, protocol),
        after=evaluate(*after, protocol),
    )


def project(images: Embeddings, projection: Projection) -> Embeddings:
    """The embeddings as the compressed model gives them, to measure with.

    Args:
        images: embeddings of the model that is compressed.
        projection: from its dimensions to fewer.

    Returns:
        The same images; the model's hash is still that of the old model, its dimension the new one.
    """
    return replace(
        images,
        features=projection.apply(images.features).astype(np.float32),
        model=msgspec.structs.replace(images.model, dim=projection.dim),
    )


def require_unseen(train: Embeddings, test: Embeddings) -> None:
    """Refuse to learn from what the result is measured on.

    Vehicle ids are compared where both sets come from one data set: from one folder, or from
    sources that differ in their split alone.

    Args:
        train: what is learnt from.
        test: a query set or gallery.

    Raises:
        EmbeddingsError: the two share an image file, or vehicles of one data set.
    """
    fix = (
        "metrics measured on them would be too good; learn from the training split, for example "
        "mtml-deploy embed MODEL --images veri:DIR#train --out FILE.npz"
    )
    # a folder may be reached by several names
    train_root, test_root = Path(train.root).resolve(), Path(test.root).resolve()
    files = {train_root / name for name in train.names}
    shared = [name for name in test.names if test_root / name in files]
    if shared:
        raise EmbeddingsError(
            f"{test.source} and the training embeddings ({train.source}) share images, "
            f"{len(shared)} in all, for example {shared[0]}; {fix}"
        )
    if train_root != test_root and train.source.split("#")[0] != test.source.split("#")[0]:
        return
    vehicles = np.intersect1d(train.vehicle_ids, test.vehicle_ids)
    vehicles = vehicles[vehicles != UNKNOWN]
    if len(vehicles):
        raise EmbeddingsError(
            f"{test.source} and the training embeddings ({train.source}) share vehicles, "
            f"{len(vehicles)} in all, for example {train.named(vehicles[0])}; {fix}"
        )


def _numbers(metrics: RetrievalMetrics) -> dict[str, float | None]:
    """The numbers of one evaluation; the manifest says cmc_1 for cmc_at_1."""
    return {measure.key.replace("_at_", "_"): measure.take(metrics) for measure in LISTED}
