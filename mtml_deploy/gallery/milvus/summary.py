"""What a collection holds, in numbers."""

from __future__ import annotations

from typing import Final

from mtml_deploy.data.clock import UNKNOWN_TIME, format_time
from mtml_deploy.data.ids import in_order, named, shown_id
from mtml_deploy.data.records import UNKNOWN
from mtml_deploy.gallery.milvus.entities import MAX_ID_TEXTS_BYTES, id_texts_of
from mtml_deploy.gallery.milvus.rows import CollectionRows
from mtml_deploy.gallery.milvus.schema import EXACT, index_kind
from mtml_deploy.gallery.summary import GallerySummary

_FIELDS: Final = ("vehicle_id", "camera_id", "orientation", "time_us", "id_texts")
_ROW_BYTES: Final = 1024 + MAX_ID_TEXTS_BYTES
"""Generous, so that an answer stays within what Milvus returns at once."""


def summarize_collection(table: CollectionRows) -> GallerySummary:
    """Count what a collection holds; reads numbers and texts of every row, no vectors."""
    kind = index_kind(table.collection)
    rows = with_time = with_orientation = 0
    vehicles: set[int] = set()
    cameras: set[int] = set()
    first = last = None
    for part in table.windows(_FIELDS, row_bytes=_ROW_BYTES):
        rows += len(part)
        vehicles |= {entity["vehicle_id"] for entity in part}
        cameras |= {named(entity["camera_id"], id_texts_of(entity)) for entity in part}
        with_orientation += sum(entity["orientation"] != UNKNOWN for entity in part)
        times = [entity["time_us"] for entity in part if entity["time_us"] != UNKNOWN_TIME]
        with_time += len(times)
        if times:
            first = min(times) if first is None else min(first, *times)
            last = max(times) if last is None else max(last, *times)
    return GallerySummary(
        rows=rows,
        removed=None,
        vehicles=len(vehicles - {UNKNOWN}),
        cameras=tuple(shown_id(camera) for camera in in_order(cameras - {UNKNOWN})),
        with_orientation=with_orientation,
        with_time=with_time,
        first_time=None if first is None else format_time(first),
        last_time=None if last is None else format_time(last),
        segments=None,
        disk_bytes=None,
        dtype="float32",
        model=table.model,
        index=None if kind == EXACT else kind,
        tuning=None if kind == EXACT else table.manifest().tuning,
    )
