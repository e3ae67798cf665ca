"""Evaluation with drawn galleries: one random image of each vehicle is found by all the others.

In: embeddings of all images. Out: the metrics of every draw, with their mean and spread. A draw
depends on the seed and on the names of the images, not on their order nor on a library's version.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.data.records import UNKNOWN
from mtml_deploy.embed.embeddings import Embeddings, require_comparable
from mtml_deploy.errors import ProtocolError
from mtml_deploy.evaluation.metrics import RetrievalMetrics
from mtml_deploy.evaluation.own_copies import are_near
from mtml_deploy.evaluation.protocols import Protocol
from mtml_deploy.evaluation.stages import SearchOptions, stages
from mtml_deploy.search.rerank import RerankOptions


@dataclass(frozen=True)
class ImagePool:
    """All images that draws are made from.

    Attributes:
        images: N images of known vehicle, no image twice.
        copies: images left out because another is a copy of them.
        unknown: images left out because their vehicle is unknown.
    """

    images: Embeddings
    copies: int
    unknown: int


@dataclass(frozen=True)
class Spread:
    """How one number varies over the draws.

    Attributes:
        mean: over all draws.
        std: standard deviation of one draw (divisor: draws - 1); None for a single draw.
        low: smallest.
        high: largest.
    """

    mean: float
    std: float | None
    low: float
    high: float


@dataclass(frozen=True)
class DrawnMetrics:
    """Metrics of every draw.

    Attributes:
        protocol: name of the protocol.
        draws: one result each, in the order of the draws; all have equal numbers of images.
        seed: of the draws.
        gallery_size: G, vehicles.
    """

    protocol: str
    draws: tuple[RetrievalMetrics, ...]
    seed: int
    gallery_size: int

    @property
    def mean_ap(self) -> float:
        """Mean over the draws."""
        return float(np.mean([drawn.mean_ap for drawn in self.draws]))

    @property
    def cmc(self) -> NDArray[np.float64]:
        """float64 [K], mean over the draws."""
        mean: NDArray[np.float64] = np.mean([drawn.cmc for drawn in self.draws], axis=0)
        return mean

    def spread(self, value: Callable[[RetrievalMetrics], float | None]) -> Spread | None:
        """Mean and spread of one number.

        Args:
            value: takes the number from the metrics of a draw.

        Returns:
            The spread; None where the number does not exist in every draw.
        """
        values = [number for drawn in self.draws if (number := value(drawn)) is not None]
        if len(values) < len(self.draws):
            return None
        return Spread(
            mean=float(np.mean(values)),
            std=float(np.std(values, ddof=1)) if len(values) > 1 else None,
            low=min(values),
            high=max(values),
        )


def pool_images(gallery: Embeddings, query: Embeddings | None = None) -> ImagePool:
    """The images of one or two sets, each image once.

    Two images are copies if file name (without folder), vehicle and camera are equal and their
    embeddings are nearer than `NAMED_TOLERANCE`: published query sets are copies of gallery images.

    Args:
        gallery: a set of images.
        query: more images of the same model; None for none.

    Returns:
        The images, those of `gallery` first.

    Raises:
        EmbeddingsError: the two sets were made by different models.
        ProtocolError: one is of images and the other of tracklets.
    """
    if query is not None:
        require_comparable(query, gallery)
        if query.unit != gallery.unit:
            raise ProtocolError(
                f"{query.source} is of {query.unit}s and {gallery.source} of {gallery.unit}s, and "
                "galleries are drawn from one kind; give two files of images or two of tracklets"
            )
        gallery = replace(
            Embeddings.concat([gallery, query]),
            names=gallery.names + query.names,  # a draw depends on the names as they were
            root=gallery.root,
            source=f"{gallery.source} and {query.source}",
        )
    known = np.flatnonzero(gallery.vehicle_ids != UNKNOWN)
    rows = _without_copies(gallery, known)
    return ImagePool(
        images=gallery[rows],
        copies=len(known) - len(rows),
        unknown=len(gallery) - len(known),
    )


def draw_gallery(images: Embeddings, *, seed: int, draw: int) -> NDArray[np.bool_]:
    """Which images are the gallery of one draw: one of each vehicle, each equally likely.

    Args:
        images: N images of known vehicle.
        seed: of all draws.
        draw: number of the draw, from 0.

    Returns:
        bool [N], true for one image of each vehicle.
    """
    first: dict[int, tuple[bytes, int]] = {}
    for row, (name, vehicle) in enumerate(zip(images.names, images.vehicle_ids, strict=True)):
        text = f"{seed}\0{draw}\0{vehicle}\0{name}".encode("utf-8", "surrogateescape")
        # the smallest of independent random numbers is any of them with equal chance
        ticket = hashlib.sha256(text).digest(), row
        first[int(vehicle)] = min(first.get(int(vehicle), ticket), ticket)
    drawn = np.zeros(len(images), dtype=bool)
    drawn[[row for _, row in first.values()]] = True
    return drawn


def evaluate_draws(
    pool: ImagePool,
    protocol: Protocol,
    *,
    draws: int,
    seed: int,
    reranking: RerankOptions | None = None,
    memory_bytes: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[DrawnMetrics]:
    """Metrics of every draw of a gallery.

    Args:
        pool: all images.
        protocol: one that draws its gallery.
        draws: how many, at least 1.
        seed: of the draws; equal seeds give equal galleries.
        reranking: parameters, with which every draw is re-ranked by itself; None does not re-rank.
        memory_bytes: see `evaluate`.
        progress: called with (draws done, in total).

    Returns:
        The metrics of the order of the L2 distances, then those of the re-ranked one if asked for.

    Raises:
        ProtocolError: no vehicle has two images.
        ValueError: `draws` below 1, or a protocol that does not draw.
    """
    if draws < 1 or not protocol.draws_gallery:
        raise ValueError(f"{draws} draws under protocol {protocol.name}")
    images = pool.images
    vehicles = len(np.unique(images.vehicle_ids))
    if vehicles == len(images):
        raise ProtocolError(
            f"protocol {protocol.name} looks for each vehicle by its other images, but none of the "
            f"{vehicles} vehicles of {images.source} has two images ({pool.unknown} images are of "
            f"unknown vehicle, {pool.copies} are copies); give all images of a labelled set"
        )
    search = SearchOptions(memory_bytes=memory_bytes)
    results = []
    for draw in range(draws):
        drawn = draw_gallery(images, seed=seed, draw=draw)
        query, gallery = images[~drawn], images[drawn]
        asked = stages(query, gallery, protocol, search=search, reranking=reranking)
        results.append([stage.metrics() for stage in asked])
        if progress is not None:
            progress(draw + 1, draws)
    return [
        DrawnMetrics(protocol.name, by_stage, seed, vehicles)
        for by_stage in zip(*results, strict=True)
    ]


def _without_copies(images: Embeddings, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """`rows` without copies of an earlier one."""
    kept: list[int] = []
    alike: dict[tuple[str, int, int], list[int]] = {}
    for row in rows.tolist():
        name = images.names[row].rpartition("/")[2]
        key = name, int(images.vehicle_ids[row]), int(images.camera_ids[row])
        others = alike.setdefault(key, [])
        if any(are_near(images.features[row], images.features[other]) for other in others):
            continue
        others.append(row)
        kept.append(row)
    return np.array(kept, dtype=np.int64)
