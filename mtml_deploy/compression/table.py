"""A cross-validation in words: a table in percent, advice, and the record for a manifest."""

from __future__ import annotations

from typing import Final

from mtml_deploy.compression.cross_validation import AS_EMBEDDED, L2, UNIT, CrossValidation, Score
from mtml_deploy.output_kind import json_kind
from mtml_deploy.parity.bootstrap import Change
from mtml_deploy.text import percent

SCORE_TITLES: Final = ("projection", "dimensions", "mAP, L2", "mAP, length 1", "change", "95 %")
SCORE_ALIGN: Final = "lrrrrr"

COMPRESSED_JSON: Final = json_kind(
    "what a compression measured as JSON", "method", "dim", "cross_validation", "metrics"
)


def measured_on(found: CrossValidation) -> str:
    """What was measured, in front of the table."""
    rule = "its own camera left out" if found.across_cameras else "only itself left out"
    return (
        f"Cross-validated on the training vehicles: {found.folds} folds of {found.vehicles:,} "
        f"vehicles, {found.images:,} images. Each projection is learnt from the other folds; every "
        f"image asks its fold, {rule}; {found.queries:,} have a match."
    )


def score_rows(found: CrossValidation) -> list[tuple[str, ...]]:
    """Rows of `SCORE_TITLES`, percent: the embeddings as they are, then every method."""
    return [_row(score) for score in found.scores]


def change_rule(found: CrossValidation) -> str:
    """What the last columns are, behind the table."""
    column = "length 1" if found.column == UNIT else "L2"
    return (
        f"Change: mAP, {column}, over the better column as embedded; interval over vehicles. The "
        f"model was trained on these vehicles: unseen ones, with --query and --gallery, tell more."
    )


def advice(found: CrossValidation) -> str:
    """What the table says of the method that was asked for.

    Args:
        found: the measures.

    Returns:
        One line; it begins with "warning: " where the method ranks worse than no projection.
    """
    asked, best = found.score(found.asked).change, found.best
    better = ""
    if best is not None and best.change is not None and best.method != found.asked:
        better = f"; best here: --method {best.method} ({_signed(best.change.difference)})"
    if asked is None or asked.difference >= 0:
        gain = "" if asked is None else f" ({_signed(asked.difference)} points of mAP)"
        sure = asked is not None and asked.low > 0
        said = "ranks better than" if sure else "is not surely better than"
        return f"note: {found.asked} {said} the embeddings as they are{gain}{better}"
    return (
        f"warning: on vehicles it was not learnt from, {found.asked} ranks worse than the "
        f"embeddings as they are: mAP {percent(asked.candidate)}, not {percent(asked.reference)} "
        f"(95 % {_interval(asked)}){better}"
    )


def cross_validation_record(found: CrossValidation) -> dict[str, object]:
    """The measures for a manifest; JSON values, fractions 0..1."""
    return {
        "folds": found.folds,
        "vehicles": found.vehicles,
        "images": found.images,
        "queries": found.queries,
        "own_camera_left_out": found.across_cameras,
        "mean_ap": {score.method: {"dim": score.dim, **score.mean_ap} for score in found.scores},
        "change": {
            score.method: {
                "column": found.column,
                "difference": score.change.difference,
                "low": score.change.low,
                "high": score.change.high,
            }
            for score in found.scores
            if score.change is not None
        },
    }


def _row(score: Score) -> tuple[str, ...]:
    """Cells of one method."""
    change = score.change
    return (
        AS_EMBEDDED if change is None else score.method,
        str(score.dim),
        percent(score.mean_ap[L2]),
        percent(score.mean_ap[UNIT]),
        "–" if change is None else _signed(change.difference),
        "–" if change is None else _interval(change),
    )


def _signed(fraction: float) -> str:
    """Points of percent with their sign."""
    return f"{100 * fraction:+.1f}"


def _interval(change: Change) -> str:
    """Both ends of the interval."""
    return f"{_signed(change.low)} to {_signed(change.high)}"
