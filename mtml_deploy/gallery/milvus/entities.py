"""How a row is kept in a collection, and how rows are asked for.

One entity per row: its number, its vector and what is known of it, all in fields of their own, so
that the server filters before it searches.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from typing import Final, Literal, TypedDict

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.data.clock import UNKNOWN_TIME
from mtml_deploy.data.ids import NamedId
from mtml_deploy.gallery.checks import is_unicode, require_text
from mtml_deploy.gallery.milvus.manifest import MANIFEST_ROW, CollectionManifest, manifest_text
from mtml_deploy.gallery.values import Filter, GalleryError, RowRecord, StoredRow

MAX_PATH_BYTES: Final = 8192
MAX_CONTENT_BYTES: Final = 512
"""Texts longer than these are refused; Milvus wants the limit when the collection is made."""

IMAGES: Final = f"row > {MANIFEST_ROW}"
"""Expression that all rows but the manifest pass."""

FieldType = Literal["INT64", "INT32", "INT8", "VARCHAR", "FLOAT_VECTOR"]

FIELDS: Final[dict[str, FieldType]] = {
    "row": "INT64",
    "vector": "FLOAT_VECTOR",
    "crc": "INT64",
    "path": "VARCHAR",
    "content": "VARCHAR",
    "vehicle_id": "INT32",
    "camera_id": "INT32",
    "orientation": "INT8",
    "tracklet_id": "INT32",
    "time_us": "INT64",
}
"""Name -> type; `row` is the primary key."""

RECORD_BYTES: Final = 16384
"""Most that all of one row but its vector takes in a call, generously."""

TEXT_BYTES: Final = {"path": MAX_PATH_BYTES, "content": MAX_CONTENT_BYTES}
"""Longest text of each field of texts."""

LOOKED_UP: Final = ("path", "content", "vehicle_id")
"""Fields that rows are looked up by: they get an index."""

RECORD_FIELDS: Final = tuple(name for name in FIELDS if name not in ("vector", "crc"))

_ESCAPES: Final = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"})
"""What a text between double quotes cannot hold as it is."""

_INT64: Final = 1 << 63
_INT32: Final = 1 << 31


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


def entity_of(row: int, record: RowRecord, vector: NDArray[np.float32]) -> Entity:
    """All fields of a row.

    Args:
        row: its number.
        record: what is known of it.
        vector: float32 [D].

    Raises:
        GalleryError: a text that is too long or is not Unicode, or an id that is a text.
    """
    for id_ in (record.vehicle_id, record.camera_id, record.tracklet_id):
        if isinstance(id_, NamedId):
            raise GalleryError(
                f"the id {id_.text!r} of {record.path} is a text, expected numbers below 2^31 in a "
                "Milvus collection; number the ids, or keep the rows in a gallery in a folder"
            )
    for name, text in (("path", record.path), ("content", record.content)):
        require_text(name, text, most_bytes=TEXT_BYTES[name], where="a Milvus collection")
    return Entity(
        row=row,
        vector=vector,
        crc=vector_crc(vector),
        path=record.path,
        content=record.content,
        vehicle_id=record.vehicle_id,
        camera_id=record.camera_id,
        orientation=record.orientation,
        tracklet_id=record.tracklet_id,
        time_us=UNKNOWN_TIME if record.time_us is None else record.time_us,
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
        record = RowRecord(
            path=entity["path"],
            content=entity["content"],
            vehicle_id=entity["vehicle_id"],
            camera_id=entity["camera_id"],
            orientation=entity["orientation"],
            tracklet_id=entity["tracklet_id"],
            time_us=None if time_us == UNKNOWN_TIME else time_us,
        )
    except ValueError as error:
        raise GalleryError(
            f"row {entity['row']} was not written by this program: {error}; remove it with "
            f"mtml-deploy gallery remove --row {entity['row']}"
        ) from error
    return StoredRow(entity["row"], record)


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
            numbers = _within(wanted, _INT32)
            if not numbers:
                return None
            parts.append(f"{field} in {numbers}")
    excluded = _within(where.not_cameras, _INT32)
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
    kept = _within(numbers, _INT64 if FIELDS[field] == "INT64" else _INT32)
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
