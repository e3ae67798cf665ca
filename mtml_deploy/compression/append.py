"""A projection as nodes of the graph, behind the embeddings.

In: the ONNX file of an artifact and a `Projection`. Out: the model in memory that gives the
projected embeddings.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.artifact.manifest import EMBEDDINGS_OUTPUT
from mtml_deploy.artifact.onnx_file import EXPORT_AGAIN, load_model
from mtml_deploy.compression.projection import Projection
from mtml_deploy.embed.unit_length import MIN_LENGTH
from mtml_deploy.errors import ArtifactError

if TYPE_CHECKING:
    import onnx

_PREFIX: Final = "projection"
"""Begins the name of every tensor that is added."""

_MIN_OPSET: Final = 18
"""The first operator set whose ReduceL2 takes its axes as an input."""


def append_projection(model: Path, projection: Projection) -> onnx.ModelProto:
    """The model with `projection` behind its embeddings, in float32.

    The nodes are Sub (mean), MatMul and, where rows are normalised, ReduceL2, Max and Div. The
    mean is subtracted before the product, not folded into a bias: the product of a large mean and
    its correction would cancel at the cost of digits. Every constant has a static shape, and the
    embeddings stay float32 whatever the precision inside, so an fp16 or int8 model is changed in
    the same way.

    Args:
        model: an ONNX file whose output `EMBEDDINGS_OUTPUT` is float32 [B, D].
        projection: from D to d dimensions.

    Returns:
        The model, its metadata still those of the file.

    Raises:
        MissingExtraError: onnx is not installed.
        ArtifactError: not an ONNX file, or of an operator set without these operators.
    """
    proto = load_model(model)
    import onnx

    _require_opset(proto, model)
    graph = proto.graph
    _rename(graph, EMBEDDINGS_OUTPUT, f"{_PREFIX}.features")
    constants = {
        "mean": projection.mean.astype(np.float32),
        "matrix": projection.matrix.astype(np.float32),
    }
    steps = [("Sub", ("features", "mean"), "centred"), ("MatMul", ("centred", "matrix"), "rows")]
    if projection.normalise:
        constants["axes"] = np.array([1], dtype=np.int64)
        constants["least"] = np.array([[MIN_LENGTH]], dtype=np.float32)
        steps += [
            ("ReduceL2", ("rows", "axes"), "lengths"),
            ("Max", ("lengths", "least"), "divisors"),
            ("Div", ("rows", "divisors"), "unit"),
        ]
    last = steps[-1][2]
    graph.initializer.extend(_constant(name, value) for name, value in constants.items())
    graph.node.extend(
        onnx.helper.make_node(
            operator,
            [f"{_PREFIX}.{name}" for name in inputs],
            [EMBEDDINGS_OUTPUT if output == last else f"{_PREFIX}.{output}"],
            name=f"{_PREFIX}.{operator}",
        )
        for operator, inputs, output in steps
    )
    output = next(value for value in graph.output if value.name == EMBEDDINGS_OUTPUT)
    output.type.tensor_type.shape.dim[1].dim_value = projection.dim
    return proto


def _require_opset(proto: onnx.ModelProto, model: Path) -> None:
    """Refuse a model of an operator set in which the nodes would mean something else."""
    version = next(each.version for each in proto.opset_import if each.domain in ("", "ai.onnx"))
    if version < _MIN_OPSET:
        raise ArtifactError(
            f"{model} is of operator set {version}, and {_MIN_OPSET} or later is needed; "
            f"{EXPORT_AGAIN}"
        )


def _rename(graph: onnx.GraphProto, old: str, new: str) -> None:
    """Give an inner tensor another name; the graph's outputs keep theirs."""
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [new if name == old else name for name in names]
    for value in graph.value_info:
        if value.name == old:
            value.name = new


def _constant(name: str, value: NDArray[np.float32] | NDArray[np.int64]) -> onnx.TensorProto:
    """A constant of the graph."""
    import onnx

    return onnx.numpy_helper.from_array(value, f"{_PREFIX}.{name}")
