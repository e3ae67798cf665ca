"""The ranking of layers and the trade-off curve for people and programs: JSON, Markdown, SVG.

In: ranked layers and the curve. Out: files in the artifact. Fractions 0..1 in JSON, percent in
tables.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

from mtml_deploy.errors import MissingExtraError
from mtml_deploy.files import write_text
from mtml_deploy.precision.sensitivity import LayerNoise, SensitivityReport, TradeOff
from mtml_deploy.precision.sensitivity_plot import write_sensitivity_plot
from mtml_deploy.text import table

SCHEMA: Final = 1
NAME: Final = "sensitivity"


def write_report(folder: Path, report: SensitivityReport) -> None:
    """Write `sensitivity.json`, `.md` and, where matplotlib is installed, `.svg`.

    Args:
        folder: the artifact's.
        report: what to write.
    """
    write_text(folder / f"{NAME}.json", report_json(report))
    try:
        write_sensitivity_plot(folder / f"{NAME}.svg", report)
        plot = f"\n![Layers kept against quality]({NAME}.svg)\n"
    except MissingExtraError as error:
        plot = f"\nNo plot: {error}.\n"
    write_text(folder / f"{NAME}.md", report_markdown(report) + plot)


def report_json(report: SensitivityReport) -> str:
    """The report as indented JSON; null for an mAP that was not measured."""
    kept = report.curve[-1].kept
    record = {
        "schema": SCHEMA,
        "bounds": {"min_cosine": report.min_cosine, "max_map_drop": report.max_map_drop},
        "data": report.data or None,
        "protocol": report.protocol if report.data else None,
        "mean_ap_fp32": report.reference_map,
        "images": report.images,
        "noise_images": report.noise_images,
        "branches": branch_noise(report.ranking),
        "layers": [
            {
                "rank": rank,
                "layer": each.layer.name,
                "branch": each.layer.branch,
                "kind": each.layer.kind,
                "noise": each.noise,
                "precision": "fp16" if rank <= kept else "int8",
            }
            for rank, each in enumerate(report.ranking, 1)
        ],
        "curve": [{"kept": point.kept, **asdict(point.quality)} for point in report.curve],
        "beyond": [
            {"kept": point.kept, "cosine_min": dict(point.quality.cosine_min)}
            for point in report.beyond
        ],
    }
    return json.dumps(record, indent=1, allow_nan=False) + "\n"


def branch_noise(ranking: Sequence[LayerNoise]) -> dict[str, float]:
    """Branch -> sum of the noise of its layers, the most sensitive branch first."""
    sums: dict[str, float] = {}
    for each in ranking:
        sums[each.layer.branch] = sums.get(each.layer.branch, 0.0) + each.noise
    return dict(sorted(sums.items(), key=lambda item: -item[1]))


def report_markdown(report: SensitivityReport) -> str:
    """The report as Markdown, the outcome first."""
    last = report.curve[-1]
    total = len(report.ranking)
    lines = [
        "# int8 sensitivity",
        "",
        f"{last.kept} of {total} layers stay fp16, {total - last.kept} are int8. Bounds: cosine to "
        f"fp32 of every branch and image at least {report.min_cosine:g}, "
        + (
            f"mAP within {100 * report.max_map_drop:g} points of fp32 on {report.data}, protocol "
            f"{report.protocol}."
            if report.data
            else "mAP not measured (no labelled data was given)."
        ),
        "",
        "## Layers kept against quality",
        "",
        *_curve(report, last),
        "",
        "## Branches",
        "",
    ]
    noises = branch_noise(report.ranking).items()
    lines += table(
        ("branch", "noise of its layers"),
        [(name, f"{noise:.3e}") for name, noise in noises],
        align="lr",
    )
    lines += [
        "",
        "## Layers, the most sensitive first",
        "",
        "Noise: |f' - f|^2 / |f|^2 of the branch's feature with only this layer in int8, mean "
        f"over {report.noise_images} images. Cosines: worst of {report.images} images, with every "
        "fp16 rounding carried out.",
        "",
    ]
    layers = [
        (
            str(rank),
            each.layer.name,
            f"{each.noise:.3e}",
            "fp16" if rank <= last.kept else "int8",
        )
        for rank, each in enumerate(report.ranking, 1)
    ]
    lines += table(("", "layer", "noise", "precision"), layers, align="rlrl")
    return "\n".join(lines) + "\n"


def _curve(report: SensitivityReport, last: TradeOff) -> list[str]:
    """A table of how many layers are kept and what that gives."""
    rows = []
    if report.reference_map is not None:
        rows.append(("fp32", "1", "", f"{100 * report.reference_map:.2f}", "", ""))
    for point in (*report.curve, *report.beyond):
        quality = point.quality
        part = min(quality.cosine_min, key=lambda name: quality.cosine_min[name])
        score, change = "not measured", ""
        if quality.mean_ap is not None and report.reference_map is not None:
            score = f"{100 * quality.mean_ap:.2f}"
            change = f"{100 * (quality.mean_ap - report.reference_map):+.2f}"
        cosine = f"{quality.cosine_min[part]:.6f}"
        rows.append((str(point.kept), cosine, part, score, change, _outcome(point, last)))
    titles = ("layers in fp16", "worst cosine", "of", "mAP, %", "change, points", "")
    return table(titles, rows, align="rrlrrl")


def _outcome(point: TradeOff, last: TradeOff) -> str:
    """What a point of the curve means for the artifact."""
    if point.kept > last.kept:
        return "not needed"
    return "passed" if point.quality.passed else "failed"
