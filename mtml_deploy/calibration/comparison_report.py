"""The comparison of calibrators for people and programs: Markdown, JSON.

In: a `Comparison`. Out: text. Fractions 0..1 in both; times in seconds.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Final

from mtml_deploy.calibration.compare import MIN_COSINE, Comparison, recommended
from mtml_deploy.output_kind import json_kind, text_kind
from mtml_deploy.precision.calibration_list import vehicles
from mtml_deploy.text import escaped, table

SCHEMA: Final = 1
"""Version of the layout of `comparison_json`."""

COMPARISON_JSON: Final = json_kind(
    "a comparison of calibrators", "schema", "calibrators", "recommended", "passes"
)
COMPARISON_MARKDOWN: Final = text_kind("a comparison of calibrators", r"\A# Calibrators\n")


def comparison_json(comparison: Comparison) -> str:
    """The comparison as indented JSON.

    Args:
        comparison: what was measured.

    Returns:
        JSON.
    """
    manifest, chosen = comparison.artifact.manifest, comparison.chosen
    best = recommended(comparison.tried)
    record = {
        "schema": SCHEMA,
        "model_sha256": manifest.model_sha256,
        "source": chosen.source,
        "seed": chosen.seed,
        "calibration_images": len(chosen.calibration),
        "heldout_images": len(chosen.heldout),
        "heldout_vehicles": len(vehicles(chosen.heldout)),
        "layers": comparison.layers,
        "kept_fp32": comparison.kept_fp32,
        "min_cosine": MIN_COSINE,
        "measuring_s": comparison.measuring_s,
        "calibrators": {
            each.calibrator: {
                "worst_cosine": each.worst,
                "steps_s": each.steps_s,
                "run_s": each.run_s,
                "parts": {part: asdict(found) for part, found in each.parts.items()},
            }
            for each in comparison.tried
        },
        "recommended": best.calibrator,
        "passes": best.worst >= MIN_COSINE,
    }
    return json.dumps(record, indent=1, allow_nan=False) + "\n"


def comparison_markdown(comparison: Comparison) -> str:
    """The comparison as Markdown, the recommendation first.

    Args:
        comparison: what was measured.

    Returns:
        Markdown, ending in a newline.
    """
    manifest, chosen = comparison.artifact.manifest, comparison.chosen
    best = recommended(comparison.tried)
    others = ", ".join(
        f"{each.calibrator} {each.worst:.6f}" for each in comparison.tried if each is not best
    )
    verdict = (
        f"Use `--calibrator {best.calibrator}`: its worst cosine to fp32, {best.worst:.6f}, is the "
        f"largest ({others})"
    )
    if best.worst >= MIN_COSINE:
        verdict += f" and passes the {MIN_COSINE:g} that a conversion must reach."
    else:
        verdict += (
            f", yet below the {MIN_COSINE:g} that a conversion must reach; add `--max-map-drop "
            "0.005`, which keeps the most sensitive layers in fp16."
        )
    lines = [
        "# Calibrators",
        "",
        verdict,
        "",
        *_parts(comparison),
        "",
        *_times(comparison),
        "",
        f"Model {manifest.model_sha256[:12]} ({manifest.variant}, {manifest.backbone}, "
        f"{manifest.height}x{manifest.width}), {comparison.layers} layers in int8, "
        f"{comparison.kept_fp32} nodes in fp32, the rest fp16 with every rounding carried out. "
        f"Calibrated on {len(chosen.calibration)} images of {len(vehicles(chosen.calibration))} "
        f"vehicles, compared on {len(chosen.heldout)} images of {len(vehicles(chosen.heldout))} "
        f"other vehicles of {escaped(chosen.source)}, seed {chosen.seed}. Measuring the "
        f"activations took {comparison.measuring_s:.1f} s, once for all; steps: from those to "
        "quantisation steps; run: the int8 model on the held-out images, one CPU process. Cosine: "
        "of every image, int8 to fp32.",
    ]
    return "\n".join(lines) + "\n"


def _parts(comparison: Comparison) -> list[str]:
    """A table of how near int8 is to fp32, by calibrator and part of the embedding."""
    rows = []
    for each in comparison.tried:
        for part, found in each.parts.items():
            cosines = (found.cosine_min, found.cosine_p1, found.cosine_mean)
            cells = (f"{value:.6f}" for value in cosines)
            rows.append((each.calibrator, part, *cells, f"{found.max_abs:.3g}"))
    titles = ("calibrator", "part", "cosine min", "cosine p1", "cosine mean", "max abs")
    return table(titles, rows, align="llrrrr")


def _times(comparison: Comparison) -> list[str]:
    """A table of the worst cosine and the times of each calibrator."""
    rows = [
        (each.calibrator, f"{each.worst:.6f}", f"{each.steps_s:.2f}", f"{each.run_s:.2f}")
        for each in comparison.tried
    ]
    return table(("calibrator", "worst cosine", "steps, s", "run, s"), rows, align="lrrr")
