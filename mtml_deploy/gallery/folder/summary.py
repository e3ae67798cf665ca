"""What a gallery in a folder holds, in numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mtml_deploy.data.clock import UNKNOWN_TIME, format_time
from mtml_deploy.data.ids import in_order, shown_id
from mtml_deploy.data.records import UNKNOWN
from mtml_deploy.gallery.folder.manifest import GalleryManifest
from mtml_deploy.gallery.folder.rows import RowTable
from mtml_deploy.gallery.summary import GallerySummary


def summarize(folder: Path, manifest: GalleryManifest, table: RowTable) -> GallerySummary:
    """Count what a gallery holds; reads no vectors.

    Args:
        folder: the gallery.
        manifest: its manifest.
        table: its record of rows.
    """
    with table.snapshot():
        numbers, segments = table.everything()
        live = numbers[~numbers["removed"]]
        cameras = np.unique(live["camera"])
        named = [table.texts.named(camera) for camera in cameras[cameras != UNKNOWN].tolist()]
    vehicles = np.unique(live["vehicle"])
    times = live["time_us"][live["time_us"] != UNKNOWN_TIME]
    return GallerySummary(
        rows=len(live),
        removed=len(numbers) - len(live),
        vehicles=int(np.count_nonzero(vehicles != UNKNOWN)),
        cameras=tuple(shown_id(camera) for camera in in_order(named)),
        with_orientation=int((live["orientation"] != UNKNOWN).sum()),
        with_time=len(times),
        first_time=format_time(int(times.min())) if len(times) else None,
        last_time=format_time(int(times.max())) if len(times) else None,
        segments=len(segments),
        disk_bytes=sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()),
        dtype=manifest.dtype,
        model=manifest.model,
    )
