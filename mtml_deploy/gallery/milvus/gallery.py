"""The gallery in a Milvus collection.

Order of every addition: the manifest takes the row numbers; then the rows, in parts that one call
can carry; then the answer. A kill between them leaves numbers that no row has, or a part of a
batch, whose images are passed over when they are added again.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from msgspec import structs
from numpy.typing import ArrayLike, NDArray

from mtml_deploy.defaults import TOP_K
from mtml_deploy.embed.embeddings import Embeddings, ModelIdentity
from mtml_deploy.gallery.checks import (
    always_exact,
    first_uses,
    query_of,
    require_query,
    require_range,
    require_same_model,
)
from mtml_deploy.gallery.export import labelled
from mtml_deploy.gallery.gallery import Gallery
from mtml_deploy.gallery.milvus.address import MilvusAddress
from mtml_deploy.gallery.milvus.client import RPC_BYTES, Collection
from mtml_deploy.gallery.milvus.entities import (
    IMAGES,
    Entity,
    entity_of,
    filter_expression,
    manifest_entity,
    number_expression,
    stored_row,
    text_expression,
)
from mtml_deploy.gallery.milvus.manifest import CollectionManifest
from mtml_deploy.gallery.milvus.rows import ASKED, CollectionRows
from mtml_deploy.gallery.milvus.schema import (
    APPROXIMATE,
    EXACT,
    MISSING,
    change_index,
    exists,
    index_kind,
    load,
    require_fields,
    require_gallery,
)
from mtml_deploy.gallery.milvus.search import approximate_rows, nearest_rows
from mtml_deploy.gallery.milvus.summary import summarize_collection
from mtml_deploy.gallery.milvus.verify import verify_collection
from mtml_deploy.gallery.summary import GallerySummary
from mtml_deploy.gallery.tuning import Tuning
from mtml_deploy.gallery.values import (
    Added,
    Compacted,
    Filter,
    Finding,
    GalleryBusyError,
    GalleryError,
    Hits,
    NewLabels,
    NewRows,
    Selection,
    StoredRow,
)
from mtml_deploy.search.distances import require_features


class MilvusGallery(Gallery):
    """A `Gallery` in a Milvus collection; its methods are described there."""

    def __init__(
        self, address: MilvusAddress, *, write: bool = False, any_index: bool = False
    ) -> None:
        """Open it.

        Args:
            address: what `create_milvus_gallery` made.
            write: become its one writer; who was it before is refused from now on.
            any_index: also where the index is missing or another, to make it anew.

        Raises:
            GalleryError: no server or gallery there, or a collection that is none.
            MissingExtraError: the client library is not installed.
        """
        if address.folder is not None and not address.folder.exists():
            raise _absent(address)
        self.collection = Collection(address)
        self._writer = secrets.token_hex(8) if write else ""
        try:
            if not exists(self.collection):
                raise _absent(address)
            if any_index:
                require_fields(self.collection)
                if index_kind(self.collection) == MISSING:
                    change_index(self.collection, EXACT)
            else:
                require_gallery(self.collection)
            load(self.collection)
            self.table = CollectionRows(self.collection)
            if write:
                manifest = structs.replace(self.table.manifest(), writer=self._writer)
                self.collection.put([manifest_entity(manifest)])
        except BaseException:
            self.collection.close()
            raise

    @property
    def model(self) -> ModelIdentity:
        """The one model whose embeddings it holds."""
        return self.table.model

    @property
    def name(self) -> str:
        """As the user wrote it."""
        return self.collection.name

    def __len__(self) -> int:
        return self.collection.count(IMAGES)

    def add_rows(self, new: NewRows) -> Added:
        """See `Gallery.add_rows`; readers may see a part of a batch that one call cannot carry."""
        self._require_writable()
        require_same_model(new.model, self.model, "this batch")
        require_range(new)
        contents = [record.content for record in new.records]
        manifest = self._own_manifest()
        row_of = self.table.rows_of(contents, fresh=False)
        fresh = [i for i, content in first_uses(contents) if content not in row_of]
        if fresh:
            entities = [
                entity_of(manifest.next_row + n, new.records[i], new.features[i])
                for n, i in enumerate(fresh)
            ]
            taken = structs.replace(manifest, next_row=manifest.next_row + len(fresh))
            self.collection.put([manifest_entity(taken)])
            for part in self._parts(entities):
                self.collection.insert(part)
            row_of |= {contents[i]: manifest.next_row + n for n, i in enumerate(fresh)}
        is_new = np.zeros(len(contents), dtype=np.bool_)
        is_new[fresh] = True
        return Added(np.array([row_of[content] for content in contents], dtype=np.int64), is_new)

    def holds(self, contents: Sequence[str]) -> Mapping[str, int]:
        """See `Gallery.holds`."""
        return self.table.rows_of(contents)

    def remove(self, selection: Selection) -> int:
        """See `Gallery.remove`."""
        self._require_writable()
        self._own_manifest()
        count = 0
        for expression in _selected(selection):
            while True:
                found = self.collection.query(expression, (), limit=ASKED)
                rows = [entity["row"] for entity in found]
                if rows:
                    self.collection.delete(rows)
                count += len(rows)
                if len(rows) < ASKED:
                    break
        return count

    def relabel(self, rows: Sequence[int], labels: NewLabels) -> int:
        """See `Gallery.relabel`; a kill may leave some of the rows as they were."""
        self._require_writable()
        self._own_manifest()
        stored = list(self.rows(sorted(set(rows))))
        vectors = self.vectors([each.row for each in stored])
        entities = [
            entity_of(each.row, labels.of(each.record), vector)
            for each, vector in zip(stored, vectors, strict=True)
        ]
        for part in self._parts(entities):
            self.collection.put(part)
        return len(stored)

    def search(
        self,
        query: Embeddings | ArrayLike,
        *,
        model: ModelIdentity | None = None,
        top_k: int = TOP_K,
        where: Filter = Filter(),  # noqa: B008 - frozen
        approximate: bool = False,
    ) -> Hits:
        """See `Gallery.search`; as exact as in a folder, several queries a call."""
        tuning = self.tuning if approximate else None
        if not approximate:
            self._require_exact()
        features, made_by = query_of(query, model)
        require_query(features, made_by, self.model)
        if top_k < 1:
            raise ValueError(f"top_k must be at least 1, found {top_k}")
        require_features("query", features)
        expression = filter_expression(where)
        if expression is None or not len(features):
            return Hits(
                np.empty((len(features), 0), np.int64), np.empty((len(features), 0), np.float32)
            )
        found = (
            nearest_rows(self.table, features, top_k=top_k, expression=expression)
            if tuning is None
            else approximate_rows(
                self.table, features, top_k=top_k, expression=expression, ef=tuning.ef
            )
        )
        # rows may have come or gone between two calls; a graph may find fewer for one query
        length = min(len(rows) for rows, _ in found)
        return Hits(
            np.stack([rows[:length] for rows, _ in found]),
            np.sqrt(np.stack([exact[:length] for _, exact in found])).astype(np.float32),
        )

    @property
    def tuning(self) -> Tuning:
        """Of its approximate index, read anew.

        Raises:
            GalleryError: it has no such index, or one that was not tuned.
        """
        self.require_approximate()
        tuning = self.table.manifest().tuning
        if tuning is None:
            raise GalleryError(
                f"the index of {self.name} is not tuned, so what it misses is unknown; measure "
                f"it: mtml-deploy gallery tune {self.name}"
            )
        return tuning

    def require_approximate(self) -> None:
        """Refuse a gallery that has no approximate index.

        Raises:
            GalleryError: it has none.
        """
        if self.collection.address.folder is not None:
            raise always_exact(self.name)
        if index_kind(self.collection) != APPROXIMATE:
            raise GalleryError(
                f"{self.name} has no approximate index; build one: mtml-deploy gallery index "
                f"{self.name}, then mtml-deploy gallery tune {self.name}"
            )

    def make_index(
        self, *, exact: bool = False, progress: Callable[[int, int], None] | None = None
    ) -> None:
        """Make the server's index anew; nobody can search until it is there.

        Args:
            exact: the one that compares every vector, else the approximate one, not tuned yet.
            progress: called with (rows in the index, rows).

        Raises:
            GalleryError: milvus-lite, or the server fails.
            ValueError: it was not opened for writing.
        """
        self._require_writable()
        if self.collection.address.folder is not None:
            raise always_exact(self.name)
        self.set_tuning(None)
        kind = EXACT if exact else APPROXIMATE
        change_index(self.collection, kind, progress=progress)

    def set_tuning(self, tuning: Tuning | None) -> None:
        """Keep what an index was measured to miss.

        Raises:
            GalleryError: another process has become the writer.
            ValueError: it was not opened for writing.
        """
        self._require_writable()
        self.collection.put([manifest_entity(structs.replace(self._own_manifest(), tuning=tuning))])

    def rows(
        self, numbers: Sequence[int] | None = None, *, fresh: bool = True
    ) -> Iterator[StoredRow]:
        """See `Gallery.rows`."""
        return self.table.records(numbers, fresh=fresh)

    def vectors(self, numbers: Sequence[int], *, fresh: bool = True) -> NDArray[np.float32]:
        """See `Gallery.vectors`."""
        return self.table.vectors(numbers, fresh=fresh)

    def summary(self) -> GallerySummary:
        """See `Gallery.summary`."""
        return summarize_collection(self.table)

    def verify(
        self, *, progress: Callable[[int, int], None] | None = None
    ) -> tuple[Finding, ...]:  # fmt: skip
        """See `Gallery.verify`."""
        return verify_collection(self.table, progress=progress)

    def compact(self) -> Compacted:
        """See `Gallery.compact`; the server does it later."""
        self._require_writable()
        self.collection.compact()
        return Compacted(dropped=None, kept=len(self))

    def embeddings(self) -> Embeddings:
        """See `Gallery.embeddings`."""
        features, stored = [], []
        for part in self.table.whole():
            features.append(self.table.checked(part))
            stored += [stored_row(entity).record for entity in part]
        if not stored:
            raise GalleryError(f"{self.name} holds no rows to export; add images first")
        return labelled(np.concatenate(features), stored, name=self.name, model=self.model)

    def close(self) -> None:
        """See `Gallery.close`."""
        self.collection.close()

    def _require_exact(self) -> None:
        """Refuse to search exactly by an index that may miss rows."""
        kind = index_kind(self.collection)
        if kind != EXACT:
            raise GalleryError(
                f"{self.name} has the approximate index {kind}, so it cannot be searched exactly; "
                "add --approximate, or give it the exact index again: "
                f"mtml-deploy gallery index {self.name} --exact"
            )

    def _require_writable(self) -> None:
        """Refuse changes of a gallery that was opened for reading."""
        if not self._writer:
            raise ValueError(f"{self.name} was opened for reading; open it with write=True")

    def _own_manifest(self) -> CollectionManifest:
        """The manifest, of which this is still the writer; its next number is free."""
        manifest = self.table.manifest()
        if manifest.writer != self._writer:
            raise GalleryBusyError(
                f"{self.name} was opened for writing by another process, expected one at a time; "
                "wait until it has finished and start this command again: what was added is kept"
            )
        # a manifest that was restored, or written by two at once, may be behind the rows
        while beyond := self.collection.query(
            f"row >= {manifest.next_row}", (), limit=ASKED, fresh=False
        ):
            manifest = structs.replace(manifest, next_row=beyond[-1]["row"] + 1)
        return manifest

    def _parts(self, entities: Sequence[Entity]) -> Iterator[Sequence[Entity]]:
        """Entities in parts that one call can carry."""
        step = max(1, RPC_BYTES // self.table.entity_bytes)
        for start in range(0, len(entities), step):
            yield entities[start : start + step]


def _absent(address: MilvusAddress) -> GalleryError:
    """The error that there is no gallery."""
    return GalleryError(
        f"there is no gallery {address.text}; make one with mtml-deploy gallery create "
        f"{address.text} MODEL"
    )


def _selected(selection: Selection) -> Iterator[str]:
    """Expressions whose rows, taken together, are a selection."""
    for field, numbers in (("row", selection.rows), ("vehicle_id", selection.vehicles)):
        for start in range(0, len(numbers), ASKED):
            expression = number_expression(field, numbers[start : start + ASKED])
            if expression is not None:
                yield expression
    for start in range(0, len(selection.paths), ASKED):
        expression = text_expression("path", selection.paths[start : start + ASKED])
        if expression is not None:
            yield expression
