"""The input of an exported graph in another form, and its file for older runtimes.

In: a model whose input is bytes [B, H, W, 3]. Out: the same model, changed in place, whose input
holds the same pixels in another form.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from mtml_deploy.artifact.input_form import IMAGENET_MEAN, IMAGENET_STD, InputForm
from mtml_deploy.artifact.manifest import INPUT_NAME, Manifest
from mtml_deploy.artifact.onnx_file import EXPORT_AGAIN
from mtml_deploy.defaults import OPSETS
from mtml_deploy.errors import ArtifactError

if TYPE_CHECKING:
    import onnx

_PREFIX: Final = "input"
"""Begins the name of every tensor that is added."""


def change_input(model: onnx.ModelProto, form: InputForm, manifest: Manifest) -> None:
    """Give a graph another input.

    Levels or their planes take the place of the first Cast, and of the Transpose that follows it;
    other values are turned into levels by a product and a sum.

    Args:
        model: as exported, changed in place.
        form: what the input becomes.
        manifest: of the model.

    Raises:
        ArtifactError: the graph does not begin as exports do.
    """
    from onnx import TensorProto, helper, numpy_helper

    graph = model.graph
    head = _head(graph)
    planes, half = head[-1].output[0], _is_half(head)
    as_planes = head[-1].op_type == "Transpose"  # else as [B, H, W, 3]
    swap = numpy_helper.from_array(np.array([2, 1, 0], dtype=np.int64), f"{_PREFIX}.channels")
    nodes: list[onnx.NodeProto] = []
    if form.layout == "nhwc-uint8":
        if form.channels == "RGB":
            return
        head[-1].output[0] = f"{_PREFIX}.planes"
        graph.initializer.append(swap)
        swapped = helper.make_node(
            "Gather", [f"{_PREFIX}.planes", swap.name], [planes], f"{_PREFIX}.Gather"
        )
        swapped.attribute.append(helper.make_attribute("axis", 1 if as_planes else 3))
        graph.node.insert(list(graph.node).index(head[-1]) + 1, swapped)
        return
    at = INPUT_NAME

    def add(operator: str, *more: str) -> onnx.NodeProto:
        nonlocal at
        output = f"{_PREFIX}.{operator.lower()}"
        nodes.append(helper.make_node(operator, [at, *more], [output], f"{_PREFIX}.{operator}"))
        at = output
        return nodes[-1]

    if form.values == "imagenet":
        turn = -1 if form.channels == "BGR" else 1
        for operator, name, values in (
            ("Mul", "std", IMAGENET_STD),
            ("Add", "mean", IMAGENET_MEAN),
        ):
            constant = np.array(values[::turn], dtype=np.float32).reshape(1, 3, 1, 1)
            graph.initializer.append(numpy_helper.from_array(constant, f"{_PREFIX}.{name}"))
            add(operator, f"{_PREFIX}.{name}")
    if form.channels == "BGR":
        graph.initializer.append(swap)
        add("Gather", swap.name).attribute.append(helper.make_attribute("axis", 1))
    if half:
        cast = helper.make_attribute("to", int(TensorProto.FLOAT16))
        add("Cast").attribute.append(cast)
    if not as_planes:
        add("Transpose").attribute.append(helper.make_attribute("perm", [0, 2, 3, 1]))
    for old in head:
        graph.node.remove(old)
    for node in graph.node:
        node.input[:] = [at if name == planes else name for name in node.input]
    for node in reversed(nodes):
        graph.node.insert(0, node)
    sizes: list[str | int | None] = ["batch", 3, manifest.height, manifest.width]
    graph.input[0].CopyFrom(helper.make_tensor_value_info(INPUT_NAME, TensorProto.FLOAT, sizes))
    gone = {name for node in head for name in node.output}
    kept = [value for value in graph.value_info if value.name not in gone]
    del graph.value_info[:]
    graph.value_info.extend(kept)


def change_versions(
    model: onnx.ModelProto, *, opset: int | None, ir_version: int | None
) -> onnx.ModelProto:
    """A model of an older operator set, or in an older file format.

    Args:
        model: changed in place where its operator set stays.
        opset: within `OPSETS`; None keeps it.
        ir_version: of the file; None keeps it.

    Returns:
        The model.

    Raises:
        ArtifactError: the graph cannot be said in that operator set, or the operator set needs a
            later file format.
    """
    from onnx import helper, version_converter

    if opset is not None and opset != _opset(model):
        if opset < 18:  # its noop_with_empty_axes came then; every mean here names its axes
            for node in model.graph.node:
                kept = [each for each in node.attribute if each.name != "noop_with_empty_axes"]
                del node.attribute[:]
                node.attribute.extend(kept)
        try:
            model = version_converter.convert_version(model, opset)
        except Exception as error:  # the converter has no kind of its own
            reason = str(error).strip().split("\n")[0]
            raise ArtifactError(
                f"the graph cannot be written in operator set {opset} ({reason}), expected "
                f"{OPSETS[0]} to {OPSETS[1]}; ask for a later --opset"
            ) from error
    if ir_version is not None:
        least = helper.find_min_ir_version_for(list(model.opset_import))
        if ir_version < least:
            raise ArtifactError(
                f"operator set {_opset(model)} needs IR version {least}, and {ir_version} was "
                "asked for; ask for an older --opset too"
            )
        model.ir_version = ir_version
    return model


def _opset(model: onnx.ModelProto) -> int:
    """The version of ONNX's own operators."""
    return next(int(each.version) for each in model.opset_import if each.domain in ("", "ai.onnx"))


def _head(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """The nodes from the bytes on: casts, and the transpose behind them where nothing is between.

    A graph that averages mirror images turns its levels around before it transposes them.
    """
    at = INPUT_NAME
    head: list[onnx.NodeProto] = []
    while True:
        readers = [node for node in graph.node if at in node.input]
        only = readers[0] if len(readers) == 1 else None
        if only is not None and only.op_type in ("Cast", "Transpose"):
            head.append(only)
            at = only.output[0]
            if only.op_type == "Cast":
                continue
        elif not head:
            raise ArtifactError(
                "the graph does not begin with a cast of its images, as exports do, so that its "
                f"input cannot be changed; {EXPORT_AGAIN}"
            )
        return head


def _is_half(head: list[onnx.NodeProto]) -> bool:
    """Whether the planes are float16."""
    from onnx import TensorProto

    kinds = [each.i for node in head if node.op_type == "Cast" for each in node.attribute]
    return bool(kinds) and kinds[-1] == TensorProto.FLOAT16
