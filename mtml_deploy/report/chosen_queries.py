"""Which queries a page of rank lists shows: by average precision, or by what two models differ in.

In: ranked models. Out: rows of their query set.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.defaults import Which
from mtml_deploy.errors import ProtocolError
from mtml_deploy.report.rank_lists import RankedModel


def choose_queries(
    model: RankedModel, *, which: Which, limit: int, baseline: RankedModel | None = None
) -> NDArray[np.int64]:
    """Rows of the queries to show.

    Args:
        model: whose queries, judged by its average precision.
        which: "first" in the order of the set; "best" or "worst" average precision first;
            "spread" evenly from the best to the worst, or evenly over the set where ids are
            unknown; "gain" those whose average precision differs most from that of `baseline`, the
            largest gain first and the largest loss last. Ties by query row; queries that do not
            count come last.
        limit: how many at most.
        baseline: what gains are measured against, over the same queries.

    Returns:
        int64 [n], n = min(limit, Q).

    Raises:
        ProtocolError: "best", "worst" or "gain" without known ids, or "gain" without `baseline`.
        ValueError: `limit` below 1.
    """
    if limit < 1:
        raise ValueError(f"limit must be at least 1, found {limit}")
    rows = np.arange(len(model.query))
    if which == "gain":
        gain = gains(model, baseline)
        unknown = np.isnan(gain)
        size = np.abs(np.where(unknown, 0.0, gain))
        chosen = np.lexsort((rows, -size, unknown))[:limit]
        return chosen[np.lexsort((chosen, -gain[chosen], unknown[chosen]))]
    if model.metrics is None:
        if which in ("best", "worst"):
            raise _unlabelled(f"the {which} queries cannot be told", "choose first or spread")
        ordered = rows
    elif which == "first":
        ordered = rows
    else:
        value = model.metrics.average_precision
        uncounted = np.isnan(value)
        key = value if which == "worst" else -value
        ordered = np.lexsort((rows, np.where(uncounted, 0.0, key), uncounted))
    if which == "spread" and len(ordered) > limit:
        # both ends belong to the choice
        return ordered[np.linspace(0, len(ordered) - 1, limit).round().astype(np.int64)]
    return ordered[:limit]


def gains(model: RankedModel, baseline: RankedModel | None) -> NDArray[np.float64]:
    """Average precision of every query under `model` minus that under `baseline`.

    Args:
        model: whose gains.
        baseline: over the same queries; None where no second model was named.

    Returns:
        float64 [Q], -1..1; NaN where a query does not count under one of the two.

    Raises:
        ProtocolError: there is no `baseline`, or vehicle ids are unknown.
    """
    if baseline is None:
        raise ProtocolError(
            "a gain is the difference of two models, and one was named; name the other one with "
            "--compare-query and --compare-gallery, or choose spread"
        )
    if model.metrics is None or baseline.metrics is None:
        raise _unlabelled("gains cannot be told", "choose first or spread")
    difference: NDArray[np.float64] = (
        model.metrics.average_precision - baseline.metrics.average_precision
    )
    return difference


def _unlabelled(what: str, advice: str) -> ProtocolError:
    """The error where there is no average precision."""
    return ProtocolError(
        f"{what}: vehicle ids are unknown, so there is no average precision; {advice}, or embed "
        "labelled images"
    )
