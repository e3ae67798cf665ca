"""The ranking of layers by what each alone loses in int8."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from helpers_precision import mini_model, pictures

from mtml_deploy.precision.int8 import insert_quantisers
from mtml_deploy.precision.network import Network, read_network
from mtml_deploy.precision.ranges import measure_histograms, quantisation_steps
from mtml_deploy.precision.sensitivity import LayerNoise, rank_layers
from mtml_deploy.precision.session import GraphSession


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Network:
    path = tmp_path_factory.mktemp("network") / "m.onnx"
    onnx.save(mini_model(), path)
    return read_network(path)


@pytest.fixture(scope="module")
def steps(network: Network) -> dict[str, float]:
    return quantisation_steps(measure_histograms(network, pictures(8)), "minmax")


def test_every_layer_once_the_noisiest_first(network: Network, steps: dict[str, float]) -> None:
    done: list[tuple[int, int]] = []
    found = rank_layers(network, steps, pictures(3), progress=lambda *step: done.append(step))
    assert sorted(each.layer.name for each in found) == sorted(x.name for x in network.layers)
    assert [each.noise for each in found] == sorted((x.noise for x in found), reverse=True)
    assert all(0 < each.noise < 0.01 for each in found)
    assert done == [(i, 8) for i in range(1, 9)]  # two branches of 8 layers in 8 runs


def test_noise_is_that_of_the_layer_alone(network: Network, steps: dict[str, float]) -> None:
    images = pictures(3)
    (layer,) = [x for x in network.layers if x.name == "scale.layer2.0.conv1"]
    model = network.copy()
    insert_quantisers(model, [layer], steps)
    exact = GraphSession(network.model, ["scale.mean"]).run(images)["scale.mean"]
    noisy = GraphSession(model, ["scale.mean"]).run(images)["scale.mean"]
    ratios = [
        float(((b - a).astype(float) ** 2).sum() / (a.astype(float) ** 2).sum())
        for a, b in zip(exact, noisy, strict=True)
    ]
    found = {each.layer.name: each.noise for each in rank_layers(network, steps, images)}
    assert found["scale.layer2.0.conv1"] == pytest.approx(np.mean(ratios), rel=1e-3)


def test_a_planted_fault_comes_first(network: Network, steps: dict[str, float]) -> None:
    spoiled = steps | {"scale.layer2.0.relu1": 60 * steps["scale.layer2.0.relu1"]}
    found: tuple[LayerNoise, ...] = rank_layers(network, spoiled, pictures(3))
    assert found[0].layer.name == "scale.layer2.0.conv2"
    assert found[0].noise > 10 * found[1].noise
