"""How a row is kept in a collection, and how rows are asked for.

One entity per row: its number, its vector and what is known of it, all in fields of their own, so
that the server filters before it searches.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Sequence
from typing import Final, Literal, TypedDict

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.data.clock import UNKNOWN_TIME
from mtml_deploy.data.ids import NamedId, named, texts_of
from mtml_deploy.gallery.checks import is_unicode, require_text
from mtml_deploy.gallery.milvus.manifest import MANIFEST_ROW, CollectionManifest, manifest_text
from mtml_deploy.gallery.values import Filter, GalleryError, RowRecord, StoredRow
from mtml_deploy.record_file import parse_plain

MAX_PATH_BYTES: Final = 8192
MAX_CONTENT_BYTES: Final = 512
"""Texts longer than these are refused; Milvus wants the limit when the collection is made."""
MAX_ID_TEXTS_BYTES: Final = 4096
"""Room for three ids of the longest text, each character of six bytes."""

IMAGES: Final = f"row > {MANIFEST_ROW}"
"""Expression that all rows but the manifest pass."""

FieldType = Literal["INT64", "INT8", "VARCHAR", "FLOAT_VECTOR"]

FIELDS: Final[dict[str, FieldType]] = {
    "row": "INT64",
    "vector": "FLOAT_VECTOR",
    "crc": "INT64",
    "path": "VARCHAR",
    "content": "VARCHAR",
    "vehicle_id": "INT64",
    "camera_id": "INT64",
    "orientation": "INT8",
    "tracklet_id": "INT64",
    "time_us": "INT64",
    "id_texts": "VARCHAR",
}
"""Name -> type; `row` is the primary key, `id_texts` a JSON list of those ids that are texts."""

RECORD_BYTES: Final = 16384
"""Most that all of one row but its vector takes in a call, generously."""

TEXT_BYTES: Final = {
    "path": MAX_PATH_BYTES,
    "content": MAX_CONTENT_BYTES,
    "id_texts": MAX_ID_TEXTS_BYTES,
}
"""Longest text of each field of texts."""

LOOKED_UP: Final = ("path", "content", "vehicle_id")
"""Fields that rows are looked up by: they get an index."""

RECORD_FIELDS: Final = tuple(name for name in FIELDS if name not in ("vector", "crc"))

_ESCAPES: Final = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"})
"""What a text between double quotes cannot hold as it is."""

_INT64: Final = 1 << 63
_INT8: Final = 1 << 7


class Entity(TypedDict, total=False):
    """Fields of one row, all or those that were asked for."""

    row: int
    vector: NDArray[np.float32] | list[float]
    crc: int
    path: str
    content: str
    vehicle_id: int
    camera_id: int
    orientation: int
    tracklet_id: int
    time_us: int
    id_texts: str


def entity_of(row: int, record: RowRecord, vector: NDArray[np.float32]) -> Entity:
    """All fields of a row.

    Args:
        row: its number.
        record: what is known of it.
        vector: float32 [D].

    Raises:
        GalleryError: a text that is too long or is not Unicode.
    """
    texts = texts_of((record.vehicle_id, record.camera_id, record.tracklet_id))
    id_texts = json.dumps(sorted(texts.values()), ensure_ascii=False) if texts else ""
    for name, text in (
        ("path", record.path),
        ("content", record.content),
        ("id_texts", id_texts),
    ):
        require_text(name, text, most_bytes=TEXT_BYTES[name], where="a Milvus collection")
    return Entity(
        row=row,
        vector=vector,
        crc=vector_crc(vector),
        path=record.path,
        content=record.content,
        vehicle_id=int(record.vehicle_id),
        camera_id=int(record.camera_id),
        orientation=record.orientation,
        tracklet_id=int(record.tracklet_id),
        time_us=UNKNOWN_TIME if record.time_us is None else record.time_us,
        id_texts=id_texts,
    )


def manifest_entity(manifest: CollectionManifest) -> Entity:
    """The entity that holds the manifest; every entity must have a vector."""
    nothing = np.zeros(manifest.model.dim, dtype=np.float32)
    return entity_of(MANIFEST_ROW, RowRecord(path=manifest_text(manifest), content="card"), nothing)


def stored_row(entity: Entity) -> StoredRow:
    """The row of an entity that has `RECORD_FIELDS`.

    Raises:
        GalleryError: labels that no row of this program has.
    """
    time_us = entity["time_us"]
    try:
        texts = id_texts_of(entity)
        record = RowRecord(
            path=entity["path"],
            content=entity["content"],
            vehicle_id=named(entity["vehicle_id"], texts),
            camera_id=named(entity["camera_id"], texts),
            orientation=entity["orientation"],
            tracklet_id=named(entity["tracklet_id"], texts),
            time_us=None if time_us == UNKNOWN_TIME else time_us,
        )
    except ValueError as error:
        raise _foreign(entity["row"], error) from error
    return StoredRow(entity["row"], record)


def id_texts_of(entity: Entity) -> dict[int, str]:
    """The texts of the ids of an entity that has `id_texts`, by their numbers.

    Raises:
        GalleryError: the field holds anything else.
    """
    if not entity["id_texts"]:
        return {}
    try:
        texts = parse_plain(entity["id_texts"])
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise ValueError("id_texts is no list of texts")
    except ValueError as error:
        raise _foreign(entity["row"], error) from error
    return texts_of(map(NamedId, texts))


def _foreign(row: int, error: ValueError) -> GalleryError:
    """A row that another program wrote or changed."""
    return GalleryError(
        f"row {row} was not written by this program: {error}; remove it with "
        f"mtml-deploy gallery remove GALLERY --row {row}"
    )


def vectors_of(entities: Sequence[Entity], dim: int) -> NDArray[np.float32]:
    """Vectors float32 [n, D] of entities that have them, in their order."""
    values = [entity["vector"] for entity in entities]
    return np.array(values, dtype=np.float32).reshape(len(entities), dim)


def vector_crc(vector: NDArray[np.float32]) -> int:
    """Checksum of a vector's bytes."""
    return zlib.crc32(np.ascontiguousarray(vector, dtype="<f4").tobytes())


