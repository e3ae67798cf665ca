"""Several sets of query images as one set, or as one query.

In: embeddings of one model. Out: embeddings whose rows are the images of all sets in turn, or one
row for all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.data.records import UNKNOWN
from mtml_deploy.embed.embeddings import Embeddings, require_comparable
from mtml_deploy.errors import EmbeddingsError


def joined(sets: Sequence[Embeddings]) -> Embeddings:
    """The rows of all sets, one set after the other.

    Args:
        sets: one or more, of one model.

    Returns:
        All rows; names are absolute where the sets are of several folders.

    Raises:
        EmbeddingsError: different models, or images and tracklets.
        ValueError: no set.
    """
    if not sets:
        raise ValueError("at least one set is needed")
    first = sets[0]
    for other in sets[1:]:
        require_comparable(first, other)
        if other.unit != first.unit:
            raise EmbeddingsError(
                f"{first.source} holds {first.unit}s and {other.source} {other.unit}s, expected "
                f"one kind; search with each in its own call"
            )
    if len(sets) == 1:
        return first
    one_root = len({images.root for images in sets}) == 1
    counted = [images.pixels for images in sets if images.pixels is not None]
    return Embeddings(
        features=np.concatenate([images.features for images in sets]),
        vehicle_ids=np.concatenate([images.vehicle_ids for images in sets]),
        camera_ids=np.concatenate([images.camera_ids for images in sets]),
        orientations=np.concatenate([images.orientations for images in sets]),
        tracklet_ids=np.concatenate([images.tracklet_ids for images in sets]),
        names=tuple(
            name if one_root else f"{images.root}/{name}"
            for images in sets
            for name in images.names
        ),
        root=first.root if one_root else "",
        source=", ".join(images.source for images in sets),
        model=first.model,
        pixels=np.concatenate(counted) if len(counted) == len(sets) else None,
        unit=first.unit,
    )


def as_one(images: Embeddings) -> Embeddings:
    """One row for all images, which are said to show one vehicle: the mean of their features.

    Args:
        images: N >= 1 images of one vehicle.

    Returns:
        One row: the mean, summed in float64 and rounded once; labels where all images have the
        same one, else -1; the name of the first image and how many more.

    Raises:
        EmbeddingsError: no image, or images of several known vehicles.
    """
    if not len(images):
        raise EmbeddingsError(f"{images.source} has no images; name at least one")
    vehicles = np.unique(images.vehicle_ids[images.vehicle_ids != UNKNOWN])
    if len(vehicles) > 1:
        raise EmbeddingsError(
            f"{images.source} shows {len(vehicles)} vehicles, for example {vehicles[0]} and "
            f"{vehicles[1]}, expected images of one; leave out --as-one, or name images of one"
        )
    more = f" and {len(images) - 1} more" if len(images) > 1 else ""
    return replace(
        images,
        features=images.features.mean(axis=0, dtype=np.float64, keepdims=True).astype(np.float32),
        vehicle_ids=_common(images.vehicle_ids),
        camera_ids=_common(images.camera_ids),
        orientations=_common(images.orientations),
        tracklet_ids=_common(images.tracklet_ids),
        names=(f"{images.names[0]}{more}",),
        pixels=None,
        unit="tracklet",
    )


def _common(labels: NDArray[np.int32]) -> NDArray[np.int32]:
    """The label that all images have, or unknown, int32 [1]."""
    label = labels[0] if (labels == labels[0]).all() else UNKNOWN
    return np.array([label], dtype=np.int32)
