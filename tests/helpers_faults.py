"""Faults planted into exported graphs, as they happen in practice; each must fail the gate."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from msgspec.structs import replace
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper

from mtml_deploy.artifact.artifact import (
    METADATA_KEY,
    Artifact,
    embedded_record,
    file_sha256,
    open_artifact,
    save_manifest,
)


def _constant(graph: GraphProto, name: str, values: np.ndarray) -> str:
    graph.initializer.append(numpy_helper.from_array(values, name))
    return name


def _insert(graph: GraphProto, before: NodeProto, *nodes: NodeProto) -> None:
    position = [node.name for node in graph.node].index(before.name)
    for offset, node in enumerate(nodes):
        graph.node.insert(position + offset, node)


def _of(graph: GraphProto, op_type: str) -> list[NodeProto]:
    return [node for node in graph.node if node.op_type == op_type]


def nothing(graph: GraphProto) -> None:
    """No fault: what must pass."""


def blue_first(graph: GraphProto) -> None:
    """BGR instead of RGB."""
    (cast,) = (node for node in _of(graph, "Cast") if node.input[0] == "images")
    order = _constant(graph, "fault_order", np.array([2, 1, 0]))
    cast_output = cast.output[0]
    cast.output[0] = "fault_rgb"
    node = helper.make_node("Gather", ["fault_rgb", order], [cast_output], axis=3, name="fault")
    position = [node.name for node in graph.node].index(cast.name)
    graph.node.insert(position + 1, node)


def normalised_twice(graph: GraphProto) -> None:
    """Mean and standard deviation applied a second time in the first branch."""
    division = _of(graph, "Div")[0]
    subtraction = next(n for n in _of(graph, "Sub") if n.output[0] == division.input[0])
    readers = [node for node in graph.node if division.output[0] in node.input]
    for reader in readers:
        reader.input[list(reader.input).index(division.output[0])] = "fault_twice"
    _insert(
        graph,
        readers[0],
        helper.make_node("Sub", [division.output[0], subtraction.input[1]], ["fault_sub"]),
        helper.make_node("Div", ["fault_sub", division.input[1]], ["fault_twice"]),
    )


def swapped_branches(graph: GraphProto) -> None:
    """The features of the first two branches change places."""
    (joined,) = (node for node in graph.node if node.output[0] == "embeddings")
    joined.input[0], joined.input[1] = joined.input[1], joined.input[0]


def nearest_resize(graph: GraphProto) -> None:
    """The smaller view takes the nearest pixel instead of the antialiased filter."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    resizes = [node for node in _of(graph, "MatMul") if node.input[1] in constants]
    for node in resizes[:2]:
        tensor = constants[node.input[1]]
        source, target = tensor.dims
        picked = np.zeros((source, target), np.float32)
        picked[np.arange(target) * source // target, np.arange(target)] = 1
        tensor.CopyFrom(numpy_helper.from_array(picked, tensor.name))


def dead_branch(graph: GraphProto) -> None:
    """The third branch gives zeros."""
    (joined,) = (node for node in graph.node if node.output[0] == "embeddings")
    zero = _constant(graph, "fault_zero", np.zeros(1, np.float32))
    _insert(graph, joined, helper.make_node("Mul", [joined.input[2], zero], ["fault_dead"]))
    joined.input[2] = "fault_dead"


def corrupted_row(graph: GraphProto) -> None:
    """The third image of every batch gets another embedding than alone."""
    (joined,) = (node for node in graph.node if node.output[0] == "embeddings")
    joined.output[0] = "fault_whole"
    row = _constant(graph, "fault_row", np.array(2))
    start, one = _constant(graph, "fault_0", np.array(0)), _constant(graph, "fault_1", np.array(1))
    axes = _constant(graph, "fault_axes", np.array([1]))
    half = _constant(graph, "fault_half", np.array(0.5, np.float32))
    graph.node.extend(
        [
            helper.make_node("Shape", ["images"], ["fault_shape"]),
            helper.make_node("Gather", ["fault_shape", start], ["fault_count"]),
            helper.make_node("Range", [start, "fault_count", one], ["fault_rows"]),
            helper.make_node("Equal", ["fault_rows", row], ["fault_is"]),
            helper.make_node("Cast", ["fault_is"], ["fault_float"], to=TensorProto.FLOAT),
            helper.make_node("Unsqueeze", ["fault_float", axes], ["fault_mask"]),
            # one row of the batch gets half of its maximum added everywhere
            helper.make_node("ReduceMax", ["fault_whole", axes], ["fault_max"], keepdims=1),
            helper.make_node("Mul", ["fault_max", "fault_mask"], ["fault_masked"]),
            helper.make_node("Mul", ["fault_masked", half], ["fault_noise"]),
            helper.make_node("Add", ["fault_whole", "fault_noise"], ["embeddings"]),
        ]
    )


def plant(
    artifact: Path, folder: Path, fault: Callable[[GraphProto], None], *, precision: str
) -> Artifact:
    """A copy of `artifact` whose graph has the fault and whose manifest looks right.

    Args:
        artifact: a fused export of four branches.
        folder: of the copy.
        fault: changes the graph.
        precision: what the manifest claims, which chooses the gate's bounds.
    """
    manifest = replace(open_artifact(artifact).manifest, precision=precision)
    model = onnx.load(artifact / "model.onnx")
    fault(model.graph)
    helper.set_model_props(model, {METADATA_KEY: embedded_record(manifest)})
    folder.mkdir(parents=True)
    onnx.save(model, folder / "model.onnx")
    manifest = replace(manifest, model_sha256=file_sha256(folder / "model.onnx"))
    save_manifest(folder, manifest)
    return open_artifact(folder)
