"""What evaluations give, the rule of it in plain NumPy, and whether two of them agree."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure.process import Arrays
from benchmarks.ranking.clustered import Labels

EQUAL_TOLERANCE: Final = 1e-5
"""Largest difference of metrics that count as equal: peers add up thousands of fractions in float32
and order distances that rounding made equal as they come."""


@dataclass(frozen=True)
class Judged:
    """What an evaluation gives; fractions 0..1.

    Attributes:
        cmc: float64 [ranks].
        mean_ap: step average precision.
        mean_inp: None where it is not given.
    """

    cmc: NDArray[np.float64]
    mean_ap: float
    mean_inp: float | None


Evaluation = Callable[[NDArray[np.float32], Labels, Labels, int], Judged]
"""Distances [Q, G], labels of queries and gallery, ranks of the CMC curve -> what it gives."""


def compare(ours: Arrays, other: Arrays) -> str:
    """Which metrics of two evaluations are equal, as half a sentence.

    Args:
        ours: "mean_ap" and "mean_inp" float64 [1], "cmc" float64 [K].
        other: the same; NaN where it does not give one.
    """
    words = []
    for name, title in (("mean_ap", "mAP"), ("mean_inp", "mINP"), ("cmc", "CMC")):
        left = np.asarray(ours[name], dtype=np.float64)
        right = np.asarray(other[name], dtype=np.float64)
        if np.isnan(right).any():
            continue
        difference = float(np.abs(left - right).max())
        verdict = "equal" if difference <= EQUAL_TOLERANCE else "DIFFERENT"
        value = f" {left[0]:.6f} and {right[0]:.6f}," if len(left) == 1 else ""
        words.append(f"{title}{value} {verdict} (largest difference {difference:.1e})")
    return "; ".join(words) + "."


def judged_by_argsort(
    distances: NDArray[np.float32], query: Labels, gallery: Labels, ranks: int
) -> Judged:
    """mAP, mINP and CMC by sorting whole rows; the rule in plain NumPy.

    Args:
        distances: float32 [Q, G].
        query: labels [Q].
        gallery: labels [G].
        ranks: length of the CMC curve.

    Returns:
        The metrics; queries without a match are skipped.
    """
    precisions, penalties, hits = [], [], []
    for row, order in enumerate(np.argsort(distances, axis=1, kind="stable")):
        same = gallery.vehicle_ids[order] == query.vehicle_ids[row]
        kept = ~(same & (gallery.camera_ids[order] == query.camera_ids[row]))
        places = np.flatnonzero(same[kept]) + 1
        if len(places):
            precisions.append(np.mean(np.arange(1, len(places) + 1) / places))
            penalties.append(len(places) / places[-1])
            hits.append(np.arange(1, ranks + 1) >= places[0])
    return Judged(np.mean(hits, axis=0), float(np.mean(precisions)), float(np.mean(penalties)))
