"""Q/DQ nodes: int8 activations and weights, written so that TensorRT's parser takes them.

In: layers and the quantisation step of each activation. Out: the model with symmetric
QuantizeLinear / DequantizeLinear pairs, zero points 0, weights per output channel, biases left
as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.precision.network import Layer

if TYPE_CHECKING:
    import onnx

LEVELS: Final = 127
"""Largest quantised magnitude; -128 is left out, so that zero stays zero and signs are alike."""

_LEAST: Final = float(np.finfo(np.float16).tiny)
"""Smallest step, the smallest normal fp16 number: below it steps would lose their digits."""


def step_of(largest: float) -> float:
    """The quantisation step that makes `largest` the largest magnitude.

    Args:
        largest: magnitude, 0 or more.

    Returns:
        `largest` / 127 rounded up to an fp16 number: the graph holds steps in fp16, and values are
        quantised by the step they are later multiplied with.
    """
    exact = max(largest / LEVELS, _LEAST)
    step = np.float16(exact)
    # float(): NumPy would round the number beside an fp16 one to fp16 before it compares
    return float(step if float(step) >= exact else np.nextafter(step, np.float16(np.inf)))


def quantised_weight(
    weight: NDArray[np.float32],
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """A weight in int8, one step per output channel.

    Args:
        weight: float32 [O, ...].

    Returns:
        int8 of the same shape, -127..127; float32 [O], steps that are fp16 numbers.
    """
    largest = np.abs(weight).reshape(len(weight), -1).max(axis=1)
    steps = np.array([step_of(float(value)) for value in largest], dtype=np.float32)
    shaped = steps.reshape(-1, *(1,) * (weight.ndim - 1))
    values = np.clip(np.rint(weight / shaped), -LEVELS, LEVELS)
    return values.astype(np.int8), steps


def insert_quantisers(
    model: onnx.ModelProto, layers: Sequence[Layer], steps: Mapping[str, float]
) -> tuple[str, ...]:
    """Quantise the inputs of layers; an activation that several read has one pair.

    Args:
        model: float32; changed in place.
        layers: what to quantise.
        steps: quantisation step of every `Layer.source`.

    Returns:
        The nodes that were added, by their first output.
    """
    from onnx import helper, numpy_helper

    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    wanted = {layer.node: layer for layer in layers}
    nodes: list[onnx.NodeProto] = []
    added: list[str] = []
    seen: set[str] = set()

    def add_constant(name: str, values: NDArray[np.generic]) -> str:
        graph.initializer.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def add_node(operator: str, inputs: list[str], output: str) -> onnx.NodeProto:
        nodes.append(helper.make_node(operator, inputs, [output], name=output))
        added.append(output)
        return nodes[-1]

    for node in graph.node:
        layer = wanted.get(node.output[0])
        if layer is not None:
            source, ready = layer.source, f"{layer.source}.dequantised"
            if source not in seen:
                seen.add(source)
                step = add_constant(f"{source}.step", np.array(steps[source], np.float32))
                zero = add_constant(f"{source}.zero", np.array(0, np.int8))
                add_node("QuantizeLinear", [source, step, zero], f"{source}.quantised")
                add_node("DequantizeLinear", [f"{source}.quantised", step, zero], ready)
            node.input[layer.index] = ready
            if layer.weight:
                name = layer.weight
                values, scales = quantised_weight(numpy_helper.to_array(constants[name]))
                constants[name].CopyFrom(numpy_helper.from_array(values, name))
                step = add_constant(f"{name}.step", scales)
                zero = add_constant(f"{name}.zero", np.zeros(len(scales), np.int8))
                ready = f"{name}.dequantised"
                dequantiser = add_node("DequantizeLinear", [name, step, zero], ready)
                dequantiser.attribute.append(helper.make_attribute("axis", 0))  # output channels
                node.input[1] = ready
        nodes.append(node)
    held = [type(node).FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(held)
    return tuple(added)
