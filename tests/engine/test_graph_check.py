"""Graphs that TensorRT refuses are named in our words, and its own parser agrees."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import pytest
from helpers_precision import mini_model, pictures
from onnx import TensorProto, helper, numpy_helper

from mtml_deploy.engine.graph_check import check_graph, problems_of, require_buildable
from mtml_deploy.errors import ArtifactError
from mtml_deploy.precision.lowering import Plan, lowered
from mtml_deploy.precision.network import read_network
from mtml_deploy.precision.ranges import measure_histograms, quantisation_steps

BUILD = """
import sys
import tensorrt_rtx as trt
path, size, *targets = sys.argv[1:]
for target in targets:
    log = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    if not parser.parse_from_file(path):
        sys.exit("PARSER " + "; ".join(str(parser.get_error(i)) for i in range(parser.num_errors)))
    if target == "parse":
        continue
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(getattr(trt.ComputeCapability, target), 0)
    profile = builder.create_optimization_profile()
    shapes = [(batch, int(size), int(size), 3) for batch in (1, 4, 8)]
    profile.set_shape("images", *shapes)
    config.add_optimization_profile(profile)
    if builder.build_serialized_network(network, config) is None:
        sys.exit(f"BUILDER refuses {target}")
"""


def build(path: Path, size: int, *targets: str) -> str:
    """What TensorRT-RTX says against a file; empty if it takes it. In a process of its own."""
    if find_spec("tensorrt_rtx") is None:
        pytest.skip("tensorrt_rtx is not installed (extra rtx)")
    done = subprocess.run(
        [sys.executable, "-c", BUILD, str(path), str(size), *targets],
        capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    return "" if done.returncode == 0 else done.stderr


def save(model: onnx.ModelProto, path: Path) -> Path:
    onnx.save(model, path)
    return path


def int8_of(path: Path, images: np.ndarray) -> onnx.ModelProto:
    network = read_network(path)
    steps = quantisation_steps(measure_histograms(network, images), "minmax")
    return lowered(network, Plan(quantised=network.layers, steps=steps))


def test_our_own_files_have_no_problem_and_build(tmp_path: Path) -> None:
    plain = save(mini_model(), tmp_path / "fp32.onnx")
    half = save(lowered(read_network(plain), Plan()), tmp_path / "fp16.onnx")
    int8 = save(int8_of(plain, pictures(4)), tmp_path / "int8.onnx")
    for path in (plain, half, int8):
        assert check_graph(path) == ()
        require_buildable(path)
        assert build(path, 32, "SM86") == ""
    for path in (half, int8):  # TensorRT-RTX has no fp32 matrix product for Turing
        assert build(path, 32, "SM75", "SM80", "SM89", "SM120") == ""


def test_a_resnet_18_in_fp16_and_int8_builds(tiny_artifact: Path, tmp_path: Path) -> None:
    path = tiny_artifact / "model.onnx"
    half = save(lowered(read_network(path), Plan()), tmp_path / "fp16.onnx")
    int8 = save(int8_of(path, pictures(2)), tmp_path / "int8.onnx")
    for file in (half, int8):
        assert check_graph(file) == ()
        assert build(file, 32, "SM86") == ""


def resize(**attributes: object) -> Callable[[onnx.ModelProto], None]:
    def plant(model: onnx.ModelProto) -> None:
        sizes = np.array([16, 16] if "axes" in attributes else [1, 3, 16, 16], np.int64)
        model.graph.initializer.append(numpy_helper.from_array(sizes, "sizes"))
        node = helper.make_node(
            "Resize", ["planes", "", "", "sizes"], ["smaller"], name="r", mode="linear",
            **attributes,
        )  # fmt: skip
        at = next(i for i, each in enumerate(model.graph.node) if each.output[0] == "planes")
        model.graph.node.insert(at + 1, node)
        for each in model.graph.node:
            if each.output[0] == "scale.centred":
                each.input[0] = "smaller"

    return plant


def transposed_bytes(model: onnx.ModelProto) -> None:
    cast, transpose = model.graph.node[0], model.graph.node[1]
    transpose.input[0], transpose.output[0] = "images", "turned"
    cast.input[0], cast.output[0] = "turned", "planes"
    nodes = [transpose, cast, *list(model.graph.node)[2:]]
    held = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(held)


def quantised_pool(kind: type[np.integer], zero: int) -> Callable[[onnx.ModelProto], None]:
    def plant(model: onnx.ModelProto) -> None:
        model.graph.initializer.extend(
            [
                numpy_helper.from_array(np.array(0.05, np.float32), "step"),
                numpy_helper.from_array(np.array(zero, kind), "zero"),
            ]
        )
        at = next(i for i, each in enumerate(model.graph.node) if each.output[0] == "scale.pool")
        pair = [
            helper.make_node("QuantizeLinear", ["scale.pool", "step", "zero"], ["q"], name="q"),
            helper.make_node("DequantizeLinear", ["q", "step", "zero"], ["dq"], name="dq"),
        ]
        for offset, node in enumerate(pair):
            model.graph.node.insert(at + 1 + offset, node)
        for node in model.graph.node:
            if node.output[0] == "scale.layer1.0.conv1.out":
                node.input[0] = "dq"

    return plant


def int32_bias(model: onnx.ModelProto) -> None:
    model.graph.initializer.extend(
        [
            numpy_helper.from_array(np.full(8, 1e-3, np.float32), "bias_step"),
            numpy_helper.from_array(np.arange(8, dtype=np.int32), "bias"),
        ]
    )
    model.graph.node.insert(
        0, helper.make_node("DequantizeLinear", ["bias", "bias_step"], ["b"], name="b", axis=0)
    )
    for node in model.graph.node:
        if node.output[0] == "scale.conv1.out":
            node.input[2] = "b"


@pytest.mark.parametrize(
    ("plant", "message", "parser_refuses"),
    [
        (resize(antialias=1), "Resize r has antialias, expected a resize by", True),
        (resize(axes=[2, 3]), "Resize r names axes, expected scales of all four", True),
        (transposed_bytes, "works on uint8, expected a Cast to float before it", True),
        (quantised_pool(np.int8, 3), "q has a zero point other than 0", True),
        # taken for int8 without an error: the reason to look for it
        (quantised_pool(np.uint8, 0), "QuantizeLinear q gives uint8", False),
        (int32_bias, "DequantizeLinear b takes an int32 bias", True),
    ],
)
def test_bad_graphs(
    plant: Callable[[onnx.ModelProto], None], message: str, parser_refuses: bool, tmp_path: Path
) -> None:
    model = mini_model()
    plant(model)
    path = save(model, tmp_path / "bad.onnx")
    assert any(message in problem for problem in check_graph(path)), check_graph(path)
    with pytest.raises(ArtifactError, match="cannot become a TensorRT engine"):
        require_buildable(path)
    assert ("PARSER" in build(path, 32, "parse")) == parser_refuses


def test_weights_in_another_file(tmp_path: Path) -> None:
    path = tmp_path / "outside.onnx"
    onnx.save(mini_model(), path, save_as_external_data=True, location="w", size_threshold=256)
    problems = check_graph(path)
    assert problems
    assert all("is in another file" in problem for problem in problems)


def test_double_constants_and_casts() -> None:
    model = mini_model()
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(3), "doubles"))
    model.graph.node.append(
        helper.make_node("Cast", ["planes"], ["wide"], name="wide", to=TensorProto.DOUBLE)
    )
    assert problems_of(model) == (
        "constant doubles is DOUBLE, expected float, fp16 or int8",
        "Cast wide gives double, expected float or fp16",
    )


def test_not_an_onnx_file(tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(b"\x08\xff not a model")
    with pytest.raises(ArtifactError, match="not an ONNX model"):
        check_graph(tmp_path / "x.onnx")
