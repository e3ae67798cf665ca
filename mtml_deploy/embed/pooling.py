"""Embeddings of tracklets from embeddings of their images.

In: embeddings of images and which of them show one pass of one vehicle before one camera. Out: one
row per tracklet, comparable with images and tracklets of the same model.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.data.records import UNKNOWN
from mtml_deploy.defaults import Grouping, Pool
from mtml_deploy.embed.rows import Ids, LabelledRows, id_array
from mtml_deploy.errors import DataError, EmbeddingsError

RowsT = TypeVar("RowsT", bound=LabelledRows)


def pool_tracklets(
    images: RowsT,
    *,
    pool: Pool = "mean",
    by: Grouping = "tracklet",
    keep_single: bool = False,
) -> RowsT:
    """One embedding per tracklet: the weighted mean of its images' embeddings.

    With features f_i of the n images, t = sum_i w_i f_i, summed in float64 and rounded once.
    "mean": w_i = 1 / n. "size", attention by detection size: w_i = p_i / sum_j p_j, p_i the pixels
    of image i before resizing, so that a large, near view counts more than a small, far one.

    Args:
        images: embeddings of N images.
        pool: the weights, "mean" or "size".
        by: "tracklet" groups by tracklet id; "vehicle-camera" takes all images of one vehicle
            before one camera as one tracklet, for sets that tell no tracklets; "vehicle" joins all
            images of one vehicle, whichever camera took them, as one query.
        keep_single: let an image that is in no group be a tracklet of its own.

    Returns:
        T tracklets in the order of their first images, whose names they carry; vehicle and camera
        of their images; the orientation where all images have the same, else -1, and by "vehicle"
        also the camera, so that protocols that need cameras refuse a joined query of several;
        tracklet ids as given, -1 for single images, and 0, 1, ... by the other groupings.

    Raises:
        EmbeddingsError: `images` are tracklets already, or "size" is asked for and nobody counted
            their pixels.
        DataError: no image is in a group, some are not and `keep_single` is false, or a tracklet
            has images of several vehicles or cameras.

    Example:
        Two images of one tracklet, the second three times as large: (1 * 2 + 3 * 6) / 4.

        >>> from mtml_deploy.embed.embeddings import Embeddings, ModelIdentity
        >>> def ids(*values):
        ...     return np.array(values, dtype=np.int32)
        >>> images = Embeddings(
        ...     features=np.array([[2], [6]], dtype=np.float32), vehicle_ids=ids(4, 4),
        ...     camera_ids=ids(1, 1), orientations=ids(0, 3), tracklet_ids=ids(9, 9),
        ...     names=("a.jpg", "b.jpg"), root="", source="example",
        ...     model=ModelIdentity("0" * 64, "fp32", "fused", 1), pixels=ids(100, 300))
        >>> for pool in ("mean", "size"):
        ...     track = pool_tracklets(images, pool=pool)
        ...     print(track.features.tolist(), track.names, track.tracklet_ids.tolist())
        [[4.0]] ('a.jpg',) [9]
        [[5.0]] ('a.jpg',) [9]
    """
    if images.unit == "tracklet":
        raise EmbeddingsError(
            f"{images.source} holds tracklets already, expected images; pool the embeddings file "
            "of the images"
        )
    groups = _groups(images, by)
    _require_groups(images, groups, by, keep_single=keep_single)
    tracks = _rows_of_tracks(groups)
    first = np.array([rows[0] for rows in tracks])
    _require_one("vehicle", images, images.vehicle_ids, tracks)
    if by != "vehicle":
        _require_one("camera", images, images.camera_ids, tracks)
    grouping = "tracklets" if by == "tracklet" else f"tracklets by {by}"
    return replace(
        images,
        features=_pooled(images, tracks, pool),
        vehicle_ids=images.vehicle_ids[first],
        camera_ids=id_array(_common(images.camera_ids, tracks)),
        orientations=np.array(_common(images.orientations, tracks), np.int32),
        tracklet_ids=id_array(groups[first].tolist()),
        names=tuple(images.names[row] for row in first),
        source=f"{images.source}, {grouping} ({pool})",
        pixels=None,
        times_us=None,
        unit="tracklet",
    )


def as_one(images: RowsT) -> RowsT:
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
        first, second = (_text(images.named(vehicle)) for vehicle in vehicles[:2])
        raise EmbeddingsError(
            f"{images.source} shows {len(vehicles)} vehicles, for example {first} and {second}, "
            "expected images of one; leave out --as-one, or name images of one"
        )
    more = f" and {len(images) - 1} more" if len(images) > 1 else ""
    every = [np.arange(len(images))]
    return replace(
        images,
        features=images.features.mean(axis=0, dtype=np.float64, keepdims=True).astype(np.float32),
        vehicle_ids=id_array(_common(images.vehicle_ids, every)),
        camera_ids=id_array(_common(images.camera_ids, every)),
        orientations=np.array(_common(images.orientations, every), np.int32),
        tracklet_ids=id_array(_common(images.tracklet_ids, every)),
        names=(f"{images.names[0]}{more}",),
        pixels=None,
        times_us=None,
        unit="tracklet",
    )


def _groups(images: LabelledRows, by: Grouping) -> NDArray[np.int64]:
    """Group of each image, int64 [N]; -1 for an image in none."""
    if by == "tracklet":
        return images.tracklet_ids.astype(np.int64)
    vehicles, cameras = images.vehicle_ids.astype(np.int64), images.camera_ids.astype(np.int64)
    if by == "vehicle":
        cameras = np.zeros_like(cameras)
    known = (vehicles != UNKNOWN) & (cameras != UNKNOWN)
    groups = np.full(len(images), UNKNOWN, dtype=np.int64)
    _, vehicle = np.unique(vehicles[known], return_inverse=True)
    numbers, camera = np.unique(cameras[known], return_inverse=True)
    groups[known] = _by_occurrence(vehicle * len(numbers) + camera)
    return groups


def _common(labels: Ids, tracks: list[NDArray[np.int64]]) -> list[int]:
    """The label that all images of a tracklet have, else -1, [T]."""
    found = [np.unique(labels[rows]) for rows in tracks]
    return [int(each[0]) if len(each) == 1 else UNKNOWN for each in found]


def _by_occurrence(keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each of N keys, the number of its value, int64 [N]; 0 is the value that occurs first."""
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    number = np.empty(len(first), dtype=np.int64)
    number[np.argsort(first)] = np.arange(len(first))
    return number[inverse]


