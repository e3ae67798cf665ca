"""What a gallery holds, in numbers."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

import numpy as np

from mtml_deploy.embeddings import ModelIdentity
from mtml_deploy.gallery.header import StoredType
from mtml_deploy.gallery.row_schema import UNKNOWN_TIME
from mtml_deploy.gallery.store import FolderGallery
from mtml_deploy.gallery.times import format_time
from mtml_deploy.records import UNKNOWN


@dataclass(frozen=True)
class GallerySummary:
    """Facts about the rows that were not removed, unless said otherwise.

    Attributes:
        rows: how many.
        removed: removed rows that are still on the disk.
        vehicles: different known vehicle ids.
        cameras: the known cameras, ascending.
        with_time: rows whose time is known.
        first_time: earliest, ISO 8601 UTC; None where no time is known.
        last_time: latest.
        segments: vector files.
        disk_bytes: size of all files.
        dtype: how vectors are kept.
        model: whose vectors.
    """

    rows: int
    removed: int
    vehicles: int
    cameras: tuple[int, ...]
    with_time: int
    first_time: str | None
    last_time: str | None
    segments: int
    disk_bytes: int
    dtype: StoredType
    model: ModelIdentity


def summarize(gallery: FolderGallery) -> GallerySummary:
    """Count what an open gallery holds; reads no vectors."""
    with gallery.table.snapshot():
        numbers = gallery.table.numbers()
        segments = len(gallery.table.segments())
        vehicles = gallery.table.vehicles()
    live = numbers[~numbers["removed"]]
    cameras = np.unique(live["camera"])
    times = live["time_us"][live["time_us"] != UNKNOWN_TIME]
    return GallerySummary(
        rows=len(live),
        removed=len(numbers) - len(live),
        vehicles=vehicles,
        cameras=tuple(cameras[cameras != UNKNOWN].tolist()),
        with_time=len(times),
        first_time=format_time(int(times.min())) if len(times) else None,
        last_time=format_time(int(times.max())) if len(times) else None,
        segments=segments,
        disk_bytes=sum(path.stat().st_size for path in gallery.folder.rglob("*") if path.is_file()),
        dtype=gallery.header.dtype,
        model=gallery.model,
    )


def summary_json(summary: GallerySummary) -> str:
    """All facts as JSON."""
    return json.dumps(asdict(summary), indent=1)


def summary_lines(summary: GallerySummary) -> list[str]:
    """The facts as lines for a terminal."""
    cameras = ", ".join(map(str, summary.cameras)) or "unknown"
    times = f"{summary.first_time} to {summary.last_time}" if summary.with_time else "unknown"
    model = summary.model
    return [
        f"rows      {summary.rows} ({summary.removed} removed ones still on the disk)",
        f"vehicles  {summary.vehicles}",
        f"cameras   {cameras}",
        f"times     {times} ({summary.with_time} rows)",
        f"vectors   {summary.dtype} [{model.dim}], {summary.segments} files",
        f"disk      {summary.disk_bytes / 2**20:.1f} MiB",
        f"model     {model.embedding} {model.precision} {model.model_sha256}",
    ]
