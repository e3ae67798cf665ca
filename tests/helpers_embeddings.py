"""Rows of a set, where a test needs embeddings and no model."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike

from mtml_deploy.embed.embeddings import Embeddings, ModelIdentity


def embedded(
    features: ArrayLike,
    vehicles: ArrayLike | None = None,
    cameras: ArrayLike | None = None,
    names: Iterable[str] | None = None,
    *,
    source: str = "set",
    root: str = "",
    model: ModelIdentity | None = None,
) -> Embeddings:
    """One row per feature [N, D]; what is not given is unknown, names are SOURCE0.jpg and so on."""
    rows = np.asarray(features, dtype=np.float32)
    unknown = np.full(len(rows), -1, dtype=np.int32)
    return Embeddings(
        features=rows,
        vehicle_ids=unknown if vehicles is None else np.asarray(vehicles, dtype=np.int32),
        camera_ids=unknown if cameras is None else np.asarray(cameras, dtype=np.int32),
        orientations=unknown,
        tracklet_ids=unknown,
        names=tuple(names or (f"{source}{row}.jpg" for row in range(len(rows)))),
        root=root,
        source=source,
        model=model or ModelIdentity("0" * 64, "fp32", "fused", rows.shape[1]),
    )
