"""What an export or a conversion measured, beside the bounds that it was held against.

In: the record `parity` of a manifest. Out: rows of a table, numbers rounded for people.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from mtml_deploy.artifact.manifest import Manifest
from mtml_deploy.output_kind import json_kind
from mtml_deploy.parity.agreement import MAX_RELATIVE_FP32
from mtml_deploy.parity.thresholds import DEFAULT_THRESHOLDS
from mtml_deploy.record_file import record_json

MEASURED_JSON: Final = json_kind("what was measured of a model as JSON", "reference", "images")
MEASURED_TITLES: Final = ("measure", "measured", "must be", "")
MEASURED_ALIGN: Final = "lrll"


def measured_rows(manifest: Manifest) -> list[tuple[str, str, str, str]]:
    """Rows of `MEASURED_TITLES`: the measures that had a bound.

    Args:
        manifest: of an artifact; one whose record holds no measures gives no rows.

    Returns:
        Measure, value, bound and "ok" or "FAILED", each as text.
    """
    parity = manifest.parity
    against_torch = parity.get("reference") == "torch"
    # an fp32 model was held against torch, whatever it is changed to later
    bounds = DEFAULT_THRESHOLDS["fp32" if against_torch else manifest.precision]
    branches = parity.get("branches")
    parts = {manifest.embedding: parity.get("embedding")}
    parts |= {f"{manifest.embedding}, as a GPU rounds": parity.get("embedding_rounded")}
    parts |= {f"branch {name}": found for name, found in _items(branches)}
    rows = []
    for name, found in parts.items():
        if (cosine := _number(found, "cosine_min")) is not None:
            rows.append(_row(f"cosine, {name}", f"{cosine:.6f}", cosine, least=bounds.min_cosine))
    relative = _number(parity.get("embedding"), "max_relative")
    if against_torch and relative is not None:
        rows.append(
            _row("relative difference", f"{relative:.1e}", relative, most=MAX_RELATIVE_FP32)
        )
    if (alone := _number(parity, "row_difference")) is not None:
        rows.append(_row("alone and in a batch", f"{alone:.1e}" if alone else "0", alone,
                         most=bounds.max_row_difference))  # fmt: skip
    closest = {manifest.embedding: _number(parity, "closest_images")}
    closest |= {f"branch {name}": _number(found, "closest_images")
                for name, found in _items(branches)}  # fmt: skip
    for name, distance in closest.items():
        if distance is not None:
            rows.append(
                _row(f"two images, {name}", f"{distance:.3f}", distance, least=bounds.min_spread)
            )
    return rows


def measured_json(manifest: Manifest) -> str:
    """All that was measured, as JSON."""
    return record_json(dict(manifest.parity), indent=2) + "\n"


def measured_on(manifest: Manifest) -> str:
    """What was compared with what, as a title; empty where nothing was."""
    reference, images = manifest.parity.get("reference"), manifest.parity.get("images")
    if not isinstance(reference, str) or not isinstance(images, int):
        return ""
    return f"compared with {reference} on {images} images"


def _row(
    name: str, shown: str, value: float, *, least: float | None = None, most: float | None = None
) -> tuple[str, str, str, str]:
    """One measure held against its bound."""
    if least is not None:
        return name, shown, f"at least {least:g}", "ok" if value >= least else "FAILED"
    most = most or 0.0
    return name, shown, f"at most {most:g}", "ok" if value <= most else "FAILED"


def _items(values: object) -> Iterator[tuple[str, object]]:
    """The entries of a JSON object; none of anything else."""
    if isinstance(values, Mapping):
        yield from values.items()


def _number(values: object, name: str) -> float | None:
    """A number of a JSON object; None where there is none."""
    value = values.get(name) if isinstance(values, Mapping) else None
    return float(value) if isinstance(value, int | float) else None
