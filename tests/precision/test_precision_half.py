"""fp16 tensors in a graph, and the same arithmetic carried out on a CPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from helpers_precision import Builder, mini_model, pictures
from onnx import TensorProto, numpy_helper

from mtml_deploy.precision.fp16 import rounded, to_half
from mtml_deploy.precision.lowering import Plan, lowered, readable_names
from mtml_deploy.precision.network import read_network
from mtml_deploy.precision.session import GraphSession


def product_model() -> onnx.ModelProto:
    """images -> mean of the image x 0.1 (node `scaled`) + 0.1 (node `embeddings`)."""
    builder = Builder()
    builder.constant("axes", np.array([1, 2], np.int64))
    builder.constant("tenth", np.array(0.1, np.float32))
    floats = builder.node("Cast", ["images"], "floats", to=TensorProto.FLOAT)
    builder.node("ReduceMean", [floats, "axes"], "mean", keepdims=0)
    builder.node("Mul", ["mean", "tenth"], "scaled")
    builder.node("Add", ["scaled", "tenth"], "embeddings")
    return builder.model({"embeddings": 3})


def kinds(model: onnx.ModelProto) -> dict[str, int]:
    """Type of every tensor, by ONNX's own inference, which refuses mixed types."""
    inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
    values = (*inferred.graph.value_info, *inferred.graph.input, *inferred.graph.output)
    found = {value.name: value.type.tensor_type.elem_type for value in values}
    return found | {tensor.name: tensor.data_type for tensor in model.graph.initializer}


def test_one_node_in_half_precision_and_its_borders() -> None:
    model = product_model()
    to_half(model, {"scaled"})
    found = kinds(model)
    assert found["scaled"] == TensorProto.FLOAT16
    assert found["mean"] == found["embeddings"] == TensorProto.FLOAT
    # the constant is read by both nodes, each in its own precision
    assert (found["tenth"], found["tenth.fp16"]) == (TensorProto.FLOAT, TensorProto.FLOAT16)
    operators = [node.op_type for node in model.graph.node]
    assert operators == ["Cast", "ReduceMean", "Cast", "Mul", "Cast", "Add"]


def test_rounding_as_numpy_rounds() -> None:
    images = pictures(5)
    model = product_model()
    to_half(model, {"scaled"})
    (found,) = GraphSession(rounded(model), ["embeddings"]).run(images).values()
    expected = []
    for image in images:
        mean = image.reshape(-1, 3).astype(np.float32).mean(axis=0)  # exact: whole patches
        half = (mean.astype(np.float16) * np.float16(0.1)).astype(np.float16)
        expected.append(half.astype(np.float32) + np.float32(0.1))
    np.testing.assert_array_equal(found, np.array(expected))
    assert not np.array_equal(found, images.mean(axis=(1, 2), dtype=np.float64) * 0.1 + 0.1)


def test_an_overflow_is_seen_in_the_rounded_model() -> None:
    model = product_model()
    for tensor in model.graph.initializer:
        if tensor.name == "tenth":
            tensor.CopyFrom(numpy_helper.from_array(np.array(1000, np.float32), "tenth"))
    to_half(model, {"scaled"})
    images = np.full((1, 32, 32, 3), 255, np.uint8)  # 255 x 1000 > 65504
    (found,) = GraphSession(rounded(model), ["embeddings"]).run(images).values()
    assert np.isinf(found).all()


def test_the_rounded_model_has_no_half_precision_arithmetic(tmp_path: Path) -> None:
    onnx.save(mini_model(), tmp_path / "m.onnx")
    twin = rounded(lowered(read_network(tmp_path / "m.onnx"), Plan()))
    half = {name for name, kind in kinds(twin).items() if kind == TensorProto.FLOAT16}
    for node in twin.graph.node:
        assert node.op_type == "Cast" or not half & {*node.input, *node.output}


def test_a_whole_network_in_half_precision(tmp_path: Path) -> None:
    onnx.save(mini_model(), tmp_path / "m.onnx")
    network = read_network(tmp_path / "m.onnx")
    before = network.model.SerializeToString()
    found = kinds(lowered(network, Plan()))
    assert network.model.SerializeToString() == before
    for node in network.lowerable:
        assert found[node] == TensorProto.FLOAT16
    for name in ("floats", "planes", "identity.view", "identity.mean", "embeddings"):
        assert found[name] == TensorProto.FLOAT
    assert found["images"] == TensorProto.UINT8
    weights = [name for name in found if name.endswith((".weight", ".bias"))]
    assert len(weights) == 2 * 2 * 6
    assert {found[name] for name in weights} == {TensorProto.FLOAT16}


def test_a_node_kept_in_fp32(tmp_path: Path) -> None:
    onnx.save(mini_model(), tmp_path / "m.onnx")
    network = read_network(tmp_path / "m.onnx")
    kept = ("identity.layer1.0.conv2.out", "half_rows")
    found = kinds(lowered(network, Plan(kept_fp32=kept)))
    assert {found[name] for name in kept} == {TensorProto.FLOAT}
    assert found["extractor.trunks.nets.identity.layer1.0.conv2.weight"] == TensorProto.FLOAT
    assert found["identity.layer1.0.sum"] == TensorProto.FLOAT16
    assert readable_names(network, kept) == ["identity.layer1.0.conv2", "view or head.half_rows"]


@pytest.mark.parametrize("seed", [1, 2])
def test_both_forms_agree_where_nothing_overflows(tmp_path: Path, seed: int) -> None:
    onnx.save(mini_model(seed=seed), tmp_path / "m.onnx")
    model = lowered(read_network(tmp_path / "m.onnx"), Plan())
    images = pictures(3, seed=seed)
    (plain,) = GraphSession(model, ["embeddings"]).run(images).values()
    (twin,) = GraphSession(rounded(model), ["embeddings"]).run(images).values()
    # eleven bits, and a dozen roundings one after the other
    np.testing.assert_allclose(plain, twin, rtol=0, atol=12 * 2**-11 * np.abs(twin).max())
