"""Which nodes are trunk, which places can be quantised, and where a branch's feature is."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from helpers_artifact import write_artifact
from helpers_precision import mini_model, weight_of

from mtml_deploy.errors import ArtifactError
from mtml_deploy.precision.network import Network, read_network


def read(model: onnx.ModelProto, folder: Path) -> Network:
    onnx.save(model, folder / "model.onnx")
    return read_network(folder / "model.onnx")


def test_layers_of_a_trunk(tmp_path: Path) -> None:
    network = read(mini_model(), tmp_path)
    found = [(layer.name, layer.source) for layer in network.layers if layer.branch == "scale"]
    assert found == [
        ("scale.conv1", "scale.view"),
        ("scale.layer1.0.conv1", "scale.pool"),
        ("scale.layer1.0.conv2", "scale.layer1.0.relu1"),
        ("scale.layer1.0.add", "scale.pool"),  # the shortcut, not the convolution's sum
        ("scale.layer2.0.conv1", "scale.layer1.0.relu2"),
        ("scale.layer2.0.conv2", "scale.layer2.0.relu1"),
        ("scale.layer2.0.downsample.0", "scale.layer1.0.relu2"),
        ("scale.layer2.0.add", "scale.layer2.0.downsample.0.out"),
    ]
    assert network.layers[1].name == "identity.layer1.0.conv1"


def test_a_shortcut_is_found_on_either_side(tmp_path: Path) -> None:
    model = mini_model()
    for node in model.graph.node:
        if node.op_type == "Add":
            node.input[0], node.input[1] = node.input[1], node.input[0]
    additions = [layer for layer in read(model, tmp_path).layers if layer.kind == "Add"]
    assert {layer.index for layer in additions} == {0}
    assert additions[0].source == "identity.pool"
    assert additions[1].source == "identity.layer2.0.downsample.0.out"


def test_views_and_pooling_are_no_trunk_but_products_are_lowered(tmp_path: Path) -> None:
    network = read(mini_model(), tmp_path)
    assert set(network.trunk.values()) == {"identity", "scale"}
    # conv1, relu, pool, then 5 and 6 nodes of the two blocks
    assert len(network.trunk) == 2 * (3 + 5 + 6)
    assert set(network.lowerable) - network.trunk.keys() == {"half_columns", "half_rows"}
    assert network.features == {"identity": "identity.mean", "scale": "scale.mean"}


def test_a_model_without_trunks_is_refused(tmp_path: Path) -> None:
    write_artifact(tmp_path / "art")
    with pytest.raises(ArtifactError, match="holds no convolution"):
        read_network(tmp_path / "art" / "model.onnx")


def test_a_convolution_of_no_branch_is_refused(tmp_path: Path) -> None:
    model = mini_model()
    weight = weight_of(model, "nets.scale.conv1.weight")
    for node in model.graph.node:
        node.input[:] = ["mystery" if name == weight.name else name for name in node.input]
    weight.name = "mystery"
    with pytest.raises(ArtifactError, match="a convolution with the weight 'mystery'"):
        read(model, tmp_path)


def test_two_convolutions_of_one_weight_are_refused(tmp_path: Path) -> None:
    model = mini_model()
    shared = weight_of(model, "nets.identity.conv1.weight").name
    for node in model.graph.node:
        if node.output[0] == "scale.conv1.out":
            node.input[1] = shared
    with pytest.raises(ArtifactError, match="share"):
        read(model, tmp_path)


def test_the_exporter_names_are_understood(tiny_artifact: Path) -> None:
    network = read_network(tiny_artifact / "model.onnx")
    # ResNet-18: 20 convolutions and 8 additions in each of four trunks
    assert len(network.layers) == 4 * 28
    assert list(network.features) == ["identity", "scale", "gray", "orientation"]
    assert len({layer.name for layer in network.layers}) == 4 * 28
    names = [layer.name for layer in network.layers if layer.branch == "gray"]
    assert names[:4] == [
        "gray.conv1", "gray.layer1.0.conv1", "gray.layer1.0.conv2", "gray.layer1.0.add",
    ]  # fmt: skip
