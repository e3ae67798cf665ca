"""Rows of a gallery as embeddings, for ranking, evaluation and other tools."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.embed.embeddings import Embeddings, ModelIdentity
from mtml_deploy.gallery.values import RowRecord


def labelled(
    features: NDArray[np.float32],
    records: Sequence[RowRecord],
    *,
    name: str,
    model: ModelIdentity,
) -> Embeddings:
    """Vectors of a gallery with what is known of them.

    Args:
        features: float32 [n, D].
        records: [n] their records.
        name: of the gallery.
        model: which made the vectors.

    Returns:
        The embeddings; names are relative to the deepest folder that all images share.
    """
    root = _common_root([record.path for record in records])
    return Embeddings.of(
        features,
        records,
        names=[
            Path(record.path).relative_to(root).as_posix() if root else record.path
            for record in records
        ],
        model=model,
        root=root,
        source=f"gallery:{name}",
    )


def _common_root(paths: list[str]) -> str:
    """The deepest folder of all images; empty where some are URIs or relative."""
    if not all(Path(path).is_absolute() for path in paths):
        return ""
    return os.path.commonpath([str(Path(path).parent) for path in paths])