def filter_expression(where: Filter) -> str | None:
    """The expression of a filter.

    Args:
        where: which rows pass.

    Returns:
        The expression; None where no row can pass.
    """
    parts = [IMAGES]
    for field, wanted in (("camera_id", where.cameras), ("orientation", where.orientations)):
        if wanted:
            # a number outside the field's range would be refused by the server; none has it
            numbers = _within(wanted, _INT8 if field == "orientation" else _INT64)
            if not numbers:
                return None
            parts.append(f"{field} in {numbers}")
    excluded = _within(where.not_cameras, _INT64)
    if excluded:
        parts.append(f"camera_id not in {excluded}")
    if where.since_us is not None or where.until_us is not None:
        since = max(where.since_us if where.since_us is not None else -_INT64, UNKNOWN_TIME + 1)
        if since >= _INT64:
            return None
        parts.append(f"time_us >= {since}")
    if where.until_us is not None and where.until_us < _INT64:
        if where.until_us <= UNKNOWN_TIME:
            return None
        parts.append(f"time_us < {where.until_us}")
    return " and ".join(parts)


def number_expression(field: str, numbers: Iterable[int]) -> str | None:
    """The expression that a field is one of some numbers; None where none is in range."""
    kept = _within(numbers, _INT64)
    return f"{IMAGES} and {field} in {kept}" if kept else None


def text_expression(field: str, texts: Iterable[str]) -> str | None:
    """The expression that a field is one of some texts; None where none can be."""
    kept = [_quoted(text) for text in texts if is_unicode(text)]
    return f"{IMAGES} and {field} in [{', '.join(kept)}]" if kept else None


def _within(numbers: Iterable[int], limit: int) -> list[int]:
    """The different numbers n with -limit < n < limit, ascending."""
    return sorted({int(number) for number in numbers if -limit < number < limit})


def _quoted(text: str) -> str:
    """A text in an expression: nothing in it can end it."""
    return f'"{text.translate(_ESCAPES)}"'
