"""The roofline of a small graph, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from click.testing import CliRunner
from helpers_artifact import write_artifact
from onnx import TensorProto, helper, numpy_helper

from benchmarks.__main__ import main
from benchmarks.sizes import GPU_NAMES
from benchmarks.speed.roofline import GPUS, GpuLimits, roofline

GPU = GpuLimits(fp16_tflops=1e-6, gb_per_s=1e-3, int8_tops=2e-6)
"""10^6 operations and 10^6 bytes a second."""


def block():
    """x [1, 2, 4, 4] -> 1x1 convolution to 3 channels + ReLU, + another 1x1 of x, then max pool."""
    first, second = (np.ones((3, 2, 1, 1), np.float32) for _ in range(2))
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"], name="one", kernel_shape=[1, 1]),
        helper.make_node("Relu", ["a"], ["b"], name="relu"),
        helper.make_node("Conv", ["x", "w2"], ["c"], name="two", kernel_shape=[1, 1]),
        helper.make_node("Add", ["c", "b"], ["d"], name="sum"),
        helper.make_node("MaxPool", ["d"], ["y"], name="pool", kernel_shape=[2, 2], strides=[2, 2]),
    ]
    graph = helper.make_graph(
        nodes,
        "block",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["B", 2, 4, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["B", 3, 2, 2])],
        [numpy_helper.from_array(first, "w1"), numpy_helper.from_array(second, "w2")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])


def test_each_layer_by_hand():
    found = roofline(block(), GPU, precision="fp16", batch=2)
    layers = {layer.name: layer for layer in found.layers}
    assert list(layers) == ["one", "two", "sum", "pool"]  # the ReLU is fused
    # 48 output values x 2 channels x 2 FLOP
    assert layers["one"].flop == layers["two"].flop == 192
    # 32 values in, 48 out, 6 weights for two images, 2 bytes each
    assert layers["one"].bytes == 2 * (32 + 48 + 3)
    # the second operand of the sum, which is fused otherwise
    assert layers["sum"].bytes == 2 * 48 and layers["sum"].flop == 0
    assert layers["pool"].bytes == 2 * (48 + 12)
    assert layers["one"].bound == "arithmetic" and layers["pool"].bound == "memory"
    seconds = (192 + 192 + 96 + 120) / 1e6
    assert found.images_per_s == pytest.approx(1 / seconds)
    assert found.share == pytest.approx((384 / 1e6) / seconds)


def test_int8_halves_the_bytes_and_doubles_the_rate():
    found = roofline(block(), GPU, precision="int8", batch=1)
    one = found.layers[0]
    assert one.bytes == 32 + 48 + 6
    assert one.seconds == pytest.approx(max(192 / 2e6, 86 / 1e6))


def test_kernels_that_reach_half_take_twice_as_long():
    best = roofline(block(), GPU, precision="fp16", batch=2)
    half = roofline(block(), GPU, precision="fp16", batch=2, reached=0.5)
    assert half.images_per_s == pytest.approx(best.images_per_s / 2)
    assert half.share == pytest.approx(best.share / 2)
    with pytest.raises(ValueError, match="reached"):
        roofline(block(), GPU, precision="fp16", batch=2, reached=0)


def test_the_command_prints_the_bound(tmp_path):
    assert tuple(GPUS) == GPU_NAMES
    artifact = write_artifact(tmp_path / "model")
    result = CliRunner().invoke(main, ["roofline", str(artifact.folder), "--gpu-name", "l4"])
    assert result.exit_code == 0, result.output
    assert "l4, fp16, batch 64: at most" in result.output and "| MatMul |" in result.output
    result = CliRunner().invoke(main, ["roofline", str(artifact.folder), "--gpu-name", "abacus"])
    assert result.exit_code == 2 and "h100-sxm" in result.output
