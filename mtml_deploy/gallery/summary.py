"""What a gallery holds, in numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from mtml_deploy.defaults import StoredType
from mtml_deploy.embed.embeddings import ModelIdentity
from mtml_deploy.gallery.tuning import Tuning
from mtml_deploy.output_kind import json_kind
from mtml_deploy.record_file import record_json
from mtml_deploy.text import printable


@dataclass(frozen=True)
class GallerySummary:
    """Facts about the rows that were not removed, unless said otherwise.

    Attributes:
        rows: how many.
        removed: removed rows that are still on the disk; None where a server does not tell.
        vehicles: different known vehicle ids.
        cameras: the known cameras, numbers ascending before texts.
        with_orientation: rows whose orientation is known.
        with_time: rows whose time is known.
        first_time: earliest, ISO 8601 UTC; None where no time is known.
        last_time: latest.
        segments: vector files; None on a server.
        disk_bytes: size of all files; None on a server.
        dtype: how vectors are kept.
        model: whose vectors.
        index: kind of the approximate index of a server; None where searches are exact.
        tuning: what it was measured to miss; None before `gallery tune`.
    """

    rows: int
    removed: int | None
    vehicles: int
    cameras: tuple[int | str, ...]
    with_orientation: int
    with_time: int
    first_time: str | None
    last_time: str | None
    segments: int | None
    disk_bytes: int | None
    dtype: StoredType
    model: ModelIdentity
    index: str | None = None
    tuning: Tuning | None = None


SUMMARY_JSON: Final = json_kind(
    "facts about a gallery as JSON", "rows", "vehicles", "with_orientation", "dtype", "model"
)


def summary_json(summary: GallerySummary) -> str:
    """All facts as JSON."""
    return record_json(summary, indent=1)


def summary_lines(summary: GallerySummary) -> list[str]:
    """The facts as lines for a terminal."""
    return [f"{name:<9} {value}" for name, value in summary_rows(summary)]


def summary_rows(summary: GallerySummary) -> list[tuple[str, str]]:
    """The facts as names with their values."""
    cameras = ", ".join(printable(str(camera)) for camera in summary.cameras) or "unknown"
    times = f"{summary.first_time} to {summary.last_time}" if summary.with_time else "unknown"
    model = summary.model
    removed, files, disk = "", "", "on the server"
    if summary.removed is not None:
        removed = f" ({summary.removed} removed ones still on the disk)"
    if summary.segments is not None:
        files = f", {summary.segments} files"
    if summary.disk_bytes is not None:
        disk = f"{summary.disk_bytes / 2**20:.1f} MiB"
    return [
        ("rows", f"{summary.rows}{removed}"),
        ("vehicles", str(summary.vehicles)),
        ("cameras", cameras),
        ("views", f"{summary.with_orientation} rows of known orientation"),
        ("times", f"{times} ({summary.with_time} rows)"),
        ("vectors", f"{summary.dtype} [{model.dim}]{files}"),
        ("disk", disk),
        ("model", f"{model.embedding} {model.precision} {model.model_sha256[:12]}..."),
        *([] if summary.index is None else [_index(summary.index, summary.tuning)]),
    ]


def _index(kind: str, tuning: Tuning | None) -> tuple[str, str]:
    """The approximate index in words."""
    tuned = "not tuned"
    if tuning is not None:
        tuned = f"recall@{tuning.top_k} {tuning.recall:.4f} with ef {tuning.ef}"
    return "index", f"{kind}, approximate, {tuned}"
