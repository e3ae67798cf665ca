"""Arithmetic of a model, counted from the shapes in its ONNX graph at batch 1.

Only products count (convolutions and matrix products), as is usual: everything else in a residual
network is well under one percent. One multiply-add is two floating point operations (FLOP).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import onnx

from mtml_deploy.errors import ArtifactError

Shape = tuple[int, ...]

FLOP_PER_MULTIPLY_ADD: Final = 2

_UNCOUNTED_PRODUCTS: Final = frozenset(
    {
        # a wrong number is worse than none: these hold products that nothing here counts
        *("ConvTranspose", "ConvInteger", "QLinearConv", "DeformConv", "MatMulInteger"),
        *("QLinearMatMul", "Einsum", "Attention", "LSTM", "GRU", "RNN", "If", "Loop", "Scan"),
    }
)


def multiply_adds(model: onnx.ModelProto) -> dict[str, int]:
    """Multiply-adds of one image.

    Args:
        model: a graph whose inputs have fixed sizes after the batch; not changed.

    Returns:
        Operator -> multiply-adds of all its nodes at batch 1.

    Raises:
        ArtifactError: an operator that holds products and is not counted here, or a shape that
            cannot be inferred.
    """
    shapes = tensor_shapes(model)
    counts: dict[str, int] = {}
    for node in model.graph.node:
        if node.op_type in _COUNTERS:
            count = node_multiply_adds(node, shapes)
            counts[node.op_type] = counts.get(node.op_type, 0) + count
    return counts


def node_multiply_adds(node: onnx.NodeProto, shapes: Mapping[str, Shape]) -> int:
    """Multiply-adds of one node at batch 1; 0 for one without products.

    Args:
        node: of a graph that `tensor_shapes` took.
        shapes: from it.

    Raises:
        ArtifactError: a shape that it needs is not known.
    """
    count = _COUNTERS.get(node.op_type)
    return 0 if count is None else count(node, shapes)


def flop_per_image(path: Path) -> int:
    """Floating point operations of one image through the model in `path`.

    Args:
        path: an ONNX file.

    Returns:
        2 x multiply-adds.

    Raises:
        ArtifactError: see `multiply_adds`.
    """
    return FLOP_PER_MULTIPLY_ADD * sum(multiply_adds(onnx.load(path)).values())


def tensor_shapes(model: onnx.ModelProto) -> dict[str, Shape]:
    """Sizes of every tensor whose sizes are all known at batch 1.

    Args:
        model: a graph whose inputs have fixed sizes after the batch; not changed.

    Raises:
        ArtifactError: an operator that holds products and is not counted here, or a shape that
            cannot be inferred.
    """
    for node in model.graph.node:
        if node.domain not in ("", "ai.onnx") or node.op_type in _UNCOUNTED_PRODUCTS:
            raise ArtifactError(
                f"the model holds {node.domain or 'ai.onnx'}:{node.op_type}, whose arithmetic "
                f"cannot be counted; expected {', '.join(_COUNTERS)} and operators without "
                "products: export the model again"
            )
    single = onnx.ModelProto()
    single.CopyFrom(model)
    graph = single.graph
    # what the exporter noted for any batch would stand in the way of what holds at batch 1
    del graph.value_info[:]
    for output in graph.output:
        output.type.tensor_type.ClearField("shape")
    constants = {tensor.name for tensor in graph.initializer}
    for value in graph.input:
        dims = value.type.tensor_type.shape.dim
        if value.name not in constants and len(dims) and not dims[0].HasField("dim_value"):
            dims[0].dim_value = 1
    try:
        inferred = onnx.shape_inference.infer_shapes(single, strict_mode=True, data_prop=True)
    except onnx.shape_inference.InferenceError as error:
        raise ArtifactError(
            f"the shapes of the model cannot be inferred ({str(error).splitlines()[0]}); export it "
            "again"
        ) from error
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    known = inferred.graph
    for value in (*known.input, *known.value_info, *known.output):
        dims = value.type.tensor_type.shape.dim
        if value.type.tensor_type.HasField("shape") and all(d.HasField("dim_value") for d in dims):
            shapes[value.name] = tuple(d.dim_value for d in dims)
    return shapes


def _shape(name: str, node: onnx.NodeProto, shapes: Mapping[str, Shape]) -> Shape:
    """Sizes of the tensor `name`, which `node` reads or writes."""
    if name not in shapes:
        raise ArtifactError(
            f"the size of {name} at the {node.op_type} {node.name or node.output[0]} cannot be "
            "inferred, so its arithmetic cannot be counted; export the model with fixed image sizes"
        )
    return shapes[name]


def _convolution(node: onnx.NodeProto, shapes: Mapping[str, Shape]) -> int:
    """Every output value is a sum over C / groups x kernel, the weight's sizes after the first."""
    output = _shape(node.output[0], node, shapes)  # [1, M, ...]
    weight = _shape(node.input[1], node, shapes)  # [M, C / groups, ...]
    return math.prod(output) * math.prod(weight[1:])


def _gemm(node: onnx.NodeProto, shapes: Mapping[str, Shape]) -> int:
    """Every output value is a sum over the shared side of A and B."""
    transposed = any(a.name == "transA" and a.i for a in node.attribute)
    shared = _shape(node.input[0], node, shapes)[0 if transposed else 1]
    return math.prod(_shape(node.output[0], node, shapes)) * shared


def _matrix_product(node: onnx.NodeProto, shapes: Mapping[str, Shape]) -> int:
    """Every output value, over all broadcast matrices, is a sum over A's last side."""
    shared = _shape(node.input[0], node, shapes)[-1]
    return math.prod(_shape(node.output[0], node, shapes)) * shared


_COUNTERS: Final[Mapping[str, Callable[[onnx.NodeProto, Mapping[str, Shape]], int]]] = {
    "Conv": _convolution,
    "Gemm": _gemm,
    "MatMul": _matrix_product,
}
