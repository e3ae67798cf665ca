"""Whether a projection helps, measured before it is used: cross-validation over training vehicles.

In: training embeddings with vehicles. Out: mAP of the embeddings as they are and of every method,
learnt on some of the vehicles and ranked within the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.compression.learn import CompressOptions
from mtml_deploy.compression.principal import principal_directions
from mtml_deploy.compression.projection import Projection
from mtml_deploy.compression.within_vehicle import within_vehicle
from mtml_deploy.data.holdout import by_hash
from mtml_deploy.data.records import UNKNOWN
from mtml_deploy.defaults import FOLDS
from mtml_deploy.embed.embeddings import Embeddings
from mtml_deploy.embed.rows import Ids
from mtml_deploy.embed.unit_length import unit_rows
from mtml_deploy.errors import EmbeddingsError
from mtml_deploy.evaluation.match_ranks import match_ranks
from mtml_deploy.evaluation.metrics import retrieval_metrics
from mtml_deploy.evaluation.protocols import Protocol, find_protocol, same_vehicle_rows
from mtml_deploy.parity.bootstrap import Change, paired_change
from mtml_deploy.search.distance_blocks import PlainOrder, RowsOf

AS_EMBEDDED: Final = "as embedded"
"""The row of the embeddings before any projection."""

MOST_IMAGES: Final = 4000
"""Images that are cross-validated at most: whole vehicles are left out beyond. What is learnt and
ranked then takes a minute on two cores, and the intervals are narrow."""

Distance = Literal["l2", "unit"]
"""A column: "l2" as the projection gives rows, "unit" of rows of length 1."""

L2: Final[Distance] = "l2"
UNIT: Final[Distance] = "unit"


@dataclass(frozen=True)
class Score:
    """One row of the table.

    Attributes:
        method: `AS_EMBEDDED` or a method.
        dim: dimensions in each fold, the fewest; a fold may tell fewer than were asked for.
        mean_ap: "l2" and "unit" -> mean over all queries of all folds of the step average
            precision, 0..1.
        change: of the column that was asked for, over the better one as embedded; intervals over
            vehicles. None for the embeddings themselves.
    """

    method: str
    dim: int
    mean_ap: Mapping[Distance, float]
    change: Change | None = None


@dataclass(frozen=True)
class CrossValidation:
    """What a projection does to vehicles that it was not learnt from.

    Attributes:
        scores: as embedded first, then every method.
        folds: parts that were ranked in turn.
        vehicles: of all parts.
        images: of all parts.
        queries: images that have a match in their part.
        across_cameras: a query's own camera was left out; else only the query itself, because not
            every image has a camera or no vehicle has two.
        asked: the method that is to be used.
        column: its column, by which methods are compared.
    """

    scores: tuple[Score, ...]
    folds: int
    vehicles: int
    images: int
    queries: int
    across_cameras: bool
    asked: str
    column: Distance

    def score(self, method: str) -> Score:
        """The row of a method."""
        return next(score for score in self.scores if score.method == method)

    @property
    def best(self) -> Score | None:
        """The best method whose gain is beyond doubt; None where the embeddings rank best."""
        sure = [each for each in self.scores if each.change is not None and each.change.low > 0]
        return max(sure, key=lambda each: each.mean_ap[self.column], default=None)


def cross_validate(
    train: Embeddings,
    options: CompressOptions,
    *,
    folds: int = FOLDS,
    progress: Callable[[int, int], None] | None = None,
) -> CrossValidation:
    """Measure every method on training vehicles that it did not learn from.

    Vehicles are dealt to the folds by the hash of their ids, so the same images give the same folds
    everywhere. Every image of a fold asks all images of its fold.

    Args:
        train: embeddings of training images; those of unknown vehicle play no part.
        options: dimensions, shrinkage and whether rows get length 1; and the method that is to be
            used, although all are measured. Without a number of dimensions PCA keeps all it knows.
        folds: parts, 2 or more; fewer where there are not two vehicles for each.
        progress: called with (folds done, folds).

    Returns:
        The table.

    Raises:
        EmbeddingsError: fewer than four vehicles, or no image with a match.
        ValueError: `folds` below 2.
    """
    if folds < 2:
        raise ValueError(f"cross-validation needs 2 folds or more, found {folds}")
    parts = _parts(train, folds)
    rows = np.concatenate(parts)
    rule = _rule(train[rows])
    found: dict[tuple[str, Distance], list[NDArray[np.float64]]] = {}
    dims: dict[str, int] = {}
    vehicles: list[Ids] = []
    for number, part in enumerate(parts):
        if progress is not None:
            progress(number, len(parts))
        held = train[part]
        learnt = np.concatenate([other for other in parts if other is not part])
        for method, features in _projected(train, learnt, held, options):
            dims[method] = min(dims.get(method, features.shape[1]), features.shape[1])
            for column, judged in ((L2, features), (UNIT, unit_rows(features))):
                precision = _average_precision(judged.astype(np.float32), held, rule)
                found.setdefault((method, column), []).append(precision)
        vehicles.append(held.vehicle_ids)
    if progress is not None:
        progress(len(parts), len(parts))
    values = {key: np.concatenate(each) for key, each in found.items()}
    counted = np.isfinite(values[AS_EMBEDDED, L2])
    if not counted.any():
        raise EmbeddingsError(
            f"none of the {len(rows)} training images has a match among the others, so projections "
            f"cannot be compared; embed a training set with several images of a vehicle"
        )
    groups = np.concatenate(vehicles)[counted].astype(np.int64)
    column = UNIT if options.normalise else L2
    before = max((values[AS_EMBEDDED, each][counted] for each in (L2, UNIT)), key=np.mean)
    scores = [
        Score(
            method=method,
            dim=dim,
            mean_ap={each: float(values[method, each][counted].mean()) for each in (L2, UNIT)},
            change=None
            if method == AS_EMBEDDED
            else paired_change(before, values[method, column][counted], groups=groups),
        )
        for method, dim in dims.items()
    ]
    return CrossValidation(
        scores=tuple(scores),
        folds=len(parts),
        vehicles=len(np.unique(train.vehicle_ids[rows])),
        images=len(rows),
        queries=int(np.count_nonzero(counted)),
        across_cameras=rule is not None,
        asked=options.method,
        column=column,
    )


def _parts(train: Embeddings, folds: int) -> list[NDArray[np.int64]]:
    """The rows of each fold, ascending; no vehicle is in two."""
    ids = train.vehicle_ids
    chosen: list[int] = []
    images = 0
    sizes = dict(zip(*np.unique(ids[ids != UNKNOWN], return_counts=True), strict=True))
    for vehicle in by_hash(0)([int(each) for each in sizes]):
        if chosen and images + sizes[vehicle] > MOST_IMAGES:
            break
        chosen.append(vehicle)
        images += sizes[vehicle]
    count = min(folds, len(chosen) // 2)
    if count < 2:
        raise EmbeddingsError(
            f"{train.source} has {len(chosen)} known vehicles, and projections are compared on "
            f"vehicles they were not learnt from, which needs four; embed a labelled training set "
            f"such as veri:DIR#train"
        )
    return [np.flatnonzero(np.isin(ids, chosen[number::count])) for number in range(count)]


def _rule(images: Embeddings) -> Protocol | None:
    """The cross-camera protocol, where every image has a camera and some vehicle has two."""
    if (images.camera_ids == UNKNOWN).any():
        return None
    pairs = np.unique(np.stack([images.vehicle_ids, images.camera_ids]), axis=1)
    return None if len(np.unique(pairs[0])) == pairs.shape[1] else find_protocol("veri776")


def _projected(
    train: Embeddings, learnt: NDArray[np.int64], held: Embeddings, options: CompressOptions
) -> Iterator[tuple[str, NDArray[np.floating]]]:
    """The features of a fold as they are and by every method, without a last scaling."""
    yield AS_EMBEDDED, held.features
    features, vehicles = train.features[learnt], train.vehicle_ids[learnt]

    def apply(projection: Projection) -> NDArray[np.float64]:
        return projection.apply(held.features)

    principal = principal_directions(features, most=options.dim)
    known = min(principal.directions.shape[1], len(learnt) - 1)
    for method, whiten in (("pca", False), ("pca-whiten", True)):
        if known:
            yield method, apply(principal.projection(dim=known, whiten=whiten, normalise=False))
    scatter = within_vehicle(features, vehicles)
    # a fold has fewer vehicles than the whole, and so fewer directions
    dim = None if options.dim is None else min(options.dim, len(scatter.counts) - 1)
    yield "lda", apply(scatter.projection(dim=dim, shrinkage=options.shrinkage, normalise=False))


def _average_precision(
    features: NDArray[np.float32], images: Embeddings, rule: Protocol | None
) -> NDArray[np.float64]:
    """Step average precision of every image among the others, [N]; NaN without a match."""
    excluded: RowsOf = lambda row: np.array([row])  # noqa: E731
    if rule is not None:
        excluded = rule.excluded(images, images)
    ranks, _ = match_ranks(
        PlainOrder(features, features),
        matches=same_vehicle_rows(images, images),
        excluded=excluded,
    )
    return retrieval_metrics(
        ranks, protocol=rule or find_protocol("plain"), gallery_size=len(images), ties=0
    ).average_precision
