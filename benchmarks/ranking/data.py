"""What the ranking contenders load, and the float32 distances that the peers start from."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from benchmarks.ranking.clustered import Labels
from mtml_deploy.data.records import UNKNOWN
from mtml_deploy.embed.embeddings import Embeddings, ModelIdentity

Part = Literal["query", "gallery"]

BLOCK_QUERIES: Final = 256
"""Queries whose distances NumPy and torch contenders hold at once."""


def made_up_model(dim: int) -> ModelIdentity:
    """The model that made-up embeddings say they are of."""
    return ModelIdentity("0" * 64, "fp32", "fused", dim)


def load_features(folder: Path, part: Part) -> NDArray[np.float32]:
    """float32 [N, D] that `write_clustered` wrote, in memory."""
    features: NDArray[np.float32] = np.load(folder / f"{part}.npy")
    return features


def load_labels(folder: Path, part: Part) -> Labels:
    """Labels that `write_clustered` wrote."""
    with np.load(folder / f"{part}-labels.npz") as file:
        return Labels(file["vehicle_ids"], file["camera_ids"])


def load_set(folder: Path, part: Part) -> Embeddings:
    """Features with their labels."""
    features = load_features(folder, part)
    labels = load_labels(folder, part)
    unknown = np.full(len(features), UNKNOWN, dtype=np.int32)
    return Embeddings(
        features=features,
        vehicle_ids=labels.vehicle_ids,
        camera_ids=labels.camera_ids,
        orientations=unknown,
        tracklet_ids=unknown,
        names=tuple(map(str, range(len(features)))),
        root="",
        source=f"made-up {part}",
        model=made_up_model(features.shape[1]),
    )


def float32_distances(left: NDArray[np.float32], right: NDArray[np.float32]) -> NDArray[np.float32]:
    """Squared L2 distances from one float32 product, as most toolkits compute them.

    Args:
        left: float32 [n, D].
        right: float32 [m, D].

    Returns:
        float32 [n, m], not below 0.
    """
    distances = left @ right.T  # [n, m]
    distances *= -2
    distances += np.einsum("nd,nd->n", right, right)
    distances += np.einsum("nd,nd->n", left, left)[:, None]
    np.maximum(distances, 0, out=distances)
    return distances


def equal_share(left: NDArray[np.generic], right: NDArray[np.generic]) -> float:
    """Share of positions at which two rank lists hold the same row, 0..1.

    Args:
        left: [Q, K].
        right: [Q, K].

    Returns:
        The share.

    Raises:
        ValueError: two shapes.
    """
    if left.shape != right.shape:
        raise ValueError(f"rank lists are {list(left.shape)} and {list(right.shape)}")
    return float(np.mean(left == right))
