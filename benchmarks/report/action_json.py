"""Records as github-action-benchmark reads them, which draws a history over commits.

Its tools `customSmallerIsBetter` and `customBiggerIsBetter` want one file each.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks.measure.rounds import Series, Unit
from benchmarks.report.compare import SMALLER_IS_BETTER
from benchmarks.report.record import Record
from mtml_deploy.files import write_text
from mtml_deploy.output_kind import json_kind

SMALLER_FILE: Final = "smaller-is-better.json"
BIGGER_FILE: Final = "bigger-is-better.json"

ACTION_JSON: Final = json_kind(
    "a list of measured values", "name", "unit", "value", "extra", may_be_empty=True
)

_SCALES: Final[dict[Unit, tuple[str, float]]] = {
    "s": ("ms", 1e3),
    "B": ("MiB", 2.0**-20),
    "FLOP/s": ("GFLOP/s", 1e-9),
    "B/s": ("GB/s", 1e-9),
    "images/s": ("images/s", 1.0),
}


def write_action_json(folder: Path, records: Sequence[Record]) -> tuple[Path, ...]:
    """Write both files.

    Args:
        folder: where to.
        records: of one run.

    Returns:
        Their paths; a file whose list would be empty is written too, so that a workflow finds it.
    """
    written = action_paths(folder)
    for path, smaller in zip(written, (True, False), strict=True):
        write_text(path, action_json(records, smaller_is_better=smaller))
    return written


def action_paths(folder: Path) -> tuple[Path, Path]:
    """The file of what is better smaller, and that of what is better bigger."""
    return folder / SMALLER_FILE, folder / BIGGER_FILE


def action_json(records: Sequence[Record], *, smaller_is_better: bool) -> str:
    """The series of one direction as JSON.

    Args:
        records: of one run.
        smaller_is_better: times and sizes, else speeds.

    Returns:
        A list of objects with `name`, `unit`, `value`, `range` and `extra`.
    """
    entries = [
        _entry(record, series)
        for record in records
        for series in record.series
        if (series.unit in SMALLER_IS_BETTER) == smaller_is_better
    ]
    return json.dumps(entries, indent=1, allow_nan=False) + "\n"


def _entry(record: Record, series: Series) -> dict[str, str | float]:
    """One series: its median, half the distance from lowest to highest, and what it was."""
    unit, scale = _SCALES[series.unit]
    spread = (max(series.values) - min(series.values)) / 2 * scale
    model = str(record.model.get("sha256", ""))[:12]
    return {
        "name": f"{record.kind}: {series.title}",
        "unit": unit,
        "value": series.median * scale,
        "range": f"± {spread:.4g}",
        "extra": f"{len(series.values)} runs\nmodel {model}\n{series.what}",
    }
