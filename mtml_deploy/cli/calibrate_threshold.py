"""`mtml-deploy calibrate-threshold`: up to which distance two images show one vehicle."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from mtml_deploy.cli import options
from mtml_deploy.cli.command import SafeCommand
from mtml_deploy.cli.console import write_next, write_note
from mtml_deploy.cli.groups import embedding_group, memory_group
from mtml_deploy.defaults import PROTOCOL
from mtml_deploy.text import percent

if TYPE_CHECKING:
    from mtml_deploy.artifact.threshold import Threshold
    from mtml_deploy.evaluation.calibration import Interval
    from mtml_deploy.evaluation.stages import SearchOptions
    from mtml_deploy.model import EmbedOptions

_MOST: Final = 0.1
"""Rates above are of no use, and would need all pairs in memory."""


@click.command(
    "calibrate-threshold",
    cls=SafeCommand,
    docs="docs/evaluation.md",
    examples=(
        "mtml-deploy calibrate-threshold model --data veri:VeRi",
        "mtml-deploy calibrate-threshold model --data query.npz --gallery gallery.npz --fpr 0.01",
    ),
)
@options.model
@click.option(
    "--data",
    required=True,
    metavar="SOURCE",
    help="Labelled set with query and gallery images, or embeddings of the queries.",
)
@click.option("--gallery", metavar="SOURCE", help="The gallery, if --data names the queries only.")
@click.option(
    "--fpr",
    type=click.FloatRange(0, _MOST, min_open=True),
    default=0.001,
    show_default=True,
    help="Largest share of the pairs of two vehicles that may be taken for one.",
)
@click.option("--protocol", default=PROTOCOL, show_default=True, help=f"{options.PROTOCOLS}.")
@memory_group
@embedding_group
@options.overwrite
def calibrate_threshold(
    *,
    model: Path,
    data: str,
    gallery: str | None,
    fpr: float,
    protocol: str,
    search: SearchOptions,
    how: EmbedOptions,
    overwrite: bool,
) -> None:
    """Measure the distance up to which two images show one vehicle, and keep it in MODEL.

    It is the largest distance that takes at most the share --fpr of the pairs of two vehicles for
    one. Its interval tells how far it moves with other vehicles. search --max-distance calibrated
    and the service cut their lists by it. Use vehicles that the model was not trained on.
    """
    from mtml_deploy.artifact.artifact import open_artifact
    from mtml_deploy.artifact.threshold import (
        THRESHOLD_JSON,
        Threshold,
        save_threshold,
        threshold_path,
    )
    from mtml_deploy.cli.screen import Screen
    from mtml_deploy.embed.embeddings import comparison_mode
    from mtml_deploy.embed.fingerprint import rows_sha256
    from mtml_deploy.evaluation.calibration import calibrate
    from mtml_deploy.evaluation.protocols import find_protocol
    from mtml_deploy.outputs import require_output
    from mtml_deploy.version import __version__

    rule = find_protocol(protocol)
    opened = open_artifact(model)
    require_output(threshold_path(opened), THRESHOLD_JSON, overwrite=overwrite)
    with options.open_reader(opened, how) as reader:
        queries = reader.read(data, split="query")
        searched = reader.read(gallery or data, split="gallery")
        ran = reader.model is not None
    rate = Fraction(Decimal(str(fpr)))
    found = calibrate(queries, searched, rule, fpr=rate, memory_bytes=search.memory_bytes)
    manifest = opened.manifest
    record = Threshold(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        version=__version__,
        model_sha256=manifest.model_sha256,
        precision=manifest.precision,
        normalised=manifest.normalised,
        backend=how.backend if ran else "",
        device=how.device if ran else "",
        computes_in=queries.model.computes_in,
        protocol=rule.name,
        mode=comparison_mode(queries.unit, searched.unit),
        fpr=fpr,
        distance=found.distance,
        distance_interval=_ends(found.interval),
        tpr=found.tpr,
        tpr_interval=_ends(found.tpr_interval),
        positive_pairs=found.positives,
        negative_pairs=found.negatives,
        accepted_negative_pairs=found.accepted_negatives,
        queries=found.queries,
        vehicles=found.vehicles,
        query_source=queries.source,
        gallery_source=searched.source,
        query_sha256=rows_sha256(queries),
        gallery_sha256=rows_sha256(searched),
    )
    path = save_threshold(opened, record)
    screen = Screen()
    for line in _lines(record):
        screen.prose(line)
    write_note(f"wrote {path}")
    write_next("mtml-deploy", "search", model, "--gallery", "GALLERY", "--query", "SOURCE",
               "--max-distance", "calibrated")  # fmt: skip


def _ends(interval: Interval | None) -> tuple[float | None, float | None]:
    """Both ends; null where there is none."""
    return (None, None) if interval is None else (interval.low, interval.high)


def _lines(found: Threshold) -> list[str]:
    """The record in words."""
    return [
        f"distance {found.distance:.6g} ({_span(found.distance_interval)}), {found.in_words()}",
        f"it accepts {percent(found.tpr)} % of {found.positive_pairs:,} matching pairs "
        f"({_span(found.tpr_interval, shares=True)}) and {found.accepted_negative_pairs:,} of "
        f"{found.negative_pairs:,} others; {found.vehicles:,} vehicles, protocol {found.protocol}",
    ]


def _span(ends: tuple[float | None, float | None], *, shares: bool = False) -> str:
    """An interval in words."""
    low, high = ends
    if low is None:
        return "no interval: too few vehicles"
    shown = [percent(end) if shares else f"{end:.6g}" for end in (low, high) if end is not None]
    unit = " %" if shares else ""
    return f"95 % of draws: {shown[0]} to {shown[1] if high is not None else 'open'}{unit}"
