"""The mean of each camera taken off its images, for a closed set of known cameras.

In: embeddings whose rows all know their camera, and reference rows of the same cameras. Out: rows
without what all images of a camera have in common. They carry a mark of the means, so that they are
compared only with rows that lost the same.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import msgspec
import numpy as np
from numpy.typing import NDArray

from mtml_deploy.data.records import UNKNOWN
from mtml_deploy.embed.embeddings import Embeddings, require_comparable
from mtml_deploy.embed.unit_length import unit_rows
from mtml_deploy.errors import EmbeddingsError

_FIX = (
    "embed a source that tells the camera of every image, or leave the embeddings as they are: a "
    "camera is never guessed"
)
_BLOCK_ROWS = 4096


@dataclass(frozen=True)
class CameraMeans:
    """What is taken off each camera's rows.

    Attributes:
        reference: the rows it was made of.
        cameras: int64 [C], ascending.
        means: float32 [C, D].
        normalise: rows get length 1 afterwards.
    """

    reference: Embeddings
    cameras: NDArray[np.int64]
    means: NDArray[np.float32]
    normalise: bool

    @property
    def mark(self) -> str:
        """SHA-256 of cameras, means and what follows: equal marks take off the same."""
        content = hashlib.sha256(b"length 1" if self.normalise else b"length kept")
        content.update(self.cameras.astype("<i8").tobytes())
        content.update(self.means.astype("<f4").tobytes())
        return content.hexdigest()


def camera_means(reference: Embeddings, *, normalise: bool) -> CameraMeans:
    """The mean embedding of every camera.

    Args:
        reference: rows of every camera of the set, as the model gave them.
        normalise: whether rows get length 1 once the mean is taken off.

    Returns:
        The means.

    Raises:
        EmbeddingsError: a row without a camera, or rows that were centred already.
    """
    _require_cameras(reference)
    cameras, which = np.unique(reference.camera_ids.astype(np.int64), return_inverse=True)
    means = np.stack(
        [
            reference.features[which == number].mean(axis=0, dtype=np.float64)
            for number in range(len(cameras))
        ]
    )
    return CameraMeans(reference, cameras, means.astype(np.float32), normalise)


def centre(images: Embeddings, means: CameraMeans) -> Embeddings:
    """The rows without the mean of their camera.

    Args:
        images: rows of the model that made the reference, as it gave them.
        means: of their cameras.

    Returns:
        The same rows; their model carries the mark of the means.

    Raises:
        EmbeddingsError: another model's rows, a row without a camera or of one that the reference
            has not, or rows that were centred already.
    """
    _require_cameras(images)
    require_comparable(images, means.reference)
    wanted = images.camera_ids.astype(np.int64)
    places = np.minimum(np.searchsorted(means.cameras, wanted), len(means.cameras) - 1)
    strange = means.cameras[places] != wanted
    if strange.any():
        first = int(np.argmax(strange))
        raise EmbeddingsError(
            f"{int(strange.sum())} rows of {images.source} are of cameras that "
            f"{means.reference.source} has no image of, for example camera "
            f"{images.named(wanted[first])} of {images.names[first]}; give a reference with images "
            "of every camera, as centring is for a closed set of cameras"
        )
    features = np.empty_like(images.features)
    for start in range(0, len(features), _BLOCK_ROWS):
        part = slice(start, start + _BLOCK_ROWS)
        rows = images.features[part].astype(np.float64) - means.means[places[part]]  # [n, D]
        features[part] = unit_rows(rows) if means.normalise else rows
    model = msgspec.structs.replace(images.model, camera_means=means.mark)
    return replace(images, features=features, model=model)


def _require_cameras(images: Embeddings) -> None:
    """Refuse rows that cannot be centred."""
    if images.model.camera_means:
        raise EmbeddingsError(
            f"the mean of each camera was taken off {images.source} already "
            f"({images.model.camera_means[:12]}); give the embeddings as the model gave them"
        )
    unknown = images.camera_ids == UNKNOWN
    if not len(images) or unknown.any():
        example = "" if not len(images) else f", for example {images.names[int(unknown.argmax())]}"
        raise EmbeddingsError(
            f"{int(unknown.sum())} of {len(images)} rows of {images.source} have no known "
            f"camera{example}; {_FIX}"
        )
