"""What every kind of gallery refuses, and what it adds once only.

In: batches and queries. Out: nothing, or an error that says what to do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mtml_deploy.embed.embeddings import Embeddings, ModelIdentity
from mtml_deploy.errors import EmbeddingsError
from mtml_deploy.gallery.values import GalleryError, NewRows
from mtml_deploy.search.distances import NORM_LIMIT, squared_norms


def require_same_model(found: ModelIdentity, expected: ModelIdentity, what: str) -> None:
    """Refuse vectors of another model than a gallery's.

    Args:
        found: the model that made them.
        expected: the gallery's.
        what: what they are, for the text.

    Raises:
        EmbeddingsError: another model file, or a rounding that the gate has not passed.
    """
    if differing := found.difference(expected):
        raise EmbeddingsError(
            f"{what} cannot be used with this gallery: {differing}, the second is the gallery's; "
            "embed with the artifact the gallery was made for, or make another gallery"
        )


def always_exact(name: str) -> GalleryError:
    """The error that a gallery has no approximate index, and cannot have one.

    Args:
        name: of a gallery that is no collection on a server.
    """
    return GalleryError(
        f"{name} is always searched exactly, expected a collection on a Milvus server, which can "
        "have an approximate index: milvus://HOST:PORT/COLLECTION; leave out --approximate"
    )


def query_of(
    query: Embeddings | ArrayLike, model: ModelIdentity | None
) -> tuple[NDArray[np.float32], ModelIdentity]:
    """The vectors float32 of a query as a user gives it, and the model that made them.

    Raises:
        ValueError: numbers without a model.
    """
    if isinstance(query, Embeddings):
        return query.features, query.model
    if model is None:
        raise ValueError(
            "these numbers do not say which model made them, expected Embeddings or model=; pass "
            "the identity of the model that made them"
        )
    return np.asarray(query, dtype=np.float32), model


def require_query(
    query: NDArray[np.float32], model: ModelIdentity, expected: ModelIdentity
) -> None:
    """Refuse queries that cannot be compared with the rows of a gallery.

    Args:
        query: float32 [Q, D].
        model: the model that made them.
        expected: the gallery's.

    Raises:
        EmbeddingsError: another model's.
        ValueError: not [Q, D].
    """
    require_same_model(model, expected, "the query")
    if query.ndim != 2 or query.shape[1] != expected.dim:
        raise ValueError(f"query must be [Q, {expected.dim}], found {list(query.shape)}")


def require_range(new: NewRows) -> None:
    """Refuse vectors that have no order."""
    good = squared_norms(new.features) <= NORM_LIMIT**2  # false for NaN as well
    if not good.all():
        row = int(np.argmin(good))
        raise EmbeddingsError(
            f"the vector of {new.records[row].path} is not finite or longer than "
            f"{NORM_LIMIT:.0e}, expected what a sound model gives; embed it again, with an fp32 "
            "artifact if this one is not"
        )


def require_text(name: str, text: str, *, most_bytes: int, where: str) -> None:
    """Refuse a text that cannot be kept.

    Args:
        name: what it is, for the error.
        text: a path or a content.
        most_bytes: of it in UTF-8.
        where: what cannot keep a longer one, for the error.

    Raises:
        GalleryError: too long, or not Unicode.
    """
    if not is_unicode(text):
        raise GalleryError(
            f"the {name} {text[:60]!r} is not Unicode text, expected what UTF-8 can write; rename "
            "the file"
        )
    size = len(text.encode())
    if size > most_bytes:
        raise GalleryError(
            f"the {name} {text[:60]!r}... has {size} bytes, expected at most {most_bytes} in "
            f"{where}; use a shorter one"
        )


def is_unicode(text: str) -> bool:
    """Whether UTF-8 can write a text; the name of a file need not be one."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def first_uses(contents: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Position and content of each content's first use."""
    seen = set()
    for position, content in enumerate(contents):
        if content not in seen:
            seen.add(content)
            yield position, content
