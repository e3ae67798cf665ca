"""The graph of an artifact as trunks and layers: what may be computed in lower precision.

In: an ONNX file written by the exporter. Out: a `Network`, which names the nodes of each branch's
trunk and the matrix products around them. Everything else (normalisation of pixels and of maps,
global pooling, norms, softmax) stays fp32: it costs little, and sums over many values are where
half precision loses most.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from mtml_deploy.artifact.manifest import BRANCHES
from mtml_deploy.artifact.onnx_file import load_model
from mtml_deploy.errors import ArtifactError
from mtml_deploy.precision.branch_graph import BranchGraph

if TYPE_CHECKING:
    import onnx

_WEIGHT: Final = re.compile(r"(?:^|\.)nets\.([a-z]+)\.(.+)\.weight$")
"""Branch and layer in the name of a convolution's weight, as the exporter writes it."""

_TRUNK_OPERATORS: Final = frozenset({"Relu", "Clip", "Add", "MaxPool", "AveragePool"})
"""Lowered where all that they read is."""

_MOVING: Final = frozenset({"Slice", "Concat"})
"""Lowered where any of what they read is: they compute nothing."""

_INT8_OPERATORS: Final = (
    {"Conv"} | _TRUNK_OPERATORS | _MOVING
    # normalisation per image, in fp32
    | {"Sub", "Mul", "Div", "Sqrt", "ReduceMean", "Reciprocal", "Reshape", "InstanceNormalization"}
)  # fmt: skip
"""What may be in a trunk that is quantised: networks of convolutions and ReLU."""

_POOLING: Final = frozenset({"ReduceMean", "GlobalAveragePool", "ReduceMax"})

_PRODUCTS: Final = frozenset({"MatMul", "Gemm"})
"""Lowered outside the trunks as well: TensorRT-RTX has no fp32 matrix product for Turing (SM75),
and pixels, which are integers up to 255, are exact in fp16."""

_SHORTCUT: Final = ".downsample."

_FIX: Final = "export it again: mtml-export RUN --out MODEL"


@dataclass(frozen=True)
class Layer:
    """One place that can be quantised: a convolution, or the shortcut of a residual addition.

    Attributes:
        name: for people, for example "identity.layer1.0.conv1" or "identity.layer1.0.add".
        branch: the branch it belongs to.
        kind: "Conv", or "Add".
        node: first output of the node, which identifies it.
        source: the tensor that is quantised before the node.
        index: position of `source` among the node's inputs.
        weight: name of the weight that is quantised too; empty for an addition.
    """

    name: str
    branch: str
    kind: Literal["Conv", "Add"]
    node: str
    source: str
    index: int
    weight: str = ""


@dataclass(frozen=True)
class Network:
    """A model and the parts of it that conversion works on.

    Attributes:
        model: the fp32 model; not changed by anyone.
        trunk: branch by node (its first output), in the order of the graph.
        lowerable: nodes of the trunks and matrix products, in the order of the graph.
        layers: places that can be quantised, in the order of the graph.
        features: branch -> tensor with its pooled feature, float32.
        foreign: operators between the convolutions of a trunk that int8 is not made for, sorted.
        threads: of whatever runs it and what is made from it; 0 leaves the number to the library.
    """

    model: onnx.ModelProto
    trunk: Mapping[str, str]
    lowerable: tuple[str, ...]
    layers: tuple[Layer, ...]
    features: Mapping[str, str]
    foreign: tuple[str, ...] = ()
    threads: int = 0

    def copy(self) -> onnx.ModelProto:
        """The model, to be changed."""
        changed = type(self.model)()
        changed.CopyFrom(self.model)
        # types of inner tensors: they would contradict the new ones, and every reader infers them
        del changed.graph.value_info[:]
        return changed


def read_network(path: Path, *, threads: int = 0) -> Network:
    """The network in an ONNX file.

    Args:
        path: an fp32 model written by the exporter.
        threads: of what runs it; 0 leaves the number to the library.

    Returns:
        The network.

    Raises:
        MissingExtraError: onnx is not installed.
        ArtifactError: not an ONNX file, or no trunk of a known branch in it.
    """
    model = load_model(path)
    convolutions = {
        node.output[0]: _convolution(node, path)
        for node in model.graph.node
        if node.op_type == "Conv"
    }
    weights = [layer.weight for layer in convolutions.values()]
    if len(set(weights)) < len(weights):
        raise ArtifactError(f"{path}: convolutions share a weight, expected one each; {_FIX}")
    if not convolutions:
        raise ArtifactError(f"{path} holds no convolution, expected the trunks of branches; {_FIX}")
    shape = BranchGraph(model, {name: layer.branch for name, layer in convolutions.items()})
    features = {}
    for branch in shape.branches:
        pooled = shape.first_cut(branch, behind=_POOLING)
        if pooled is None:
            raise ArtifactError(f"{path} does not pool each of its trunks once; {_FIX}")
        features[branch] = pooled
    between = shape.between_convolutions()
    inner = {node.output[0] for node in between}
    trunk: dict[str, str] = {}
    layers: list[Layer] = []
    for node in model.graph.node:
        name = node.output[0]
        branch = shape.branch_of(name)
        if name in convolutions:
            trunk[name] = convolutions[name].branch
            layers.append(convolutions[name])
            continue
        data = shape.data(node)
        low = [each for each in data if each in trunk]
        if branch and (
            (
                (node.op_type in _TRUNK_OPERATORS and data and low == data)
                # a pooling clips too, before it takes powers
                and (node.op_type != "Clip" or name in inner)
            )
            or (node.op_type in _MOVING and low)
        ):
            trunk[name] = branch
            if node.op_type == "Add" and len(data) == 2:
                layers.append(_addition(node, shape, layers))
    return Network(
        model=model,
        trunk=trunk,
        lowerable=tuple(
            node.output[0]
            for node in model.graph.node
            if node.output[0] in trunk or node.op_type in _PRODUCTS
        ),
        layers=tuple(layers),
        features=features,
        foreign=tuple(sorted({node.op_type for node in between} - _INT8_OPERATORS)),
        threads=threads,
    )


def _convolution(node: onnx.NodeProto, path: Path) -> Layer:
    """The layer of one convolution."""
    match = _WEIGHT.search(node.input[1])
    if match is None or match[1] not in BRANCHES:
        raise ArtifactError(
            f"{path} holds a convolution with the weight {node.input[1]!r}, expected names such as "
            f"nets.identity.layer1.0.conv1.weight; {_FIX}"
        )
    return Layer(
        name=f"{match[1]}.{match[2]}",
        branch=match[1],
        kind="Conv",
        node=node.output[0],
        source=node.input[0],
        index=0,
        weight=node.input[1],
    )


def _addition(node: onnx.NodeProto, shape: BranchGraph, layers: list[Layer]) -> Layer:
    """The layer of one residual addition.

    Only the shortcut is quantised: a runtime then adds it to the convolution's sums before they
    are rounded, as one int8 kernel.
    """
    names = {layer.node: layer.name for layer in layers}
    main = next(
        (
            index
            for index, name in enumerate(node.input)
            if _SHORTCUT not in names.get(name, _SHORTCUT)
        ),
        0,
    )
    branch = shape.branch_of(node.output[0])
    last = names.get(node.input[main], f"{branch}.{node.output[0]}")
    shortcut = 1 - main
    return Layer(
        name=f"{last.rpartition('.')[0]}.add",
        branch=branch,
        kind="Add",
        node=node.output[0],
        source=node.input[shortcut],
        index=shortcut,
    )
