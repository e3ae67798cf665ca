"""Q/DQ nodes: steps, weights and where the pairs stand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from helpers_precision import mini_artifact, mini_model, pictures, scale_weight, weight_of
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from mtml_deploy.precision.fp16 import rounded
from mtml_deploy.precision.int8 import insert_quantisers, quantised_weight, step_of
from mtml_deploy.precision.lowering import Plan, lowered
from mtml_deploy.precision.network import read_network
from mtml_deploy.precision.session import GraphSession
from mtml_deploy.runtime.open import open_runtime


def test_steps_by_hand() -> None:
    assert step_of(127.0) == 1.0
    assert step_of(254.0) == 2.0
    # 1 / 127 = 0.0078740...: fp16 has multiples of 2^-17 there, 1033 of them are the next above
    assert step_of(1.0) == 1033 * 2**-17
    assert step_of(0.0) == 2**-14  # the smallest normal fp16 number


@given(st.floats(0, 1e6))
def test_a_step_is_an_fp16_number_that_reaches_the_largest(largest: float) -> None:
    step = step_of(largest)
    assert float(np.float16(step)) == step
    assert 127 * step >= largest
    assert step <= max(largest / 127 * (1 + 2**-10), 2**-14)


def test_a_weight_by_hand() -> None:
    weight = np.array([[127.0, -64.0, 0.6], [0.0, 0.0, 0.0]], np.float32)
    values, steps = quantised_weight(weight)
    assert values.tolist() == [[127, -64, 1], [0, 0, 0]]
    assert steps.tolist() == [1.0, 2**-14]


def test_every_weight_is_within_half_a_step() -> None:
    weight = np.random.default_rng(0).normal(size=(6, 3, 3, 3)).astype(np.float32)
    weight[2] *= 1e-3  # a channel of its own scale
    values, steps = quantised_weight(weight)
    assert values.min() >= -127
    error = np.abs(values * steps.reshape(-1, 1, 1, 1) - weight).reshape(6, -1).max(axis=1)
    assert (error <= steps / 2 * (1 + 1e-6)).all()


def quantised_mini(folder: Path, names: set[str]) -> tuple[onnx.ModelProto, dict[str, float]]:
    onnx.save(mini_model(), folder / "m.onnx")
    network = read_network(folder / "m.onnx")
    layers = [layer for layer in network.layers if layer.name in names]
    steps = {layer.source: step_of(6.0) for layer in network.layers}
    model = network.copy()
    added = insert_quantisers(model, layers, steps)
    made = [node for node in model.graph.node if node.op_type.endswith("Linear")]
    assert sorted(added) == sorted(node.output[0] for node in made)
    return model, steps


def test_pairs_are_symmetric_and_shared(tmp_path: Path) -> None:
    names = {"identity.layer1.0.conv1", "identity.layer1.0.add", "identity.layer2.0.add"}
    model, _ = quantised_mini(tmp_path, names)
    onnx.checker.check_model(model, full_check=True)
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    quantisers = [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
    # conv1 of the block and its shortcut read one tensor
    sources = [node.input[0] for node in quantisers]
    assert sources == ["identity.pool", "identity.layer2.0.downsample.0.out"]
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            zero = constants[node.input[2]]
            assert zero.dtype == np.int8
            assert not zero.any()
    (weight,) = [
        n for n in model.graph.node
        if n.op_type == "DequantizeLinear" and n.input[0].endswith("weight")
    ]  # fmt: skip
    assert weight.input[0] == "extractor.trunks.nets.identity.layer1.0.conv1.weight"
    assert constants[weight.input[0]].dtype == np.int8
    assert constants[weight.input[1]].shape == (8,)
    assert helper.get_node_attr_value(weight, "axis") == 0
    biases = [t for t in model.graph.initializer if t.name.endswith(".bias")]
    assert {bias.data_type for bias in biases} == {TensorProto.FLOAT}


def test_a_quantised_convolution_by_plain_arithmetic(tmp_path: Path) -> None:
    model, steps = quantised_mini(tmp_path, {"identity.layer2.0.downsample.0"})
    onnx.save(mini_model(), tmp_path / "plain.onnx")
    plain = read_network(tmp_path / "plain.onnx").model
    source, result = "identity.layer1.0.relu2", "identity.layer2.0.downsample.0.out"
    images = pictures(2)
    (given,) = GraphSession(plain, [source]).run(images).values()
    (found,) = GraphSession(model, [result]).run(images).values()
    constants = {t.name: numpy_helper.to_array(t) for t in plain.graph.initializer}
    prefix = "extractor.trunks.nets.identity.layer2.0.downsample.0"
    step = steps[source]
    activation = np.clip(np.rint(given / np.float32(step)), -128, 127) * step
    values, scales = quantised_weight(constants[f"{prefix}.weight"])
    weight = (values * scales.reshape(-1, 1, 1, 1))[:, :, 0, 0]  # a 1 x 1 convolution, stride 2
    expected = np.einsum("oc,nchw->nohw", weight, activation[:, :, ::2, ::2])
    expected += constants[f"{prefix}.bias"].reshape(-1, 1, 1)
    # float32 sums of 8 products in another order
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_biases_are_left_alone_by_the_library_too(tmp_path: Path) -> None:
    # it would quantise them by the product of two fp16 steps, here about 3e-6 with six bits left
    model = mini_model()
    scale_weight(model, "identity.conv1.weight", 1e-3)
    bias = weight_of(model, "identity.conv1.bias")
    bias.CopyFrom(numpy_helper.from_array(np.full(8, 3.3, np.float32), bias.name))
    artifact = mini_artifact(tmp_path / "fp32", model)
    network = read_network(artifact.model_path)
    steps = {layer.source: step_of(6.0) for layer in network.layers}
    lower = lowered(network, Plan(quantised=network.layers, steps=steps))
    low = mini_artifact(tmp_path / "int8", lower, precision="int8")
    images = pictures(4)
    with open_runtime(low) as runtime:
        found = runtime.run(images)
    (expected,) = GraphSession(rounded(lower), ["embeddings"]).run(images).values()
    # a sum on the edge of a step may fall either way: one step of the last activation at most
    np.testing.assert_allclose(found, expected, rtol=0, atol=6 / 127)
