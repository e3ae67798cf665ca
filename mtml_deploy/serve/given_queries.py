"""Queries that are no images: rows of the gallery, or vectors that the client has.

In: values in JSON. Out: rows to search with.
"""

from __future__ import annotations

import base64
import binascii
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
from numpy.typing import NDArray

from mtml_deploy.data.records import ImageRecord
from mtml_deploy.embed.embeddings import Embeddings, ModelIdentity
from mtml_deploy.gallery.gallery import Gallery
from mtml_deploy.search.distances import NORM_LIMIT
from mtml_deploy.serve.api_error import ApiError

MOST_QUERIES = 64
"""In one request."""

_Row = Annotated[int, msgspec.Meta(ge=1, le=(1 << 63) - 1)]


class GivenQueries(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is looked for: one of the two.

    Attributes:
        rows: numbers of rows of the gallery: more like these.
        embeddings: base64 of D float32, little-endian, or D numbers, each.
    """

    rows: Annotated[list[_Row], msgspec.Meta(max_length=MOST_QUERIES)] = []
    embeddings: Annotated[list[str | list[float]], msgspec.Meta(max_length=MOST_QUERIES)] = []

    def require_one(self) -> None:
        """Refuse none and both.

        Raises:
            ApiError: 422.
        """
        if bool(self.rows) == bool(self.embeddings):
            raise ApiError(422, "expected rows or embeddings, one of the two; say what to look for")

    def vectors(self, model: ModelIdentity) -> NDArray[np.float32] | None:
        """The vectors that were given, float32 [N, D]; None where rows are named.

        Raises:
            ApiError: one that is no vector of the model.
        """
        if not self.embeddings:
            return None
        found = [_vector(place, given, model.dim) for place, given in enumerate(self.embeddings)]
        return np.stack(found)

    def queries(
        self, gallery: Gallery, given: NDArray[np.float32] | None, model: ModelIdentity
    ) -> Embeddings:
        """The rows to search with.

        Raises:
            ApiError: 404 where the gallery does not hold one.
        """
        if given is not None:
            names = [f"embedding {place}" for place in range(len(given))]
            return _named(given, names, model)
        held = {stored.row for stored in gallery.rows(self.rows)}
        for row in self.rows:
            if row not in held:
                raise ApiError(404, f"the gallery has no row {row}", code="no_row")
        return _named(gallery.vectors(self.rows), [f"row {row}" for row in self.rows], model)


def _named(features: NDArray[np.float32], names: list[str], model: ModelIdentity) -> Embeddings:
    """Rows without labels."""
    return Embeddings.of(
        features,
        [ImageRecord(Path(name)) for name in names],
        names=names,
        model=model,
        source="a request",
    )


def _vector(place: int, given: str | list[float], dim: int) -> NDArray[np.float32]:
    """One vector, float32 [D]."""
    try:
        row = (
            np.frombuffer(base64.b64decode(given, validate=True), "<f4")
            if isinstance(given, str)
            else np.array(given, np.float64).astype(np.float32)
        )
    except (binascii.Error, ValueError) as error:
        raise ApiError(
            422, f"embedding {place} is not base64 of float32 ({error}); encode it again"
        ) from error
    if row.shape != (dim,):
        raise ApiError(
            422, f"embedding {place} has {row.size} numbers, expected {dim}, as this model gives"
        )
    if not np.linalg.norm(row.astype(np.float64)) <= NORM_LIMIT:  # false for NaN as well
        raise ApiError(
            422, f"embedding {place} is not finite or longer than {NORM_LIMIT:.0e}; embed it again"
        )
    return row.astype(np.float32)
