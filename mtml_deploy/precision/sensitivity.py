"""How much each layer loses in int8, and how few layers in fp16 are enough to keep the bounds.

In: a `Network`, quantisation steps and a few images. Out: layers, the most sensitive first; and,
with a way to judge a candidate, the trade-off curve, whose last point is the first that keeps the
bounds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.errors import ParityError
from mtml_deploy.precision.int8 import insert_quantisers
from mtml_deploy.precision.network import Layer, Network
from mtml_deploy.precision.session import GraphSession

SENSITIVITY_IMAGES: Final = 4
"""Images per layer: the noise of a layer hardly depends on the image, its rank still less."""


@dataclass(frozen=True)
class LayerNoise:
    """What one layer alone does to its branch.

    Attributes:
        layer: the layer.
        noise: mean over the images of |f' - f|^2 / |f|^2, f the branch's pooled feature in fp32 and
            f' the same with only this layer in int8.
    """

    layer: Layer
    noise: float


@dataclass(frozen=True)
class Quality:
    """How a candidate compares with the fp32 model.

    Attributes:
        cosine_min: part -> cosine of the worst image; the branches and "embedding".
        mean_ap: of the candidate; None where it was not measured.
        passed: whether every bound is kept.
    """

    cosine_min: Mapping[str, float]
    mean_ap: float | None
    passed: bool


@dataclass(frozen=True)
class TradeOff:
    """One point of the curve.

    Attributes:
        kept: the most sensitive layers, by number, that are fp16 instead of int8.
        quality: what that gives.
    """

    kept: int
    quality: Quality


@dataclass(frozen=True)
class SensitivityReport:
    """What the search for a mixed model found.

    Attributes:
        ranking: layers, the most sensitive first.
        curve: layers kept against quality; the last point is the artifact.
        beyond: the same for more layers than needed, cosines only.
        min_cosine: bound of every cosine.
        max_map_drop: bound of |mAP - mAP in fp32|, a fraction.
        reference_map: mAP in fp32; None where there was no labelled data.
        data: labelled source; empty where there was none.
        protocol: of the mAP.
        images: images that cosines were measured on.
        noise_images: images that the ranking was measured on.
    """

    ranking: tuple[LayerNoise, ...]
    curve: tuple[TradeOff, ...]
    beyond: tuple[TradeOff, ...]
    min_cosine: float
    max_map_drop: float
    reference_map: float | None
    data: str
    protocol: str
    images: int
    noise_images: int


def rank_layers(
    network: Network,
    steps: Mapping[str, float],
    images: NDArray[np.uint8],
    *,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[LayerNoise, ...]:
    """Every layer with its noise, the most sensitive first.

    Branches share nothing between their views and their pooled features, so one run measures one
    layer of every branch. The cost is one model built, loaded and run on `images` for each layer of
    the deepest branch (28 for ResNet-18, 69 for ResNet-50), whatever the number of branches.

    Args:
        network: fp32.
        steps: quantisation step of every `Layer.source`.
        images: uint8 [N, H, W, 3].
        progress: called with (runs done, all runs).

    Returns:
        The layers; equal noise in the order of the graph.
    """
    tensors = tuple(network.features.values())
    exact = GraphSession(network.model, tensors, threads=network.threads).run(images)
    by_branch = [
        [layer for layer in network.layers if layer.branch == branch] for branch in network.features
    ]
    runs = list(zip_longest(*by_branch))
    found: list[LayerNoise] = []
    for done, layers in enumerate(runs):
        chosen = [layer for layer in layers if layer is not None]
        model = network.copy()
        insert_quantisers(model, chosen, steps)
        noisy = GraphSession(model, tensors, threads=network.threads).run(images)
        for layer in chosen:
            name = network.features[layer.branch]
            found.append(LayerNoise(layer, _relative_energy(exact[name], noisy[name])))
        if progress:
            progress(done + 1, len(runs))
    return tuple(sorted(found, key=lambda each: -each.noise))


def growing_counts(layers: int) -> Iterator[int]:
    """Numbers of layers to keep: 0, 1, 2, 4, ... and all but one, the last that is int8 at all."""
    yield 0
    count = 1
    while count < layers - 1:
        yield count
        count *= 2
    if layers > 1:
        yield layers - 1


def keep_until_passed(
    ranking: Sequence[LayerNoise], judge: Callable[[Sequence[LayerNoise]], Quality]
) -> tuple[TradeOff, ...]:
    """Keep more and more of the most sensitive layers in fp16 until the bounds are kept.

    Args:
        ranking: layers, the most sensitive first.
        judge: measures a model in which the given layers are int8.

    Returns:
        The curve; its last point passed.

    Raises:
        ParityError: no number of layers is enough.
    """
    curve: list[TradeOff] = []
    for kept in growing_counts(len(ranking)):
        curve.append(TradeOff(kept, judge(ranking[kept:])))
        if curve[-1].quality.passed:
            return tuple(curve)
    last = curve[-1]
    worst = min(last.quality.cosine_min.values())
    measured = "" if last.quality.mean_ap is None else f", mAP {last.quality.mean_ap:.4f}"
    raise ParityError(
        f"with {last.kept} of {len(ranking)} layers in fp16 the int8 model still breaks a bound "
        f"(cosine {worst:.6f}{measured}); nothing was written; export it with --fp16, or allow a "
        "larger --max-map-drop"
    )


def beyond(
    ranking: Sequence[LayerNoise],
    kept: int,
    judge: Callable[[Sequence[LayerNoise]], Quality],
) -> tuple[TradeOff, ...]:
    """The curve after its last point: what more layers in fp16 than needed would give.

    Args:
        ranking: layers, the most sensitive first.
        kept: layers in fp16 of the point that passed.
        judge: measures a model in which the given layers are int8.

    Returns:
        Points of more layers, ascending.
    """
    return tuple(
        TradeOff(more, judge(ranking[more:]))
        for more in growing_counts(len(ranking))
        if more > kept
    )


def _relative_energy(exact: NDArray[np.float32], noisy: NDArray[np.float32]) -> float:
    """Mean over the rows of |noisy - exact|^2 / |exact|^2; infinite where it is not a number."""
    left = exact.reshape(len(exact), -1).astype(np.float64)
    right = noisy.reshape(len(noisy), -1).astype(np.float64)
    energy = np.square(left).sum(axis=1)
    error = np.square(right - left).sum(axis=1)
    ratio = float(np.mean(error / np.where(energy == 0, 1.0, energy)))
    return ratio if np.isfinite(ratio) else float("inf")
