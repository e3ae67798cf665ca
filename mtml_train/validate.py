"""Validation during training: features of the torch model, metrics of the deploy package.

In: a model and two image sets. Out: the mAP and CMC that `mtml-deploy evaluate` defines, and the
orientation accuracy of branch D where labels are known.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from mtml_deploy.data.holdout import hold_out
from mtml_deploy.data.records import UNKNOWN, ImageSet
from mtml_deploy.data.source import load_source, parse_source
from mtml_deploy.embed.embed import embed
from mtml_deploy.embed.embeddings import Embeddings, ModelIdentity
from mtml_deploy.embed.unit_length import unit_length
from mtml_deploy.errors import DataError, DivergedError
from mtml_deploy.evaluation.measures import LISTED
from mtml_deploy.evaluation.metrics import RetrievalMetrics, evaluate
from mtml_deploy.evaluation.no_match import require_match
from mtml_deploy.evaluation.normalised import is_cheap
from mtml_deploy.evaluation.protocols import find_protocol, require_labels
from mtml_train.config import TrainConfig
from mtml_train.data.fingerprint import fingerprint
from mtml_train.model import MTML
from mtml_train.resume import HOLDOUT

_BATCH = 32

BEST_NAME: Final = "best.safetensors"
"""The checkpoint that a validation chooses."""


@dataclass(frozen=True)
class Validation:
    """What one validation found.

    Attributes:
        metrics: retrieval on the fused embedding.
        orientation_accuracy: share of the labelled images that branch D classifies right, 0..1;
            NaN without branch D or labels.
        normalised: retrieval on that embedding scaled to length 1, whose order is that of cosines;
            None where a second order of the gallery is not cheap.
    """

    metrics: RetrievalMetrics
    orientation_accuracy: float
    normalised: RetrievalMetrics | None = None

    def scalars(self) -> Mapping[str, float]:
        """Name -> value, fractions 0..1; values that do not exist are left out."""
        values = {measure.tag: measure.take(self.metrics) for measure in LISTED}
        if self.normalised is not None:
            values["mAP_length_1"] = self.normalised.mean_ap
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
        config: uses val, val_gallery and seed.
        train_sets: training splits as loaded.

    Returns:
        The training sets, without held-out identities, and (query, gallery) or None.

    Raises:
        DataError: `val` is neither a source with query and gallery nor "holdout:FRACTION", or
            `val_gallery` has no queries beside it.
    """
    if config.val_gallery and (not config.val or config.val.startswith(HOLDOUT)):
        raise DataError(
            f"--val-gallery {config.val_gallery} is where queries are looked for, and --val "
            f"{config.val or '(empty)'} names none; name the queries with --val, or leave it out"
        )
    if not config.val:
        return train_sets, None
    if not config.val.startswith(HOLDOUT):
        query = load_source(config.val, split="query")
        return train_sets, (query, load_source(config.val_gallery or config.val, split="gallery"))
    text = config.val.removeprefix(HOLDOUT)
    try:
        fraction = float(text)
    except ValueError:
        fraction = math.nan
    if not 0 < fraction < 1:
        raise DataError(f"--val holdout:{text}: give a fraction between 0 and 1, such as 0.1")
    return hold_out(train_sets, share=fraction, seed=config.seed)


def chosen_on(config: TrainConfig) -> str:
    """What a user must know of a checkpoint that is chosen by its validation; may be empty.

    Args:
        config: uses val, val_gallery, best_by, patience.
    """
    if not config.val or config.val.startswith(HOLDOUT):
        return ""
    what = BEST_NAME if config.patience == 0 else f"{BEST_NAME}, and the end of the run,"
    queries = (
        f"the test queries of {config.val}"
        if parse_source(config.val).data_set is not None
        else f"the queries of {config.val}"
    )
    whose = "" if parse_source(config.val).data_set is not None else ", if you test on these,"
    return (
        f"{what} will be chosen by {config.best_by} on {queries}: numbers measured on them with it "
        f"are{whose} too good; choose on other vehicles with --val holdout:0.1, or take the last "
        "weights: mtml-export RUN --out MODEL --checkpoint last"
    )


def require_protocol(query: ImageSet, gallery: ImageSet, name: str) -> None:
    """Refuse a validation that could not be done, before the training that leads to it.

    Args:
        query: query images.
        gallery: gallery images.
        name: the protocol.

    Raises:
        ProtocolError: no such protocol, the sets lack labels that it needs, or no query has a match
            under it.
    """
    rule = find_protocol(name)
    labels = [
        Embeddings.of(
            np.zeros((len(images.records), 1), dtype=np.float32),
            images.records,
            names=images.names(),
            model=_identity(1),
            source=images.source,
        )
        for images in (query, gallery)
    ]
    require_labels(rule, labels[0], labels[1])
    require_match(labels[0], labels[1], rule)