def _rows_of_tracks(groups: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Rows of each tracklet, ascending, tracklets by their first row; an image in none is one."""
    keys = groups.copy()
    single = np.flatnonzero(groups == UNKNOWN)
    keys[single] = UNKNOWN - 1 - single  # below every group, each its own
    numbers = _by_occurrence(keys)
    order = np.argsort(numbers, kind="stable").astype(np.int64)
    return np.split(order, np.cumsum(np.bincount(numbers))[:-1])


def _pooled(
    images: LabelledRows, tracks: list[NDArray[np.int64]], pool: Pool
) -> NDArray[np.float32]:
    """Weighted means, float32 [T, D]."""
    if pool == "mean":
        weights = np.ones(len(images))
    elif images.pixels is not None:
        weights = images.pixels.astype(np.float64)
    else:
        raise EmbeddingsError(
            f"the sizes of the images of {images.source} are not known, and pooling by size needs "
            "them; embed the images with mtml-deploy embed, which counts their pixels, or pool by "
            "mean"
        )
    features = np.empty((len(tracks), images.features.shape[1]), dtype=np.float32)
    for track, rows in enumerate(tracks):
        shares = weights[rows]
        # a sum over rows, not a matrix product: the same bits with every BLAS
        total = (shares[:, None] * images.features[rows]).sum(axis=0)  # [D]
        features[track] = total / shares.sum()
    return features


def _require_groups(
    images: LabelledRows, groups: NDArray[np.int64], by: Grouping, *, keep_single: bool
) -> None:
    """Refuse images that are in no group, unless told to keep them."""
    single = np.flatnonzero(groups == UNKNOWN)
    if not len(single) or (keep_single and len(single) < len(groups)):
        return
    what = {"tracklet": "tracklet id", "vehicle": "vehicle id"}.get(by, "vehicle and camera id")
    if len(single) == len(groups):
        other = (
            "group the images of one vehicle before one camera with --by vehicle-camera"
            if by == "tracklet"
            else "embed a source that tells them"
        )
        raise DataError(f"not one of the {len(groups)} images of {images.source} has a {what}; "
                        f"{other}")  # fmt: skip
    raise DataError(
        f"{len(single)} of {len(groups)} images of {images.source} have no {what}, the first is "
        f"{images.names[single[0]]}; complete the labels and embed again, or make each of them a "
        "tracklet of its own with --keep-single"
    )


def _require_one(
    what: str, images: LabelledRows, ids: Ids, tracks: list[NDArray[np.int64]]
) -> None:
    """Refuse a tracklet whose images have different ids, an unknown one included."""
    for rows in tracks:
        other = np.flatnonzero(ids[rows] != ids[rows[0]])
        if len(other):
            left, right = rows[0], rows[other[0]]
            track = images.named(images.tracklet_ids[left])
            raise DataError(
                f"tracklet {track} of {images.source} has {images.names[left]} of {what} "
                f"{_text(images.named(ids[left]))} and {images.names[right]} of {what} "
                f"{_text(images.named(ids[right]))}, expected one {what}; correct the track file "
                "or the labels and embed the images again"
            )


def _text(number: int) -> str:
    """An id in a sentence."""
    return "unknown" if number == UNKNOWN else str(number)
