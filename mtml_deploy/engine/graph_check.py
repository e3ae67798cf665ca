"""What TensorRT's parser would refuse, or silently take for something else, in readable words.

In: an ONNX file. Out: a list of problems; empty for a graph that an engine can be built from.
Rules as the parser of TensorRT-RTX 1.7 applies them; TensorRT 10 and 11 share its source.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.artifact.onnx_file import load_model
from mtml_deploy.errors import ArtifactError

if TYPE_CHECKING:
    import onnx

_SHOWN: Final = 5
"""Problems that one error text names."""

_QUANTISERS: Final = ("QuantizeLinear", "DequantizeLinear")


def require_buildable(path: Path) -> None:
    """Refuse a graph that no TensorRT engine can be built from.

    Args:
        path: an ONNX file.

    Raises:
        ArtifactError: names the problems.
        MissingExtraError: onnx is not installed.
    """
    refuse_problems(check_graph(path), path)


def refuse_problems(problems: Sequence[str], path: Path) -> None:
    """Raise where a graph has problems.

    Args:
        problems: from `check_graph` or `problems_of`.
        path: the file they are of, for the text.

    Raises:
        ArtifactError: names the problems.
    """
    if problems:
        more = f" (and {len(problems) - _SHOWN} more)" if len(problems) > _SHOWN else ""
        raise ArtifactError(
            f"{path} cannot become a TensorRT engine: {'; '.join(problems[:_SHOWN])}{more}; "
            "export it again: mtml-export RUN --out MODEL"
        )


def fp32_products(path: Path) -> tuple[str, ...]:
    """Matrix products with constant weights in float32, which some GPUs have no kernel for.

    Args:
        path: an ONNX file.

    Returns:
        Names of the nodes, in the order of the graph.

    Raises:
        ArtifactError: not an ONNX file.
        MissingExtraError: onnx is not installed.
    """
    model = load_model(path)
    from onnx import TensorProto

    fp32 = {t.name for t in model.graph.initializer if t.data_type == TensorProto.FLOAT}
    return tuple(
        node.name or node.output[0]
        for node in model.graph.node
        if node.op_type in ("MatMul", "Gemm") and fp32 & set(node.input)
    )


def check_graph(path: Path) -> tuple[str, ...]:
    """Problems of a graph, in the order of its nodes.

    Args:
        path: an ONNX file.

    Returns:
        One sentence per problem: the node, what was found, what is expected.

    Raises:
        ArtifactError: not an ONNX file.
        MissingExtraError: onnx is not installed.
    """
    return problems_of(load_model(path))


def problems_of(model: onnx.ModelProto) -> tuple[str, ...]:
    """Problems of a model in memory; see `check_graph`."""
    from onnx import TensorProto

    problems = [
        f"weight {tensor.name} is in another file, expected all in one"
        for tensor in model.graph.initializer
        if tensor.data_location == TensorProto.EXTERNAL
    ]
    taken = {
        TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.INT8,
        TensorProto.INT32, TensorProto.INT64, TensorProto.BOOL,
    }  # fmt: skip
    for tensor in model.graph.initializer:
        # a zero point of uint8 has a sentence of its own
        if tensor.data_type not in taken | {TensorProto.UINT8}:
            kind = TensorProto.DataType.Name(tensor.data_type)
            problems.append(f"constant {tensor.name} is {kind}, expected float, fp16 or int8")
    facts = _Facts(model)
    for node in model.graph.node:
        problems += facts.problems(node)
    return tuple(problems)


class _Facts:
    """A model's constants, and which of its tensors are uint8."""

    def __init__(self, model: onnx.ModelProto) -> None:
        from onnx import TensorProto

        self._constants = {tensor.name: tensor for tensor in model.graph.initializer}
        self._bytes = {
            value.name
            for value in model.graph.input
            if value.type.tensor_type.elem_type == TensorProto.UINT8
        }

    def problems(self, node: onnx.NodeProto) -> list[str]:
        """Problems of one node; nodes come in the order of the graph."""
        from onnx import TensorProto, helper

        name = f"{node.op_type} {node.name or node.output[0]}"
        attributes = {each.name: helper.get_attribute_value(each) for each in node.attribute}
        found: list[str] = []
        if node.domain not in ("", "ai.onnx"):
            found.append(f"{name} is of the operator set {node.domain}, expected ONNX's own")
        if node.op_type == "Resize":
            if attributes.get("antialias", 0):
                found.append(f"{name} has antialias, expected a resize by matrix products")
            if "axes" in attributes:
                found.append(f"{name} names axes, expected scales of all four")
        if node.op_type in _QUANTISERS:
            found += self._quantiser(node, name)
        elif node.op_type == "Cast":
            if attributes["to"] == TensorProto.DOUBLE:
                found.append(f"{name} gives double, expected float or fp16")
        # the parser takes a Shape of bytes, whose result is none
        elif node.op_type != "Shape" and any(each in self._bytes for each in node.input):
            self._bytes.update(node.output)
            found.append(f"{name} works on uint8, expected a Cast to float before it")
        return found

    def _quantiser(self, node: onnx.NodeProto, name: str) -> list[str]:
        """Problems of a QuantizeLinear or DequantizeLinear."""
        from onnx import TensorProto

        found: list[str] = []
        zero = self._constants.get(node.input[2]) if len(node.input) > 2 else None
        weight = self._constants.get(node.input[0])
        if len(node.input) > 2 and zero is None:
            found.append(f"{name} computes its zero point, expected the constant 0")
        if zero is not None and np.any(_values(zero)):
            found.append(f"{name} has a zero point other than 0, expected symmetric quantisation")
        quantised = zero.data_type if zero is not None else None
        if node.op_type == "QuantizeLinear" and quantised in (None, TensorProto.UINT8):
            found.append(f"{name} gives uint8, which the parser takes for int8; expected int8")
        if node.op_type == "DequantizeLinear" and weight is not None:
            if weight.data_type == TensorProto.INT32:
                found.append(f"{name} takes an int32 bias, expected a bias that is not quantised")
            elif weight.data_type == TensorProto.UINT8:
                found.append(f"{name} takes a uint8 weight, expected int8")
        if node.input[1] not in self._constants:
            found.append(f"{name} computes its scale, expected a constant")
        return found


def _values(tensor: onnx.TensorProto) -> NDArray[np.generic]:
    """The values of a constant in this file; one in another file has its own sentence."""
    from onnx import TensorProto, numpy_helper

    if tensor.data_location == TensorProto.EXTERNAL:
        return np.zeros(0)
    return numpy_helper.to_array(tensor)