def judged_by(query: ImageSet, gallery: ImageSet, protocol: str, *, best_by: str = "mAP") -> str:
    """What a validation is made on: values of two that differ are not compared.

    Args:
        query: query images.
        gallery: gallery images.
        protocol: name of the protocol.
        best_by: the measure that is compared.

    Returns:
        A short text; equal for the same names, labels, protocol and measure, wherever the files
        are.
    """
    parts = [protocol] if best_by == "mAP" else [protocol, best_by]
    for images in (query, gallery):
        found = fingerprint(images)
        # a hold-out has no folder of its own, and its images are given by those trained on
        names = HOLDOUT if images.source.startswith(HOLDOUT) else found.names_sha256
        parts += [names, found.labels_sha256]
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()


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
        config: uses image_size, val_protocol, threads, skip_bad.
        device: where the model is.

    Returns:
        The validation.

    Raises:
        ProtocolError: the sets lack labels that the protocol needs.
        ImageError: an image cannot be read and `skip_bad` is off.
        DivergedError: an embedding is not finite.
    """
    training = model.training
    model.eval()
    found = [embedded(model, images, config=config, device=device) for images in (query, gallery)]
    model.train(training)
    (query_rows, query_right), (gallery_rows, gallery_right) = found
    right = np.concatenate([query_right, gallery_right])
    rule = find_protocol(config.val_protocol)
    cheap = is_cheap(query_rows, gallery_rows)
    return Validation(
        metrics=evaluate(query_rows, gallery_rows, rule),
        normalised=evaluate(unit_length(query_rows), unit_length(gallery_rows), rule)
        if cheap
        else None,
        orientation_accuracy=float(right.mean()) if len(right) else math.nan,
    )


class _ModelInTraining:
    """The torch model as what embeds; keeps the orientations it gave.

    Attributes:
        height: rows of its images.
        width: columns of its images.
        orientations: int64 [B] of each run, the most probable class; none without branch D.
    """

    def __init__(self, model: MTML, *, size: tuple[int, int], device: torch.device) -> None:
        """Nothing is run yet."""
        self.height, self.width = size
        self.orientations: list[NDArray[np.int64]] = []
        self._model = model
        self._device = device
        self._dim = 0

    @property
    def identity(self) -> ModelIdentity:
        """A name that no file carries; the length of a row is known after the first run."""
        return _identity(self._dim)

    @torch.inference_mode()
    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Fused features float32 [B, D] of uint8 [B, H, W, 3]."""
        output = self._model(torch.from_numpy(images).to(self._device))
        if output.orientation_logits is not None:
            self.orientations.append(output.orientation_logits.argmax(dim=1).cpu().numpy())
        features: NDArray[np.float32] = output.fused.float().cpu().numpy()
        self._dim = features.shape[1]
        if not np.isfinite(features).all():
            raise DivergedError("the fused feature of a validation image is not finite")
        return features

    def stream(self, batches: Iterable[NDArray[np.uint8]]) -> Iterator[NDArray[np.float32]]:
        """Fused features of each batch."""
        return map(self.run, batches)


def embedded(
    model: MTML, images: ImageSet, *, config: TrainConfig, device: torch.device
) -> tuple[Embeddings, NDArray[np.bool_]]:
    """Fused features, and for each image of known orientation whether it is told right.

    Args:
        model: on `device`, in evaluation mode.
        images: to embed.
        config: uses image_size, threads, skip_bad.
        device: where the model is.

    Returns:
        Rows of a model in training, and bool [M] for the M images of known orientation; none
        without branch D.

    Raises:
        ImageError: an image cannot be read and `skip_bad` is off.
        DivergedError: an embedding is not finite.
    """
    running = _ModelInTraining(model, size=config.image_sides, device=device)
    rows, _ = embed(
        running, images, batch_size=_BATCH, threads=config.threads, skip_bad=config.skip_bad
    )
    if not running.orientations:
        return rows, np.empty(0, dtype=np.bool_)
    known = rows.orientations != UNKNOWN
    return rows, np.concatenate(running.orientations)[known] == rows.orientations[known]


def _identity(dim: int) -> ModelIdentity:
    """What rows of a model in training say of it."""
    return ModelIdentity("model in training", "fp32", "fused", dim)
