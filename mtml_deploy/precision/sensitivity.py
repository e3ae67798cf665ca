"""How much each layer loses in int8: the order in which layers are given back their precision.

In: a `Network`, quantisation steps and a few images. Out: layers, the most sensitive first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from typing import Final

import numpy as np
from numpy.typing import NDArray

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
    exact = GraphSession(network.model, tensors).run(images)
    by_branch = [
        [layer for layer in network.layers if layer.branch == branch] for branch in network.features
    ]
    runs = list(zip_longest(*by_branch))
    found: list[LayerNoise] = []
    for done, layers in enumerate(runs):
        chosen = [layer for layer in layers if layer is not None]
        model = network.copy()
        insert_quantisers(model, chosen, steps)
        noisy = GraphSession(model, tensors).run(images)
        for layer in chosen:
            name = network.features[layer.branch]
            found.append(LayerNoise(layer, _relative_energy(exact[name], noisy[name])))
        if progress:
            progress(done + 1, len(runs))
    return tuple(sorted(found, key=lambda each: -each.noise))


def _relative_energy(exact: NDArray[np.float32], noisy: NDArray[np.float32]) -> float:
    """Mean over the rows of |noisy - exact|^2 / |exact|^2; infinite where it is not a number."""
    left = exact.reshape(len(exact), -1).astype(np.float64)
    right = noisy.reshape(len(noisy), -1).astype(np.float64)
    energy = np.square(left).sum(axis=1)
    error = np.square(right - left).sum(axis=1)
    ratio = float(np.mean(error / np.where(energy == 0, 1.0, energy)))
    return ratio if np.isfinite(ratio) else float("inf")
