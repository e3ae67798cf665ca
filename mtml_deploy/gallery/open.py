"""The persistent gallery: embeddings that are kept, grow, and are searched exactly.

In: the name of a folder or the address of a Milvus collection. Out: a `Gallery`, whose interface
says nothing of files, so that commands and programs are the same for both.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.embed.embeddings import Embeddings, ModelIdentity
from mtml_deploy.gallery.folder.gallery import FolderGallery, create_folder_gallery
from mtml_deploy.gallery.milvus.address import SCHEMES, parse_address
from mtml_deploy.gallery.milvus.create import create_milvus_gallery
from mtml_deploy.gallery.milvus.gallery import MilvusGallery
from mtml_deploy.gallery.summary import GallerySummary
from mtml_deploy.gallery.values import (
    Added,
    Compacted,
    Filter,
    Finding,
    GalleryError,
    Hits,
    NewRows,
    RowRecord,
    Selection,
    StoredRow,
    StoredType,
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
    "create_gallery",
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

    def vectors(self, numbers: Sequence[int]) -> NDArray[np.float32]:
        """The vectors that decide the order of a search, of given rows in their order.

        Args:
            numbers: row numbers that the gallery holds, in any order, also repeated.

        Returns:
            float32 [n, D].

        Raises:
            GalleryError: a row that the gallery does not hold (any more), or that is damaged.
        """
        ...

    def summary(self) -> GallerySummary:
        """What it holds, in numbers; reads no vectors."""
        ...

    def verify(
        self, *, progress: Callable[[int, int], None] | None = None
    ) -> tuple[Finding, ...]:  # fmt: skip
        """Check every row and its vector.

        Args:
            progress: called with (rows read, rows).

        Returns:
            The faults, none where all is well.

        Raises:
            GalleryError: it cannot be read at all.
        """
        ...

    def compact(self) -> Compacted:
        """Take removed rows off the disk; row numbers stay.

        Raises:
            GalleryError: a row is missing or corrupted.
            ValueError: it was not opened for writing.
        """
        ...

    def embeddings(self) -> Embeddings:
        """All rows in the order of their numbers, in memory.

        Raises:
            GalleryError: no row, or a row is missing or corrupted.
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


def create_gallery(text: str, model: ModelIdentity, *, dtype: StoredType = "float32") -> None:
    """Make an empty gallery where a text says, whole or not at all.

    Args:
        text: a folder, or a collection such as milvus://host:19530/cars.
        model: the model whose embeddings it will hold.
        dtype: how they are kept; in a collection always float32.

    Raises:
        GalleryError: a kind this version does not know, or one that cannot hold such vectors.
        MissingExtraError: the library of that kind is not installed.
        OutputExistsError: there is one already.
    """
    if _is_milvus(text):
        if dtype != "float32":
            raise GalleryError(
                f"vectors as {dtype} were asked for, expected float32, which is how a Milvus "
                "collection keeps them; leave out --dtype"
            )
        create_milvus_gallery(parse_address(text), model)
        return
    create_folder_gallery(gallery_folder(text), model, dtype=dtype)


def open_gallery(text: str, *, write: bool = False) -> Gallery:
    """The gallery that a text names.

    Args:
        text: what `mtml-deploy gallery create` made: a folder, or a collection such as
            milvus://host:19530/cars.
        write: open it for adding and removing; one process at a time.

    Returns:
        The gallery; close it, or use it in a `with` statement.

    Raises:
        GalleryError: a kind this version does not know, no gallery there, a damaged one, or
            another process is writing.
        MissingExtraError: the library of that kind of gallery is not installed.
    """
    if _is_milvus(text):
        return MilvusGallery(parse_address(text), write=write)
    return FolderGallery(gallery_folder(text), write=write)


def gallery_folder(text: str) -> Path:
    """The folder that a text names.

    Raises:
        GalleryError: the text names another kind of gallery.
    """
    scheme = _SCHEME.match(text)
    if scheme is not None:
        raise GalleryError(
            f"{text!r} names a gallery of the kind {scheme[1]!r}, expected a folder here, made "
            "with mtml-deploy gallery create FOLDER --model ARTIFACT"
        )
    return Path(text)


def _is_milvus(text: str) -> bool:
    """Whether a text names a Milvus collection."""
    scheme = _SCHEME.match(text)
    return scheme is not None and scheme[1].lower() in SCHEMES
