"""The gallery in a folder: vector files and the record of rows.

Order of every addition: the vectors, on disk; then the record, on disk; then the answer. A kill
between the first two leaves bytes that no record tells of, which the next writer cuts off.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mtml_deploy.defaults import TOP_K, StoredType
from mtml_deploy.embed.embeddings import Embeddings, ModelIdentity
from mtml_deploy.files import atomic_folder
from mtml_deploy.gallery.checks import (
    always_exact,
    first_uses,
    query_of,
    require_query,
    require_range,
    require_same_model,
    require_text,
)
from mtml_deploy.gallery.folder.compact import compact
from mtml_deploy.gallery.folder.export import export_embeddings
from mtml_deploy.gallery.folder.lock import LOCK_FILE, WriterLock
from mtml_deploy.gallery.folder.manifest import (
    GalleryManifest,
    load_manifest,
    save_manifest,
)
from mtml_deploy.gallery.folder.old_index import tell_of_old_index
from mtml_deploy.gallery.folder.reader import read_rows
from mtml_deploy.gallery.folder.rows import RowTable
from mtml_deploy.gallery.folder.schema import NewRow, Segment
from mtml_deploy.gallery.folder.search import search_segments
from mtml_deploy.gallery.folder.summary import summarize
from mtml_deploy.gallery.folder.vectors import crc32_of, cut_files, make_folder, require_folder
from mtml_deploy.gallery.folder.verify import verify
from mtml_deploy.gallery.folder.view import SegmentView, View
from mtml_deploy.gallery.folder.writer import SegmentWriter
from mtml_deploy.gallery.gallery import Gallery
from mtml_deploy.gallery.summary import GallerySummary
from mtml_deploy.gallery.values import (
    Added,
    Compacted,
    Filter,
    Finding,
    Hits,
    NewLabels,
    NewRows,
    Selection,
    StoredRow,
)

_MOST_TEXT: Final = 1 << 15
"""Bytes of a path, a URI or a content: systems and servers allow fewer."""


def create_folder_gallery(
    folder: Path, model: ModelIdentity, *, dtype: StoredType = "float32"
) -> None:
    """Make an empty gallery, whole or not at all.

    Args:
        folder: where; must not exist.
        model: the model whose embeddings it will hold.
        dtype: how they are kept; int8 adds codes that make a scan read a quarter and leaves the
            order that of the float32 vectors.

    Raises:
        OutputExistsError: `folder` exists.
    """
    with atomic_folder(folder) as temporary:
        save_manifest(temporary, GalleryManifest(model=model, dtype=dtype))
        make_folder(temporary)
        RowTable.create(temporary)


class FolderGallery(Gallery):
    """A `Gallery` in a folder on a local disk; its methods are described there."""

    def __init__(self, folder: Path, *, write: bool = False) -> None:
        """Open it.

        Args:
            folder: what `create_folder_gallery` made.
            write: take the writer lock and cut off what a killed writer left.

        Raises:
            GalleryError: no gallery there, a damaged one, or another process is writing.
        """
        self.folder = folder
        self.manifest = load_manifest(folder)
        require_folder(folder)
        tell_of_old_index(folder)
        self._lock = WriterLock(folder / LOCK_FILE) if write else None
        try:
            self.table = RowTable(folder, self.model.dim, write=write)
            if write:
                committed = {part.number: part.rows for part in self.table.segments()}
                cut_files(folder, self.manifest, committed)
        except BaseException:
            if self._lock is not None:
                self._lock.close()
            raise
        self._writer = SegmentWriter(folder, self.manifest, self.table)
        self._view = View(folder, self.manifest)

    @property
    def model(self) -> ModelIdentity:
        """The one model whose embeddings it holds."""
        return self.manifest.model

    def __len__(self) -> int:
        return self.table.count()

    def add_rows(self, new: NewRows) -> Added:
        """See `Gallery.add_rows`."""
        self.require_writable()
        require_same_model(new.model, self.model, "this batch")
        require_range(new)
        for record in new.records:
            for name, text in (("path", record.path), ("content", record.content)):
                require_text(name, text, most_bytes=_MOST_TEXT, where="a gallery")
        contents = [record.content for record in new.records]
        with self.table.change():
            row_of = self.table.rows_of(contents)
            fresh = [i for i, content in first_uses(contents) if content not in row_of]
            first = self.table.take_rows(len(fresh))
            row_of |= {contents[i]: first + n for n, i in enumerate(fresh)}
            is_new = np.zeros(len(contents), dtype=np.bool_)
            is_new[fresh] = True
            done = 0
            while done < len(fresh):
                segment = self._writer.open_segment(new.features[fresh[done:]])
                chosen = fresh[done : done + self._writer.room(segment)]
                self._append(segment, new, chosen, first + done)
                done += len(chosen)
        rows = np.array([row_of[content] for content in contents], dtype=np.int64)
        return Added(rows, is_new)

    def holds(self, contents: Sequence[str]) -> Mapping[str, int]:
        """See `Gallery.holds`."""
        return self.table.rows_of(contents)

    def remove(self, selection: Selection) -> int:
        """See `Gallery.remove`."""
        self.require_writable()
        with self.table.change():
            count = self.table.mark_removed(selection)
            if count:
                self.table.count_rewrite()
        return count

    def relabel(self, rows: Sequence[int], labels: NewLabels) -> int:
        """See `Gallery.relabel`."""
        self.require_writable()
        with self.table.change():
            stored = [
                StoredRow(each.row, labels.of(each.record))
                for each in self.table.records(sorted(set(rows)))
            ]
            self.table.relabel(stored)
            if stored:
                self.table.count_rewrite()
        return len(stored)

    def search(
        self,
        query: Embeddings | ArrayLike,
        *,
        model: ModelIdentity | None = None,
        top_k: int = TOP_K,
        where: Filter = Filter(),  # noqa: B008 - frozen
        approximate: bool = False,
        memory_bytes: int | None = None,
    ) -> Hits:
        """See `Gallery.search`; `memory_bytes` as in `nearest_lists`."""
        if approximate:
            raise always_exact(str(self.folder))
        features, made_by = query_of(query, model)
        require_query(features, made_by, self.model)
        found = search_segments(
            self.segments(), features, top_k=top_k, where=where, memory_bytes=memory_bytes
        )
        self.require_unchanged(found.rows)
        return found

    def segments(self) -> tuple[SegmentView, ...]:
        """What a search sees now, of one moment."""
        self._view.refresh(self.table)
        return self._view.segments

    def require_unchanged(self, rows: NDArray[np.int64]) -> None:
        """Refuse rows that `segments` gave, any shape, whose vectors are not what was added.

        Raises:
            GalleryError: a row is corrupted.
        """
        self._view.require_unchanged(rows)

    def rows(
        self, numbers: Sequence[int] | None = None, *, fresh: bool = True
    ) -> Iterator[StoredRow]:
        """See `Gallery.rows`; always fresh."""
        return self.table.records(numbers)

    def vectors(self, numbers: Sequence[int], *, fresh: bool = True) -> NDArray[np.float32]:
        """See `Gallery.vectors`; always fresh."""
        return read_rows(self.folder, self.manifest, self.table, numbers)

    def summary(self) -> GallerySummary:
        """See `Gallery.summary`."""
        return summarize(self.folder, self.manifest, self.table)

    def verify(
        self, *, progress: Callable[[int, int], None] | None = None
    ) -> tuple[Finding, ...]:  # fmt: skip
        """See `Gallery.verify`."""
        return verify(self.folder, self.manifest, self.table, progress=progress)

    def compact(self) -> Compacted:
        """See `Gallery.compact`."""
        self.require_writable()
        return compact(self.folder, self.manifest, self.table)

    def embeddings(self) -> Embeddings:
        """See `Gallery.embeddings`."""
        return export_embeddings(self.folder, self.manifest, self.table)

    def close(self) -> None:
        """See `Gallery.close`."""
        self.table.close()
        if self._lock is not None:
            self._lock.close()

    def require_writable(self) -> None:
        """Refuse changes of a gallery that was opened for reading.

        Raises:
            ValueError: it was.
        """
        if self._lock is None:
            raise ValueError(f"{self.folder} was opened for reading; open it with write=True")

    def _append(self, segment: Segment, new: NewRows, chosen: list[int], first: int) -> None:
        """Write and record the chosen rows of a batch; the first gets the number `first`."""
        kept = np.ascontiguousarray(new.features[chosen])
        placed = self._writer.append(segment, kept)
        facts = zip(
            chosen,
            placed.slots,
            placed.norms.tolist(),
            placed.spread.tolist(),
            crc32_of(kept),
            strict=True,
        )
        self.table.insert(
            segment.number,
            [
                NewRow(first + n, slot, new.records[i], norm, spread, crc)
                for n, (i, slot, norm, spread, crc) in enumerate(facts)
            ],
        )
