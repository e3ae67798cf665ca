"""Small galleries and their plain in-memory model."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import numpy as np

from mtml_deploy.embed.embeddings import ModelIdentity
from mtml_deploy.gallery.folder.gallery import FolderGallery, create_folder_gallery
from mtml_deploy.gallery.values import NewRows, RowRecord

DIM = 3

_numbers = itertools.count()


def new_name(beginning: str) -> str:
    """The address of a collection that nobody has made."""
    return f"{beginning}g{os.getpid()}_{next(_numbers)}"


def identity(*, dim: int = DIM, digit: str = "a") -> ModelIdentity:
    return ModelIdentity(model_sha256=digit * 64, precision="fp32", embedding="fused", dim=dim)


def batch(vectors, *, contents=None, dim: int = DIM, **labels) -> NewRows:
    """Rows named after their content; `labels` are lists."""
    vectors = np.asarray(vectors, dtype=np.float32).reshape(-1, dim)
    contents = contents or [v.tobytes().hex() for v in vectors]
    records = tuple(
        RowRecord(
            path=f"/images/{content}.png",
            content=content,
            **{name: values[i] for name, values in labels.items()},
        )
        for i, content in enumerate(contents)
    )
    return NewRows(identity(dim=dim), vectors, records)


def new_gallery(folder: Path, *, dtype="float32", dim: int = DIM) -> FolderGallery:
    create_folder_gallery(folder, identity(dim=dim), dtype=dtype)
    return FolderGallery(folder, write=True)


def search_by_loop(rows: dict[int, np.ndarray], query, top_k: int):
    """Row numbers and distances of the definition: sort by (float64 distance, row)."""
    found = []
    for point in np.asarray(query, dtype=np.float64):
        pairs = sorted(
            (float(np.square(vector.astype(np.float64) - point).sum()), row)
            for row, vector in rows.items()
        )
        found.append(pairs[:top_k])
    return (
        [[row for _, row in pairs] for pairs in found],
        [[np.float32(np.sqrt(exact)) for exact, _ in pairs] for pairs in found],
    )
