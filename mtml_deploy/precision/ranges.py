"""Activation ranges measured on images: what overflows fp16, and the steps of int8.

In: a `Network` and images. Out: nodes to keep in fp32, and a quantisation step per layer.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.errors import ParityError
from mtml_deploy.precision.fp16 import HALF_MAX
from mtml_deploy.precision.histogram import Histogram, threshold
from mtml_deploy.precision.int8 import step_of
from mtml_deploy.precision.network import Network
from mtml_deploy.precision.options import Calibrator
from mtml_deploy.precision.session import GraphSession

HEADROOM: Final = 4.0
"""Activations of other images may be larger than those seen: fp16 is used up to a quarter of its
range."""


def largest_magnitudes(network: Network, images: NDArray[np.uint8]) -> dict[str, float]:
    """Largest magnitude of every lowerable node's inputs and outputs.

    Args:
        network: fp32.
        images: uint8 [N, H, W, 3].

    Returns:
        Tensor -> magnitude over all images.
    """
    tensors = _lowerable_tensors(network)
    found = dict.fromkeys(tensors, 0.0)
    for part in _each(network, tensors, images):
        for name, values in part.items():
            found[name] = max(found[name], float(np.abs(values).max()))
    return found


def overflowing(network: Network, magnitudes: Mapping[str, float]) -> tuple[str, ...]:
    """Nodes that fp16 has no room for: by their activations or by their weights.

    Args:
        network: fp32.
        magnitudes: from `largest_magnitudes`.

    Returns:
        Nodes (their first outputs) in the order of the graph.
    """
    from onnx import TensorProto, numpy_helper

    weights = {
        tensor.name: float(np.abs(numpy_helper.to_array(tensor)).max(initial=0.0))
        for tensor in network.model.graph.initializer
        if tensor.data_type == TensorProto.FLOAT
    }
    lowerable = set(network.lowerable)
    kept = []
    for node in network.model.graph.node:
        if node.output[0] in lowerable:
            names = (*node.input, *node.output)
            # not `>`: a NaN is no number that fits
            fits = all(magnitudes.get(name, 0.0) <= HALF_MAX / HEADROOM for name in names)
            if not fits or any(weights.get(name, 0.0) > HALF_MAX for name in names):
                kept.append(node.output[0])
    return tuple(kept)


def measure_histograms(
    network: Network,
    images: NDArray[np.uint8],
    *,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Histogram]:
    """Histogram of every activation that a layer would quantise.

    Args:
        network: fp32.
        images: uint8 [N, H, W, 3], the calibration images.
        progress: called with (images done, all images).

    Returns:
        `Layer.source` -> histogram over all images.

    Raises:
        ParityError: the fp32 model itself gives values that are not finite.
    """
    tensors = tuple(dict.fromkeys(layer.source for layer in network.layers))
    found = {name: Histogram() for name in tensors}
    for done, part in enumerate(_each(network, tensors, images)):
        for name, values in part.items():
            try:
                found[name] = found[name].with_values(values)
            except ValueError as error:
                raise ParityError(
                    f"{name} of the fp32 model is not finite for calibration image {done + 1}, "
                    "expected finite activations; leave the image out, or train again"
                ) from error
        if progress:
            progress(done + 1, len(images))
    return found


def quantisation_steps(histograms: Mapping[str, Histogram], rule: Calibrator) -> dict[str, float]:
    """The int8 step of every activation.

    Args:
        histograms: from `measure_histograms`.
        rule: see `threshold`.

    Returns:
        `Layer.source` -> step, an fp16 number.
    """
    return {name: step_of(threshold(found, rule)) for name, found in histograms.items()}


def _lowerable_tensors(network: Network) -> tuple[str, ...]:
    """Activations that lowerable nodes read or write."""
    lowerable = set(network.lowerable)
    constants: Collection[str] = {tensor.name for tensor in network.model.graph.initializer}
    return tuple(
        dict.fromkeys(
            name
            for node in network.model.graph.node
            if node.output[0] in lowerable
            for name in (*node.input, *node.output)
            if name not in constants
        )
    )


def _each(
    network: Network, tensors: Sequence[str], images: NDArray[np.uint8]
) -> Iterator[Mapping[str, NDArray[np.float32]]]:
    """The tensors for one image after the other."""
    session = GraphSession(network.model, tensors, threads=network.threads)
    return session.stream(images, batch=1)
