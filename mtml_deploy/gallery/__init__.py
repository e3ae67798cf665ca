"""The persistent gallery: embeddings that are kept, grow, and are searched exactly.

In: a folder name. Out: a `Gallery`, whose interface says nothing of files, so that another kind of
store can stand behind another kind of name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.embeddings import ModelIdentity
from mtml_deploy.gallery.errors import GalleryError
from mtml_deploy.gallery.records import (
    Added,
    Filter,
    Hits,
    NewRows,
    RowRecord,
    Selection,
    StoredRow,
)

__all__ = [
    "Added",
    "Filter",
    "Gallery",
    "GalleryError",
    "Hits",
    "NewRows",
    "RowRecord",
    "Selection",
    "StoredRow",
    "gallery_folder",
    "open_gallery",
]

_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


class Gallery(Protocol):
    """An open gallery; a context manager, owned by one thread."""

    @property
    def model(self) -> ModelIdentity:
        """The one model whose embeddings it holds."""
        ...

    def __len__(self) -> int:
        """Rows it holds now."""
        ...

    def add(self, new: NewRows) -> Added:
        """Add a batch; when this returns it is on disk, and readers see all of it.

        Records whose content the gallery holds already, or that repeat an earlier one of the
        batch, are not added again; what is known of the row that is there stays as it is.

        Args:
            new: the batch.

        Returns:
            The row of each record and whether it is new.

        Raises:
            EmbeddingsError: another model's, or vectors that cannot be kept.
            GalleryError: the gallery is damaged or cannot be written.
            ValueError: it was not opened for writing.
        """
        ...

    def holds(self, contents: Sequence[str]) -> frozenset[str]:
        """Those of the given content hashes that the gallery has, to spare computing them."""
        ...

    def remove(self, selection: Selection) -> int:
        """Remove the rows of a selection; on disk when this returns.

        Returns:
            How many rows were removed, 0 where none matches.

        Raises:
            GalleryError: the gallery is damaged or cannot be written.
            ValueError: it was not opened for writing.
        """
        ...

    def search(
        self,
        query: NDArray[np.float32],
        *,
        model: ModelIdentity,
        top_k: int,
        where: Filter = Filter(),  # noqa: B008 - frozen
    ) -> Hits:
        """Exact nearest rows of every query among those that pass a filter.

        Args:
            query: float32 [Q, D].
            model: the model that made them.
            top_k: ranks wanted, at least 1; K = min(top_k, rows that pass).
            where: which rows to look at.

        Returns:
            The hits, [Q, K]: the order of the float64 distances to what is stored, ties by lower
            row number.

        Raises:
            EmbeddingsError: another model's.
            GalleryError: the gallery is damaged.
            ValueError: a query that is not float32 [Q, D] or not finite, or `top_k` below 1.
        """
        ...

    def rows(self, numbers: Sequence[int] | None = None) -> Iterator[StoredRow]:
        """What is known of rows: of all by number, or of the given ones in their order.

        Numbers of rows that the gallery does not hold (any more) are passed over.
        """
        ...

    def close(self) -> None:
        """Free it; closing twice is allowed."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


def open_gallery(text: str, *, write: bool = False) -> Gallery:
    """The gallery that a text names.

    Args:
        text: a folder that `mtml-deploy gallery create` made.
        write: open it for adding and removing; one process at a time.

    Returns:
        The gallery; close it, or use it in a `with` statement.

    Raises:
        GalleryError: a kind this version does not know, no gallery there, a damaged one, or
            another process is writing.
    """
    from mtml_deploy.gallery.store import FolderGallery  # it needs this module

    return FolderGallery(gallery_folder(text), write=write)


def gallery_folder(text: str) -> Path:
    """The folder that a text names.

    Raises:
        GalleryError: the text names another kind of gallery.
    """
    scheme = _SCHEME.match(text)
    if scheme is not None:
        raise GalleryError(
            f"{text!r} names a gallery of the kind {scheme[1]!r}, which this version does not "
            "know; give a folder, made with mtml-deploy gallery create FOLDER --model ARTIFACT"
        )
    return Path(text)
