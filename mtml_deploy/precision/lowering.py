"""The lowered model: which nodes of a network are fp32, fp16 and int8, and the graph of that.

In: a `Network`, nodes kept in fp32, layers in int8 and their steps. Out: an ONNX model.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mtml_deploy.precision.fp16 import to_half
from mtml_deploy.precision.int8 import insert_quantisers
from mtml_deploy.precision.network import Layer, Network

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True)
class Plan:
    """Where a network is computed in which precision; what is not named is fp16.

    Attributes:
        kept_fp32: lowerable nodes that stay fp32, by their first output.
        quantised: layers in int8; those of nodes in `kept_fp32` stay as they are.
        steps: quantisation step of every `Layer.source`.
    """

    kept_fp32: tuple[str, ...] = ()
    quantised: tuple[Layer, ...] = ()
    steps: Mapping[str, float] = field(default_factory=dict)


def lowered(network: Network, plan: Plan) -> onnx.ModelProto:
    """The model with trunks and matrix products in the precisions of a plan.

    Args:
        network: fp32.
        plan: what is fp32 and int8.

    Returns:
        A new model: uint8 input, float32 outputs.
    """
    model = network.copy()
    low: Collection[str] = set(network.lowerable) - set(plan.kept_fp32)
    layers = [layer for layer in plan.quantised if layer.node in low]
    added = insert_quantisers(model, layers, plan.steps)
    to_half(model, {*low, *added})
    return model


def readable_names(network: Network, nodes: Sequence[str]) -> list[str]:
    """Nodes as people know them: the layer's name, or branch and tensor."""
    names = {layer.node: layer.name for layer in network.layers}
    return [names.get(node, f"{network.trunk.get(node, 'view or head')}.{node}") for node in nodes]
