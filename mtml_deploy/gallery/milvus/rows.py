"""Reading rows of a collection, in parts that one answer can carry."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.gallery.milvus.client import RPC_BYTES, Collection, Proposal
from mtml_deploy.gallery.milvus.entities import (
    IMAGES,
    RECORD_BYTES,
    RECORD_FIELDS,
    Entity,
    number_expression,
    stored_row,
    text_expression,
    vector_crc,
    vectors_of,
)
from mtml_deploy.gallery.milvus.manifest import MANIFEST_ROW, CollectionManifest, parse_manifest
from mtml_deploy.gallery.values import GalleryError, StoredRow
from mtml_deploy.search.distances import squared_distances

ASKED: Final = 1000
"""Values named in one expression: the server parses it as text."""

VectorPart = tuple[NDArray[np.int64], NDArray[np.float32]]
"""Ascending row numbers [n] and their vectors [n, D]."""


@dataclass(frozen=True)
class Candidates:
    """What may be the nearest rows of one query.

    Attributes:
        rows: int64 [n], in any order; rows that were removed meanwhile are left out.
        exact: float64 [n], squared distances to the stored vectors.
        reported: float64 [m], the squared distances that the server told of all it found.
    """

    rows: NDArray[np.int64]
    exact: NDArray[np.float64]
    reported: NDArray[np.float64]


class CollectionRows:
    """The rows of an open collection that is a gallery."""

    def __init__(self, collection: Collection) -> None:
        """Read whose vectors it holds.

        Raises:
            GalleryError: it has no manifest, or a damaged one.
        """
        self.collection = collection
        self.model = self.manifest().model
        self.vector_bytes = 4 * self.model.dim
        """Of one vector."""

    def manifest(self) -> CollectionManifest:
        """What the collection says of itself now.

        Raises:
            GalleryError: it has no manifest, or a damaged one.
        """
        found = self.collection.query(f"row == {MANIFEST_ROW}", ("path",))
        if not found:
            raise GalleryError(
                f"{self.collection.name} has no card (row {MANIFEST_ROW}), expected what "
                "mtml-deploy gallery create writes; restore the collection from a backup"
            )
        return parse_manifest(found[0]["path"], self.collection.name)

    def rows_of(self, contents: Sequence[str], *, fresh: bool = True) -> dict[str, int]:
        """Content -> its row, for those that it holds; `fresh` as of `Collection.query`."""
        found: dict[str, int] = {}
        different = list(dict.fromkeys(contents))
        for start in range(0, len(different), ASKED):
            expression = text_expression("content", different[start : start + ASKED])
            if expression is not None:
                for entity in self.collection.query(expression, ("content",), fresh=fresh):
                    found.setdefault(entity["content"], entity["row"])
                fresh = False
        return found

    def records(self, numbers: Sequence[int] | None, *, fresh: bool = True) -> Iterator[StoredRow]:
        """See `Gallery.rows`."""
        if numbers is None:
            for part in self.windows(RECORD_FIELDS, row_bytes=RECORD_BYTES):
                yield from map(stored_row, part)
            return
        for start in range(0, len(numbers), ASKED):
            asked = numbers[start : start + ASKED]
            expression = number_expression("row", asked)
            if expression is not None:
                found = self.collection.query(expression, RECORD_FIELDS, fresh=fresh)
                fresh = False
                known = {entity["row"]: entity for entity in found}
                yield from (stored_row(known[row]) for row in asked if row in known)

    def vectors(self, numbers: Sequence[int], *, fresh: bool = True) -> NDArray[np.float32]:
        """See `Gallery.vectors`."""
        wanted = np.array(numbers, dtype=np.int64)
        features = np.empty((len(wanted), self.model.dim), dtype=np.float32)
        missing = np.ones(len(wanted), dtype=np.bool_)
        for rows, part in self._vector_parts(np.unique(wanted), fresh=fresh):
            if len(rows):
                place = np.minimum(np.searchsorted(rows, wanted), len(rows) - 1)
                here = rows[place] == wanted
                features[here] = part[place[here]]
                missing &= ~here
        if missing.any():
            raise GalleryError(
                f"{self.collection.name} does not hold row {wanted[missing][0]}, expected rows "
                "that were not removed; search again"
            )
        return features

    def nearest_candidates(
        self,
        points: NDArray[np.float32],
        expression: str,
        *,
        limit: int,
        fresh: bool,
        ef: int | None = None,
        kept: int | None = None,
    ) -> list[Candidates]:
        """Rows that the server finds near some points, measured again in float64.

        Args:
            points: float32 [Q, D], Q at most `queries_at_once`.
            expression: which rows are looked at.
            limit: rows wanted for each.
            fresh: see `Collection.query`.
            ef: see `Collection.search`.
            kept: measure the nearest so many alone; None measures all.
        """
        kept = limit if kept is None else kept
        # else the vectors come by parts, and only those that are measured
        carried = kept == limit and limit * self.vector_bytes <= RPC_BYTES
        proposals = self.collection.search(
            points,
            expression,
            limit=limit,
            fields=("vector", "crc") if carried else (),
            fresh=fresh,
            ef=ef,
        )
        if kept < limit:
            return self._kept_alone(points, proposals, kept)
        found = []
        for point, proposal in zip(points, proposals, strict=True):
            rows = np.array([entity["row"] for entity in proposal.entities], dtype=np.int64)
            if carried:
                features = self.checked(proposal.entities)
                exact = squared_distances(point, features, np.arange(len(rows)))
            else:
                rows, exact = self._measured(point, np.sort(rows))
            found.append(Candidates(rows, exact, proposal.distances))
        return found

    def _kept_alone(
        self, points: NDArray[np.float32], proposals: Sequence[Proposal], kept: int
    ) -> list[Candidates]:
        """The nearest of many proposals measured; each row is read once for all points."""
        rows_of = [
            np.array([entity["row"] for entity in proposal.entities[:kept]], dtype=np.int64)
            for proposal in proposals
        ]
        numbers, features = [np.empty(0, np.int64)], [np.empty((0, self.model.dim), np.float32)]
        for part in self._vector_parts(np.unique(np.concatenate(rows_of)), fresh=False):
            numbers.append(part[0])
            features.append(part[1])
        there, vectors = np.concatenate(numbers), np.concatenate(features)
        found = []
        for point, rows, proposal in zip(points, rows_of, proposals, strict=True):
            left = rows[np.isin(rows, there)]
            exact = squared_distances(point, vectors, np.searchsorted(there, left))
            found.append(Candidates(left, exact, proposal.distances))
        return found

    def _measured(
        self, point: NDArray[np.float32], rows: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Those of the ascending rows that are there, and their distances, part by part."""
        kept, exact = [np.empty(0, np.int64)], [np.empty(0, np.float64)]
        for numbers, features in self._vector_parts(rows, fresh=False):
            kept.append(numbers)
            exact.append(squared_distances(point, features, np.arange(len(features))))
        return np.concatenate(kept), np.concatenate(exact)

    def windows(
        self, fields: Sequence[str], *, row_bytes: int, expression: str = IMAGES
    ) -> Iterator[list[Entity]]:
        """Rows of images by number.

        A part is a range of numbers, so that it needs no order from the server.

        Args:
            fields: what is wanted of each row.
            row_bytes: most bytes of one row.
            expression: which rows.
        """
        stop = self.manifest().next_row
        step = max(1, RPC_BYTES // row_bytes)
        for first in range(MANIFEST_ROW + 1, stop, step):
            last = min(first + step, stop) - 1
            yield self.collection.query(
                f"row >= {first} and row <= {last} and {expression}", fields, fresh=False
            )

    def whole(self) -> Iterator[list[Entity]]:
        """All rows of images by number, with every field."""
        fields = (*RECORD_FIELDS, "vector", "crc")
        return self.windows(fields, row_bytes=self.entity_bytes)

    @property
    def entity_bytes(self) -> int:
        """Most bytes of one row with every field."""
        return RECORD_BYTES + self.vector_bytes

    def checked(self, entities: Sequence[Entity]) -> NDArray[np.float32]:
        """Vectors [n, D] of entities that have `vector` and `crc`, equal to what was added.

        Raises:
            GalleryError: one is not; the text names its row.
        """
        features = vectors_of(entities, self.model.dim)
        for entity, vector in zip(entities, features, strict=True):
            if entity["crc"] != vector_crc(vector):
                name = self.collection.name
                raise GalleryError(
                    f"row {entity['row']} of {name} is corrupted: its vector differs from its "
                    f"checksum; run mtml-deploy gallery verify {name}, then remove the rows it "
                    "names and add their images again"
                )
        return features

    def _vector_parts(self, rows: NDArray[np.int64], *, fresh: bool) -> Iterator[VectorPart]:
        """Those of the ascending rows that are there, with their vectors, part by part."""
        step = max(1, min(ASKED, RPC_BYTES // self.vector_bytes))
        for start in range(0, len(rows), step):
            expression = number_expression("row", rows[start : start + step].tolist())
            if expression is not None:
                found = self.collection.query(expression, ("vector", "crc"), fresh=fresh)
                fresh = False
                numbers = np.array([entity["row"] for entity in found], dtype=np.int64)
                yield numbers, self.checked(found)
