"""The gallery in a folder: vector files and the record of rows.

Order of every addition: the vectors, on disk; then the record, on disk; then the answer. A kill
between the first two leaves bytes that no record tells of, which the next writer cuts off.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.bounds import spread_about
from mtml_deploy.distances import NORM_LIMIT, squared_norms
from mtml_deploy.embeddings import ModelIdentity
from mtml_deploy.errors import EmbeddingsError
from mtml_deploy.files import atomic_folder
from mtml_deploy.gallery.header import (
    GalleryHeader,
    StoredType,
    load_header,
    require_same_model,
    save_header,
)
from mtml_deploy.gallery.lock import WriterLock
from mtml_deploy.gallery.records import Added, Filter, Hits, NewRows, Selection, StoredRow
from mtml_deploy.gallery.row_schema import NewRow, Segment
from mtml_deploy.gallery.rows import RowTable
from mtml_deploy.gallery.search import search_segments
from mtml_deploy.gallery.segments import (
    Stored,
    crc32_of,
    create_segment,
    cut_files,
    make_folder,
    segment_state,
    to_stored,
    write_rows,
)
from mtml_deploy.gallery.view import View

SEGMENT_BYTES: Final = 1 << 28
"""Vectors of one file (256 MiB): few files, and numbers that are cheap to extend."""

_LOCK: Final = "writer.lock"


def create_gallery(folder: Path, model: ModelIdentity, *, dtype: StoredType = "float32") -> None:
    """Make an empty gallery, whole or not at all.

    Args:
        folder: where; must not exist.
        model: the model whose embeddings it will hold.
        dtype: how they are kept; float16 halves the disk and rounds every value.

    Raises:
        OutputExistsError: `folder` exists.
    """
    with atomic_folder(folder) as temporary:
        save_header(temporary, GalleryHeader(model=model, dtype=dtype))
        make_folder(temporary)
        RowTable.create(temporary)


class FolderGallery:
    """A `Gallery` in a folder on a local disk; its methods are described there."""

    def __init__(self, folder: Path, *, write: bool = False) -> None:
        """Open it.

        Args:
            folder: what `create_gallery` made.
            write: take the writer lock and cut off what a killed writer left.

        Raises:
            GalleryError: no gallery there, a damaged one, or another process is writing.
        """
        self.folder = folder
        self.header = load_header(folder)
        self._lock = WriterLock(folder / _LOCK) if write else None
        try:
            self.table = RowTable(folder, write=write)
            if write:
                committed = {part.number: part.rows for part in self.table.segments()}
                cut_files(folder, self.header, committed)
        except BaseException:
            if self._lock is not None:
                self._lock.close()
            raise
        self._view = View(folder, self.header)

    @property
    def model(self) -> ModelIdentity:
        """The one model whose embeddings it holds."""
        return self.header.model

    def __len__(self) -> int:
        return self.table.count()

    def add(self, new: NewRows) -> Added:
        """See `Gallery.add`."""
        self.require_writable()
        require_same_model(new.model, self.model, "this batch")
        _require_range(new)
        stored = to_stored(new.features, self.header)
        contents = [record.content for record in new.records]
        with self.table.change():
            row_of = self.table.rows_of(contents)
            fresh = [i for i, content in _first_uses(contents) if content not in row_of]
            first = self.table.take_rows(len(fresh))
            row_of |= {contents[i]: first + n for n, i in enumerate(fresh)}
            is_new = np.zeros(len(contents), dtype=np.bool_)
            is_new[fresh] = True
            done = 0
            while done < len(fresh):
                segment = self.open_segment(stored[fresh[done:]])
                chosen = fresh[done : done + self._room(segment)]
                self._append(segment, new, stored, chosen, first + done)
                done += len(chosen)
        rows = np.array([row_of[content] for content in contents], dtype=np.int64)
        return Added(rows, is_new)

    def holds(self, contents: Sequence[str]) -> frozenset[str]:
        """See `Gallery.holds`."""
        return frozenset(self.table.rows_of(contents))

    def remove(self, selection: Selection) -> int:
        """See `Gallery.remove`."""
        self.require_writable()
        with self.table.change():
            count = self.table.mark_removed(selection)
            if count:
                self.table.count_rewrite()
        return count

    def search(
        self,
        query: NDArray[np.float32],
        *,
        model: ModelIdentity,
        top_k: int,
        where: Filter = Filter(),  # noqa: B008 - frozen
    ) -> Hits:
        """See `Gallery.search`."""
        require_same_model(model, self.model, "the query")
        if query.ndim != 2 or query.shape[1] != self.model.dim:
            raise ValueError(f"query must be [Q, {self.model.dim}], found {list(query.shape)}")
        self._view.refresh(self.table)
        return search_segments(self._view.segments, query, top_k=top_k, where=where)

    def rows(self, numbers: Sequence[int] | None = None) -> Iterator[StoredRow]:
        """See `Gallery.rows`."""
        return self.table.records(numbers)

    def close(self) -> None:
        """See `Gallery.close`."""
        self.table.close()
        if self._lock is not None:
            self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def require_writable(self) -> None:
        """Refuse changes of a gallery that was opened for reading.

        Raises:
            ValueError: it was.
        """
        if self._lock is None:
            raise ValueError(f"{self.folder} was opened for reading; open it with write=True")

    def open_segment(self, coming: Stored, *, new: bool = False) -> Segment:
        """The segment that the next rows go to; inside a change.

        Args:
            coming: [n, D], those rows; their mean becomes the centre of a new segment.
            new: begin one in any case.

        Returns:
            One that has room for at least one row.
        """
        segments = self.table.segments()
        if segments and not new and self._room(segments[-1]) > 0:
            # nothing is appended to a file that was damaged: the gap would look like rows
            state = segment_state(self.folder, segments[-1].number, self.header)
            if not state.fault and state.rows >= segments[-1].rows:
                return segments[-1]
        number = self.table.take_segment()
        create_segment(self.folder, number, self.header)
        return Segment(number, 0, coming.mean(axis=0, dtype=np.float64))

    def append_stored(self, segment: Segment, stored: Stored) -> tuple[range, NDArray[np.float32]]:
        """Write vectors [n, D] behind those of a segment; inside a change.

        Returns:
            Their slots, and their float32 [n] `spread_about` the segment's centre.
        """
        slots = range(segment.rows, segment.rows + len(stored))
        write_rows(self.folder, segment.number, self.header, first=slots.start, stored=stored)
        self.table.put_segment(Segment(segment.number, slots.stop, segment.centre))
        return slots, spread_about(stored.astype(np.float32, copy=False), segment.centre)

    @property
    def segment_rows(self) -> int:
        """Rows that one segment takes."""
        return max(1, SEGMENT_BYTES // self.header.row_bytes)

    def _room(self, segment: Segment) -> int:
        """How many more rows a segment takes."""
        return self.segment_rows - segment.rows

    def _append(
        self, segment: Segment, new: NewRows, stored: Stored, chosen: list[int], first: int
    ) -> None:
        """Write and record the chosen rows of a batch; the first gets the number `first`."""
        kept = np.ascontiguousarray(stored[chosen])
        slots, spread = self.append_stored(segment, kept)
        norms = np.sqrt(squared_norms(kept.astype(np.float32, copy=False))).astype(np.float32)
        self.table.insert(
            segment.number,
            (
                NewRow(first + n, slots[n], new.records[i], float(norms[n]), float(spread[n]), crc)
                for n, (i, crc) in enumerate(zip(chosen, crc32_of(kept), strict=True))
            ),
        )


def _first_uses(contents: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Position and content of each content's first use."""
    seen = set()
    for position, content in enumerate(contents):
        if content not in seen:
            seen.add(content)
            yield position, content


def _require_range(new: NewRows) -> None:
    """Refuse vectors that have no order."""
    good = squared_norms(new.features) <= NORM_LIMIT**2  # false for NaN as well
    if not good.all():
        row = int(np.argmin(good))
        raise EmbeddingsError(
            f"the vector of {new.records[row].path} is not finite or longer than "
            f"{NORM_LIMIT:.0e}, expected what a sound model gives; embed it again, with an fp32 "
            "artifact if this one is not"
        )
