"""Validation during training: features of the torch model, metrics of the deploy package.

In: a model and two image sets. Out: the mAP and CMC that `mtml-deploy evaluate` defines, and the
orientation accuracy of branch D where labels are known.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from mtml_deploy.data.batches import iterate_batches
from mtml_deploy.data.holdout import hold_out
from mtml_deploy.data.records import UNKNOWN, ImageRecord, ImageSet
from mtml_deploy.data.source import load_source
from mtml_deploy.embed.embeddings import Embeddings, ModelIdentity
from mtml_deploy.errors import DataError
from mtml_deploy.evaluate.measures import LISTED
from mtml_deploy.evaluate.metrics import RetrievalMetrics, evaluate
from mtml_deploy.evaluate.protocols import find_protocol, require_labels
from mtml_train.config import TrainConfig
from mtml_train.model import MTML

_BATCH = 32


@dataclass(frozen=True)
class Validation:
    """What one validation found.

    Attributes:
        metrics: retrieval on the fused embedding.
        orientation_accuracy: share of the labelled images that branch D classifies right, 0..1;
            NaN without branch D or labels.
    """

    metrics: RetrievalMetrics
    orientation_accuracy: float

    def scalars(self) -> Mapping[str, float]:
        """Name -> value, fractions 0..1; values that do not exist are left out."""
        values = {measure.tag: measure.take(self.metrics) for measure in LISTED}
        values["orientation_accuracy"] = self.orientation_accuracy
        return {
            name: value
            for name, value in values.items()
            if value is not None and not math.isnan(value)
        }


def split_validation(
    config: TrainConfig, train_sets: list[ImageSet]
) -> tuple[list[ImageSet], tuple[ImageSet, ImageSet] | None]:
    """The sets to train on, and query and gallery to validate on.

    Args:
        config: uses val and seed.
        train_sets: training splits as loaded.

    Returns:
        The training sets, without held-out identities, and (query, gallery) or None.

    Raises:
        DataError: `val` is neither a source with query and gallery nor "holdout:FRACTION".
    """
    if not config.val:
        return train_sets, None
    if not config.val.startswith("holdout:"):
        query = load_source(config.val, split="query")
        return train_sets, (query, load_source(config.val, split="gallery"))
    text = config.val.removeprefix("holdout:")
    try:
        fraction = float(text)
    except ValueError:
        fraction = math.nan
    if not 0 < fraction < 1:
        raise DataError(f"--val holdout:{text}: give a fraction between 0 and 1, such as 0.1")
    return hold_out(train_sets, share=fraction, seed=config.seed)


def require_protocol(query: ImageSet, gallery: ImageSet, name: str) -> None:
    """Refuse a validation that could not be done, before the training that leads to it.

    Args:
        query: query images.
        gallery: gallery images.
        name: the protocol.

    Raises:
        ProtocolError: no such protocol, or the sets lack labels that it needs.
    """
    nothing = (
        _as_embeddings(s.source, s.records, np.zeros((len(s.records), 1), dtype=np.float32))
        for s in (query, gallery)
    )
    require_labels(find_protocol(name), *nothing)


def validate(
    model: MTML,
    query: ImageSet,
    gallery: ImageSet,
    *,
    config: TrainConfig,
    device: torch.device,
) -> Validation:
    """Retrieval metrics and orientation accuracy of `model`; its mode is restored.

    Args:
        model: on `device`.
        query: query images.
        gallery: gallery images.
        config: uses image_size, val_protocol, skip_bad.
        device: where the model is.

    Returns:
        The validation.

    Raises:
        ProtocolError: the sets lack labels that the protocol needs.
        ImageError: an image cannot be read and `skip_bad` is off.
    """
    training = model.training
    model.eval()
    query_embeddings, query_right = _embed(model, query, config, device)
    gallery_embeddings, gallery_right = _embed(model, gallery, config, device)
    model.train(training)
    right = np.concatenate([query_right, gallery_right])
    return Validation(
        metrics=evaluate(query_embeddings, gallery_embeddings, find_protocol(config.val_protocol)),
        orientation_accuracy=float(right.mean()) if len(right) else math.nan,
    )


@torch.inference_mode()
def _embed(
    model: MTML, images: ImageSet, config: TrainConfig, device: torch.device
) -> tuple[Embeddings, NDArray[np.bool_]]:
    """Fused features of `images`, and for each labelled one whether its orientation is right."""
    features: list[NDArray[np.float32]] = []
    kept: list[ImageRecord] = []
    right: list[bool] = []
    batches = iterate_batches(
        [record.path for record in images.records],
        height=config.image_size,
        width=config.image_size,
        batch_size=_BATCH,
        skip_bad=config.skip_bad,
    )
    for batch in batches:
        if not len(batch.indices):
            continue
        output = model(torch.from_numpy(batch.images).to(device))
        features.append(output.fused.float().cpu().numpy())
        records = [images.records[index] for index in batch.indices]
        kept.extend(records)
        if output.orientation_logits is not None:
            predicted = output.orientation_logits.argmax(dim=1).tolist()
            right.extend(
                record.orientation == guess
                for record, guess in zip(records, predicted, strict=True)
                if record.orientation != UNKNOWN
            )
    embeddings = _as_embeddings(images.source, kept, np.concatenate(features))
    return embeddings, np.array(right, dtype=np.bool_)


def _as_embeddings(
    source: str, records: Sequence[ImageRecord], features: NDArray[np.float32]
) -> Embeddings:
    """Features float32 [N, D] of N images with their labels."""
    return Embeddings.of(
        features,
        records,
        names=[str(record.path) for record in records],
        model=ModelIdentity("model in training", "fp32", "fused", features.shape[1]),
        source=source,
    )
