"""What an embeddings file and a gallery hold."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from msgspec import to_builtins

from mtml_deploy.embed.embeddings import Embeddings
from mtml_deploy.gallery.summary import SUMMARY_JSON, GallerySummary, summary_json, summary_rows
from mtml_deploy.output_kind import json_kind
from mtml_deploy.record_file import record_json
from mtml_deploy.report.facts.facts import Facts
from mtml_deploy.text import command_line

EMBEDDINGS_JSON: Final = json_kind(
    "facts about embeddings as JSON", "rows", "unit", "source", "model"
)


def embeddings_facts(path: Path) -> Facts:
    """Facts about an embeddings file, which is read whole.

    Raises:
        EmbeddingsError: it is none, or damaged.
    """
    rows = Embeddings.load(path)
    model = rows.model
    vehicles = len(set(rows.vehicle_ids[rows.vehicle_ids != -1].tolist()))
    cameras = len(set(rows.camera_ids[rows.camera_ids != -1].tolist()))
    views = int(np.count_nonzero(rows.orientations >= 0))
    told = [
        ("rows", f"{len(rows):,}, each of one {rows.unit}"),
        ("images of", rows.source),
        ("vehicles", f"{vehicles:,}" if vehicles else "unknown"),
        ("cameras", f"{cameras:,}" if cameras else "unknown"),
        ("views", f"{views:,} rows of known orientation"),
        ("model", f"{model.embedding}, {model.dim} values, {model.precision}"),
        ("computed in", model.computes_in or "what the model file says"),
    ]
    if model.camera_means:
        told.append(("cameras centred", f"by the means {model.camera_means[:12]}"))
    told.append(("sha256 of the model", f"{model.model_sha256[:12]}..."))
    record = {
        "rows": len(rows), "unit": rows.unit, "source": rows.source, "vehicles": vehicles,
        "cameras": cameras, "with_orientation": views, "model": to_builtins(model),
    }  # fmt: skip
    return Facts(
        kind=f"a file of embeddings of {rows.unit}s",
        rows=tuple(told),
        uses=(
            command_line("mtml-deploy", "rank", "--query", "FILE.npz", "--gallery", path),
            command_line("mtml-deploy", "evaluate", "--query", "FILE.npz", "--gallery", path),
            command_line("mtml-deploy", "gallery", "add", "GALLERY", "--embeddings", path),
        ),
        json=record_json(record, indent=1) + "\n",
        json_kind=EMBEDDINGS_JSON,
    )


def gallery_facts(name: str, summary: GallerySummary) -> Facts:
    """Facts about a gallery.

    Args:
        name: as the user wrote it: a folder or an address.
        summary: of the opened gallery.
    """
    return Facts(
        kind="a gallery",
        rows=tuple(summary_rows(summary)),
        uses=(
            command_line("mtml-deploy", "search", "MODEL", "--gallery", name, "--query", "SOURCE"),
            command_line("mtml-deploy", "gallery", "add", name, "MODEL", "--images", "SOURCE"),
            command_line("mtml-deploy", "serve", "MODEL", "--gallery", name),
        ),
        json=summary_json(summary) + "\n",
        json_kind=SUMMARY_JSON,
    )
