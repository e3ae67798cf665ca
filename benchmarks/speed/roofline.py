"""What a GPU can do with a model at most: per layer, the slower of arithmetic and memory traffic.

In: an ONNX graph and a GPU's two limits. Out: seconds and the bound of each layer, and images per
second of an engine that fuses all it can. Nothing is run: it plans a deployment, it measures none.

A layer is a product (convolution, matrix product) with the element-wise operators after it, which
an engine computes before the result leaves the chip: activations are read once and written once, a
residual sum reads its second operand, weights are read once per batch (roofline model: Williams,
Waterman, Patterson 2009). Caches help real engines, imperfect kernels cost them.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

import onnx

from benchmarks.sizes import GPU_NAMES
from benchmarks.speed.flops import FLOP_PER_MULTIPLY_ADD, node_multiply_adds, tensor_shapes

Bound = Literal["arithmetic", "memory"]


@dataclass(frozen=True)
class GpuLimits:
    """Two limits of a GPU, from its maker's data sheet.

    Attributes:
        fp16_tflops: dense half precision products with float32 sums, 10^12 per second.
        gb_per_s: memory bandwidth, 10^9 bytes per second.
        int8_tops: dense 8-bit products, 10^12 per second.
    """

    fp16_tflops: float
    gb_per_s: float
    int8_tops: float


_SHEETS: Final = (
    GpuLimits(989, 3352, 1979),
    GpuLimits(756, 2039, 1513),
    GpuLimits(312, 2039, 624),
    GpuLimits(125, 600, 250),
    GpuLimits(121, 300, 242),
    GpuLimits(65, 320, 130),
)

GPUS: Final[Mapping[str, GpuLimits]] = MappingProxyType(dict(zip(GPU_NAMES, _SHEETS, strict=True)))
"""Data sheets of NVIDIA; dense, at boost clocks."""

_ELEMENT_WISE: Final = frozenset(
    {
        *("Relu", "Add", "Mul", "Sub", "Div", "Clip", "BatchNormalization", "Cast"),
        *("QuantizeLinear", "DequantizeLinear", "Identity", "Reshape", "Flatten", "Unsqueeze"),
        *("Squeeze", "Constant", "Shape", "Expand"),
    }
)
"""Operators that an engine computes with the product before them, or not at all."""


@dataclass(frozen=True)
class Layer:
    """One fused layer at one batch size.

    Attributes:
        name: of its node.
        operator: of its node.
        flop: floating point operations of one image.
        bytes: read and written for one image, its share of the weights with it.
        seconds: least time for one image.
        bound: which limit that is.
    """

    name: str
    operator: str
    flop: int
    bytes: float
    seconds: float
    bound: Bound


@dataclass(frozen=True)
class Roofline:
    """A model on a GPU, at most.

    Attributes:
        layers: in the order of the graph.
        images_per_s: of the whole model.
        share: of the GPU's product rate, fraction.
    """

    layers: tuple[Layer, ...]
    images_per_s: float
    share: float


def roofline(
    model: onnx.ModelProto,
    gpu: GpuLimits,
    *,
    precision: Literal["fp16", "int8"],
    batch: int,
    reached: float = 1.0,
) -> Roofline:
    """The bound of every layer.

    Args:
        model: a graph whose inputs have fixed sizes after the batch.
        gpu: its limits.
        precision: of products and activations.
        batch: images per run, 1 or more; weights are read once for all.
        reached: share of both limits that kernels are taken to reach, above 0 to 1.

    Returns:
        The roofline.

    Raises:
        ArtifactError: arithmetic or a size that cannot be inferred.
        ValueError: a number outside its range.
    """
    if batch < 1 or not 0 < reached <= 1:
        raise ValueError(f"batch is 1 or more and reached in (0, 1], found {batch} and {reached}")
    width = 2 if precision == "fp16" else 1
    rate = (gpu.fp16_tflops if precision == "fp16" else gpu.int8_tops) * 1e12 * reached
    bandwidth = gpu.gb_per_s * 1e9 * reached
    shapes = tensor_shapes(model)
    constants = {tensor.name for tensor in model.graph.initializer}
    computed = _computed_from_constants(model, constants)
    layers = []
    for node in model.graph.node:
        if all(name in computed for name in node.output if name):
            continue
        flop = FLOP_PER_MULTIPLY_ADD * node_multiply_adds(node, shapes)
        if flop:
            weights = [name for name in node.input if name in constants | computed]
            moved = _values(node.output, shapes) + _values(node.input, shapes, without=weights)
            moved += _values(weights, shapes) / batch
        elif node.op_type in _ELEMENT_WISE:
            # fused; a sum of two computed tensors reads the second from memory
            given = [name for name in node.input if name and name not in constants | computed]
            moved = _values(given[1:], shapes)
        else:
            moved = _values(node.output, shapes) + _values(node.input, shapes, without=constants)
        if not moved:
            continue
        seconds = {"arithmetic": flop / rate, "memory": moved * width / bandwidth}
        bound: Bound = "arithmetic" if seconds["arithmetic"] >= seconds["memory"] else "memory"
        layers.append(
            Layer(
                node.name or node.output[0],
                node.op_type,
                flop,
                moved * width,
                seconds[bound],
                bound,
            )
        )
    total = sum(layer.seconds for layer in layers)
    arithmetic = sum(layer.flop for layer in layers) / (rate / reached)
    return Roofline(tuple(layers), 1 / total, arithmetic / total)


def _values(
    names: Iterable[str],
    shapes: Mapping[str, tuple[int, ...]],
    *,
    without: Collection[str] = (),
) -> float:
    """Values of some tensors at batch 1; one whose size is not known counts as none."""
    wanted = [name for name in names if name in shapes and name not in without]
    return sum(math.prod(shapes[name]) for name in wanted)


def _computed_from_constants(model: onnx.ModelProto, constants: set[str]) -> set[str]:
    """Tensors that do not depend on the images: an engine computes them when it is built."""
    found: set[str] = set()
    for node in model.graph.node:
        if all(name in constants | found for name in node.input if name):
            found.update(node.output)
    return found
