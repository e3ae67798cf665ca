"""The gate's measures and its verdict.

In: embeddings of the same query and gallery images by reference and candidate, and the candidate's
consistency. Out: a `ParityResult`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.artifact.manifest import Manifest
from mtml_deploy.defaults import Rounding
from mtml_deploy.embed.embeddings import Embeddings
from mtml_deploy.errors import ParityError
from mtml_deploy.evaluation.measures import CMC_RANKS
from mtml_deploy.evaluation.metrics import RetrievalMetrics, evaluate
from mtml_deploy.evaluation.protocols import Protocol
from mtml_deploy.parity.agreement import (
    Agreement,
    agreement,
    branch_slices,
    relative_distances,
    row_difference,
    spread,
)
from mtml_deploy.parity.bootstrap import Change, paired_change
from mtml_deploy.parity.rank_agreement import RankAgreement, rank_agreement
from mtml_deploy.parity.thresholds import ParityThresholds

ROW_IMAGES: Final = 4
"""Images that visit every row of a batch of as many."""

Pair = tuple[Embeddings, Embeddings]
"""Query and gallery embeddings by one model."""


@dataclass(frozen=True)
class Consistency:
    """Whether an image's embedding depends on what else is in its batch.

    Attributes:
        rows: largest relative distance of an image alone and at every row of a small batch.
        batch: largest relative distance of an image alone and in a full batch.
        batch_size: images of that full batch.
        spread: branch -> relative distance of the closest two different images.
    """

    rows: float
    batch: float
    batch_size: int
    spread: Mapping[str, float]


@dataclass(frozen=True)
class Check:
    """One measure held against its bound.

    Attributes:
        name: what was measured.
        value: the measure.
        bound: the bound.
        passed: whether the value keeps to it.
    """

    name: str
    value: float
    bound: str
    passed: bool


@dataclass(frozen=True)
class ParityResult:
    """What the gate measured and decided.

    Attributes:
        agreement: part of the embedding -> agreement with the reference; "embedding" is the whole.
        ranking: agreement of the rank lists.
        mean_ap: change of mAP (step) with its interval.
        cmc: rank -> reference and candidate CMC.
        consistency: of the candidate.
        metrics: of reference and candidate.
        checks: every bound and whether it was kept.
        thresholds: the bounds.
        engine_sha256: hash of the candidate's engine; empty where its ONNX file itself ran.
        computes_in: what its backend rounded float32 values to; empty where it did not.
    """

    agreement: Mapping[str, Agreement]
    ranking: RankAgreement
    mean_ap: Change
    cmc: Mapping[int, tuple[float, float]]
    consistency: Consistency
    metrics: tuple[RetrievalMetrics, RetrievalMetrics]
    checks: tuple[Check, ...]
    thresholds: ParityThresholds
    engine_sha256: str = ""
    computes_in: Rounding = ""

    @property
    def passed(self) -> bool:
        """Whether every bound was kept."""
        return all(check.passed for check in self.checks)


def parts_of(manifest: Manifest) -> Mapping[str, slice]:
    """The parts of an embedding that are compared on their own, and the whole.

    Args:
        manifest: of the reference or the candidate.

    Returns:
        Name -> columns. A fused embedding has a part per branch; a compressed one has mixed them.
    """
    whole = {"embedding": slice(0, manifest.dim)}
    mixed = manifest.embedding != "fused" or manifest.compression is not None
    if mixed or len(manifest.branches) == 1:
        return whole
    return {**branch_slices(manifest.branches, manifest.dim), **whole}


def measure_consistency(
    run: Callable[[NDArray[np.uint8]], NDArray[np.float32]],
    images: NDArray[np.uint8],
    parts: Mapping[str, slice],
) -> Consistency:
    """Run images alone, at every row of a small batch, and in one full batch.

    Args:
        run: uint8 [B, H, W, 3] -> float32 [B, D].
        images: uint8 [N, H, W, 3], the full batch, N >= 2.
        parts: from `parts_of`.

    Returns:
        The consistency; the spread is over the images of the full batch.
    """
    together = run(images)
    alone = np.concatenate([run(images[i : i + 1]) for i in range(len(images))])
    return Consistency(
        rows=row_difference(run, images[:ROW_IMAGES]),
        batch=float(relative_distances(alone, together).max()),
        batch_size=len(images),
        spread={
            name: spread(np.ascontiguousarray(together[:, columns]), images)
            for name, columns in parts.items()
        },
    )


def judge(
    reference: Pair,
    candidate: Pair,
    *,
    parts: Mapping[str, slice],
    consistency: Consistency,
    protocol: Protocol,
    thresholds: ParityThresholds,
) -> ParityResult:
    """Compare a candidate with its reference and decide.

    Args:
        reference: embeddings by the reference.
        candidate: embeddings of the same images, in the same order.
        parts: from `parts_of`.
        consistency: of the candidate.
        protocol: of mAP and CMC, and of the rank lists.
        thresholds: the bounds.

    Returns:
        The result.

    Raises:
        ParityError: the two sides are not of the same images.
        ProtocolError: labels the protocol needs are missing.
    """
    for left, right in zip(reference, candidate, strict=True):
        if left.names != right.names:
            raise ParityError(
                f"the sides are not of the same images: {len(left)} and {len(right)} of "
                f"{left.source}; embed them again without leaving out different images"
            )
    features = [
        np.concatenate([query.features, gallery.features])
        for query, gallery in (reference, candidate)
    ]
    agreements = {
        name: agreement(features[0][:, columns], features[1][:, columns])
        for name, columns in parts.items()
    }
    before, after = evaluate(*reference, protocol), evaluate(*candidate, protocol)
    counted = ~np.isnan(before.average_precision)
    change = paired_change(before.average_precision[counted], after.average_precision[counted])
    return ParityResult(
        agreement=agreements,
        ranking=rank_agreement(reference, candidate, protocol),
        mean_ap=change,
        cmc={rank: (before.cmc_at(rank), after.cmc_at(rank)) for rank in CMC_RANKS},
        consistency=consistency,
        metrics=(before, after),
        checks=tuple(_checks(agreements, change, consistency, thresholds)),
        thresholds=thresholds,
    )


def _checks(
    agreements: Mapping[str, Agreement],
    change: Change,
    consistency: Consistency,
    thresholds: ParityThresholds,
) -> list[Check]:
    """Every measure that has a bound."""
    checks = [
        _at_least(f"smallest cosine, {name}", found.cosine_min, thresholds.min_cosine)
        for name, found in agreements.items()
    ]
    checks += [
        _at_least(f"closest different images, {name}", found, thresholds.min_spread)
        for name, found in consistency.spread.items()
    ]
    limit = thresholds.max_row_difference
    checks += [
        _at_most("absolute change of mAP", abs(change.difference), thresholds.max_map_change),
        _at_most("alone or at any row of a batch", consistency.rows, limit),
        _at_most(f"alone or in a batch of {consistency.batch_size}", consistency.batch, limit),
    ]
    return checks


def _at_least(name: str, value: float, bound: float) -> Check:
    """A check that fails for NaN as well."""
    return Check(name, value, f"at least {bound:g}", value >= bound)


def _at_most(name: str, value: float, bound: float) -> Check:
    """A check that fails for NaN as well."""
    return Check(name, value, f"at most {bound:g}", value <= bound)
