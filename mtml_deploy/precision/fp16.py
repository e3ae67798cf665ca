"""fp16 tensors baked into a graph, and the same arithmetic written out for a CPU.

In: a model and the nodes to compute in half precision. Out: the model with fp16 weights and one
Cast at each border; or an fp32 model that rounds where the fp16 one does.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    import onnx

HALF_MAX: Final = 65504.0
"""Largest finite fp16 number."""

_EXACT: Final = frozenset({"Relu", "MaxPool", "Reshape", "Flatten", "Transpose", "Identity"})
"""Operators whose results are among their inputs or zero: there is nothing to round."""


def to_half(model: onnx.ModelProto, low: Collection[str]) -> None:
    """Compute nodes in fp16; what the others read and write stays float32.

    Args:
        model: changed in place; float32 but for quantised tensors.
        low: nodes, by their first output.
    """
    from onnx import TensorProto, helper, numpy_helper

    graph = model.graph
    constants = {t.name: t for t in graph.initializer if t.data_type == TensorProto.FLOAT}
    other = {t.name for t in graph.initializer} - constants.keys()
    readers: dict[str, list[bool]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node.output[0] in low)
    half: set[str] = set()
    nodes: list[onnx.NodeProto] = []
    made: dict[tuple[str, int], str] = {}

    def cast(name: str, kind: int) -> str:
        """`name` in another type: one Cast, however many read it."""
        if (name, kind) not in made:
            made[name, kind] = f"{name}.fp{16 if kind == TensorProto.FLOAT16 else 32}"
            nodes.append(helper.make_node("Cast", [name], [made[name, kind]], to=kind))
        return made[name, kind]

    def halved(name: str) -> str:
        """The fp16 form of a float constant; a copy where an fp32 node reads it as well."""
        if name in half:
            return name
        target = name if all(readers[name]) else f"{name}.fp16"
        if target not in half:
            # a weight beyond the range stays out of half precision, see `overflowing`
            values = numpy_helper.to_array(constants[name]).astype(np.float16)
            tensor = numpy_helper.from_array(values, target)
            if target == name:
                constants[name].CopyFrom(tensor)
            else:
                graph.initializer.append(tensor)
            half.add(target)
        return target

    for node in graph.node:
        is_low = node.output[0] in low
        for index, name in enumerate(node.input):
            if not name or name in other:
                continue
            if is_low and name in constants:
                node.input[index] = halved(name)
            elif is_low and name not in half:
                node.input[index] = cast(name, TensorProto.FLOAT16)
            elif not is_low and name in half:
                node.input[index] = cast(name, TensorProto.FLOAT)
        if node.op_type == "QuantizeLinear":
            other.update(node.output)
        elif is_low:
            half.update(node.output)
        nodes.append(node)
    held = [type(node).FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(held)


def rounded(model: onnx.ModelProto) -> onnx.ModelProto:
    """An fp32 model that gives what an fp16 one gives, on a CPU too.

    ONNX Runtime has no half-precision convolution for x86: it computes fp16 nodes in float32 and
    drops the casts between them, so that neither rounding nor overflow would be seen. Written as
    Cast to fp16 and back behind every node, they are. Sums inside a convolution stay float32, as
    in the matrix units of a GPU.

    Args:
        model: from `to_half`; not changed.

    Returns:
        A model with the same inputs, outputs and tensor names.
    """
    from onnx import TensorProto, helper, numpy_helper

    twin = type(model)()
    twin.CopyFrom(model)
    graph = twin.graph
    half: set[str] = set()
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT16:
            half.add(tensor.name)
            values = numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        name = node.output[0]
        if node.op_type == "Cast":
            is_half = helper.get_node_attr_value(node, "to") == TensorProto.FLOAT16
        elif node.op_type == "DequantizeLinear":
            is_half = node.input[1] in half
        else:
            is_half = node.op_type != "QuantizeLinear" and any(each in half for each in node.input)
        changed = type(node)()
        changed.CopyFrom(node)
        nodes.append(changed)
        if not is_half:
            continue
        half.add(name)
        if node.op_type == "Cast":
            changed.output[0] = f"{name}.half"
        elif node.op_type in _EXACT:
            continue
        else:
            changed.output[0] = f"{name}.exact"
            nodes.append(
                helper.make_node(
                    "Cast", [changed.output[0]], [f"{name}.half"], to=TensorProto.FLOAT16
                )
            )
        nodes.append(helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT))
    del graph.node[:]
    graph.node.extend(nodes)
    return twin
