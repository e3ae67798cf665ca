"""Ranges measured on images: what fp16 has no room for, and quantisation steps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from helpers_precision import mini_model, pictures, scale_weight

from mtml_deploy.errors import ParityError
from mtml_deploy.precision.int8 import step_of
from mtml_deploy.precision.network import Network, read_network
from mtml_deploy.precision.ranges import (
    HEADROOM,
    largest_magnitudes,
    measure_histograms,
    overflowing,
    quantisation_steps,
)


def network_of(model: onnx.ModelProto, folder: Path) -> Network:
    onnx.save(model, folder / "m.onnx")
    return read_network(folder / "m.onnx")


def test_magnitudes_of_what_is_read_and_written(tmp_path: Path) -> None:
    images = pictures(3)
    found = largest_magnitudes(network_of(mini_model(), tmp_path), images)
    assert found["planes"] == images.max()  # read by the matrix product
    view = np.abs(images.astype(np.float32) - np.float32(127.5)).max() / 64
    assert found["identity.view"] == pytest.approx(view, rel=1e-6)
    assert "floats" not in found


def test_an_ordinary_network_fits(tmp_path: Path) -> None:
    network = network_of(mini_model(), tmp_path)
    assert overflowing(network, largest_magnitudes(network, pictures(3))) == ()


def test_nodes_around_a_large_activation_are_kept(tmp_path: Path) -> None:
    model = mini_model()
    scale_weight(model, "scale.layer1.0.conv1.weight", 1e5)
    scale_weight(model, "scale.layer1.0.conv2.weight", 1e-5)
    network = network_of(model, tmp_path)
    kept = overflowing(network, largest_magnitudes(network, pictures(3)))
    # its writer, the ReLU that passes it on, and the convolution that reads it
    assert kept == (
        "scale.layer1.0.conv1.out",
        "scale.layer1.0.relu1",
        "scale.layer1.0.conv2.out",
    )


def test_the_limit_leaves_headroom(tmp_path: Path) -> None:
    network = network_of(mini_model(), tmp_path)
    limit = 65504 / HEADROOM
    magnitudes = dict.fromkeys(largest_magnitudes(network, pictures(2)), limit)
    assert overflowing(network, magnitudes) == ()
    magnitudes["identity.conv1.out"] = limit * 1.001
    assert overflowing(network, magnitudes) == ("identity.conv1.out", "identity.relu")
    magnitudes["identity.conv1.out"] = float("nan")
    assert overflowing(network, magnitudes) == ("identity.conv1.out", "identity.relu")


def test_a_weight_beyond_fp16_is_kept(tmp_path: Path) -> None:
    model = mini_model()
    scale_weight(model, "identity.conv1.bias", 0)
    (tensor,) = [t for t in model.graph.initializer if t.name.endswith("identity.conv1.bias")]
    tensor.CopyFrom(onnx.numpy_helper.from_array(np.full(8, -7e4, np.float32), tensor.name))
    network = network_of(model, tmp_path)
    assert overflowing(network, {}) == ("identity.conv1.out",)


def test_steps_of_every_source(tmp_path: Path) -> None:
    images = pictures(4)
    network = network_of(mini_model(), tmp_path)
    done: list[tuple[int, int]] = []
    found = measure_histograms(network, images, progress=lambda *step: done.append(step))
    assert done == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert found.keys() == {layer.source for layer in network.layers}
    steps = quantisation_steps(found, "minmax")
    magnitudes = largest_magnitudes(network, images)
    for name, step in steps.items():
        # sums of another batch size differ in the last digits, and so may the rounding up
        assert step == pytest.approx(step_of(magnitudes[name]), rel=2**-9)


def test_activations_that_are_no_numbers(tmp_path: Path) -> None:
    model = mini_model()
    scale_weight(model, "identity.conv1.bias", float("inf"))
    with pytest.raises(ParityError, match=r"identity\.pool .* not finite for calibration image 1"):
        measure_histograms(network_of(model, tmp_path), pictures(2))
