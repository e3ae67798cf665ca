"""The persistent gallery: embeddings that are kept, grow, and are searched exactly.

What every kind of gallery offers; the interface says nothing of files, so that commands and
programs are the same for all.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mtml_deploy.closing import Closing
from mtml_deploy.data.clock import time_us
from mtml_deploy.data.records import UNKNOWN
from mtml_deploy.defaults import TOP_K
from mtml_deploy.embed.embeddings import Embeddings, ModelIdentity
from mtml_deploy.gallery.add import AddSummary, Known, add_embeddings
from mtml_deploy.gallery.summary import GallerySummary
from mtml_deploy.gallery.values import (
    Added,
    Compacted,
    Filter,
    Finding,
    Hit,
    Hits,
    NewLabels,
    NewRows,
    RerankedHits,
    Selection,
    StoredRow,
)


class Gallery(Closing):
    """An open gallery; a context manager, owned by one thread."""

    @property
    @abstractmethod
    def model(self) -> ModelIdentity:
        """The one model whose embeddings it holds."""

    @abstractmethod
    def __len__(self) -> int:
        """Rows it holds now."""

    def add(
        self,
        embeddings: Embeddings,
        *,
        camera_id: int = UNKNOWN,
        time: datetime | None = None,
        times: Mapping[str, datetime] | Sequence[datetime | None] | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> AddSummary:
        """Add embeddings with their labels; equal vectors are kept once.

        Args:
            embeddings: N images of the gallery's model.
            camera_id: camera of the rows whose camera is unknown; -1 leaves it unknown.
            time: when the images were taken that `times` tells nothing of; in UTC where it names no
                zone.
            times: name of an image -> when it was taken, or one moment for each of the N rows.
            progress: called with (rows dealt with, all rows).

        Returns:
            What was done; on disk when this returns.

        Raises:
            EmbeddingsError: another model's, tracklets, or vectors that cannot be kept.
            GalleryError: the gallery is damaged or cannot be written.
            ValueError: it was not opened for writing, or `times` is a list of another length.
        """
        if isinstance(times, Mapping):
            times = [times.get(name) for name in embeddings.names]
        elif times is None:
            times = [None] * len(embeddings)
        return add_embeddings(
            self,
            embeddings,
            known=Known(camera_id, None if time is None else time_us(time)),
            times_us=[None if moment is None else time_us(moment) for moment in times],
            progress=progress,
        )

    @abstractmethod
    def add_rows(self, new: NewRows) -> Added:
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

    @abstractmethod
    def holds(self, contents: Sequence[str]) -> Mapping[str, int]:
        """The rows of those content hashes that the gallery has, to spare computing them."""

    @abstractmethod
    def remove(self, selection: Selection) -> int:
        """Remove the rows of a selection; on disk when this returns.

        Returns:
            How many rows were removed, 0 where none matches.

        Raises:
            GalleryError: the gallery is damaged or cannot be written.
            ValueError: it was not opened for writing.
        """

    @abstractmethod
    def relabel(self, rows: Sequence[int], labels: NewLabels) -> int:
        """Change what is known of rows; on disk when this returns. Vectors and numbers stay.

        Args:
            rows: row numbers; those that the gallery does not hold (any more) are passed over.
            labels: what is told anew, of each of them.

        Returns:
            How many rows were there.

        Raises:
            GalleryError: the gallery is damaged or cannot be written.
            ValueError: it was not opened for writing, or a label outside its range.
        """

    @abstractmethod
    def search(
        self,
        query: Embeddings | ArrayLike,
        *,
        model: ModelIdentity | None = None,
        top_k: int = TOP_K,
        where: Filter = Filter(),  # noqa: B008 - frozen
        approximate: bool = False,
    ) -> Hits:
        """Exact nearest rows of every query among those that pass a filter.

        Args:
            query: Q embeddings, or numbers [Q, D], which are taken as float32.
            model: the model that made the numbers; embeddings tell it themselves.
            top_k: ranks wanted, at least 1; K = min(top_k, rows that pass).
            where: which rows to look at.
            approximate: by the tuned approximate index of a server, which may miss rows; what
                comes back is true, in the order of the float64 distances.

        Returns:
            The hits, [Q, K]: the order of the float64 distances to what is stored, ties by lower
            row number. `hit_lists` tells what is known of them.

        Raises:
            EmbeddingsError: another model's.
            GalleryError: the gallery is damaged, or its index is of the other kind or not tuned.
            ValueError: a query that is not [Q, D] or not finite, numbers without a `model`, or
                `top_k` below 1.
        """

    def hit_lists(self, found: Hits | RerankedHits) -> tuple[tuple[Hit, ...], ...]:
        """What a search found, with what is known of each row.

        Args:
            found: hits of this gallery.

        Returns:
            One list per query, nearest first; a row that was removed since is left out.
        """
        hits = found.hits if isinstance(found, RerankedHits) else found
        known = {
            stored.row: stored
            for stored in self.rows(sorted(set(hits.rows.ravel().tolist())), fresh=False)
        }
        lists = []
        for query in range(len(hits.rows)):
            places: list[Hit] = []
            for place, row in enumerate(hits.rows[query].tolist()):
                if row not in known:
                    continue
                hit = Hit(len(places) + 1, float(hits.distances[query, place]), known[row])
                if isinstance(found, RerankedHits):
                    hit = replace(
                        hit,
                        reranked=float(found.reranked[query, place]),
                        place_before=int(found.places_before[query, place]),
                    )
                places.append(hit)
            lists.append(tuple(places))
        return tuple(lists)

    @abstractmethod
    def rows(
        self, numbers: Sequence[int] | None = None, *, fresh: bool = True
    ) -> Iterator[StoredRow]:
        """What is known of rows: of all by number, or of the given ones in their order.

        Numbers of rows that the gallery does not hold (any more) are passed over.

        Args:
            numbers: row numbers; None for all.
            fresh: False for rows that a search of this gallery has just given: a server need not
                wait for its newest writes a second time.
        """

    @abstractmethod
    def vectors(self, numbers: Sequence[int], *, fresh: bool = True) -> NDArray[np.float32]:
        """The vectors that decide the order of a search, of given rows in their order.

        Args:
            numbers: row numbers that the gallery holds, in any order, also repeated.
            fresh: as of `rows`.

        Returns:
            float32 [n, D].

        Raises:
            GalleryError: a row that the gallery does not hold (any more), or that is damaged.
        """

    @abstractmethod
    def summary(self) -> GallerySummary:
        """What it holds, in numbers; reads no vectors."""

    @abstractmethod
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

    @abstractmethod
    def compact(self) -> Compacted:
        """Take removed rows off the disk; row numbers stay.

        Raises:
            GalleryError: a row is missing or corrupted.
            ValueError: it was not opened for writing.
        """

    @abstractmethod
    def embeddings(self) -> Embeddings:
        """All rows in the order of their numbers, in memory.

        Raises:
            GalleryError: no row, or a row is missing or corrupted.
        """

    @abstractmethod
    def close(self) -> None:
        """Free it; closing twice is allowed."""
