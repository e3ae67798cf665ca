"""Networks beyond plain ResNets, lowered and built: IBN-a, learnt pooling, necks, tall images.

Exported with statistics of a few training steps; each precision is compared with torch, each
rounding of fp16 carried out, and a TensorRT-RTX engine is built of it on the CPU.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from helpers_artifact import tiny_manifest
from helpers_engine import rtx_library, write_precisions
from helpers_training import small_config

from mtml_deploy.artifact.artifact import Artifact
from mtml_deploy.artifact.manifest import EMBEDDINGS_OUTPUT, INPUT_NAME
from mtml_deploy.engine.build import build_plan
from mtml_deploy.engine.graph_check import require_buildable
from mtml_deploy.engine.options import BatchProfile, BuildOptions
from mtml_deploy.errors import ArtifactError
from mtml_deploy.parity.agreement import MIN_COSINE_FP32, agreement
from mtml_deploy.parity.thresholds import DEFAULT_THRESHOLDS
from mtml_deploy.precision.convert import convert
from mtml_deploy.precision.fp16 import rounded
from mtml_deploy.precision.network import read_network
from mtml_deploy.precision.options import Conversion
from mtml_train.checkpoint import build_model
from mtml_train.export.export import trace
from mtml_train.export.extractor import FusedExtractor
from mtml_train.export.fold import fold_batch_norm

HEIGHT, WIDTH = 96, 48
PLAN_BYTES = 1 << 20
"""Fewer than the weights of one trunk in int8."""


def images(count: int, seed: int) -> torch.Tensor:
    """Coarse patches, as different from each other as photographs."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randint(0, 256, (count, 8, 4, 3), dtype=torch.uint8, generator=generator)
    return coarse.repeat_interleave(HEIGHT // 8, 1).repeat_interleave(WIDTH // 4, 2)


@torch.no_grad()
def exported(folder: Path, *, neck: str = "none", **settings: object) -> np.ndarray:
    """Write the scale branch of a model as source.onnx; its embeddings of `images(3, 1)`."""
    torch.manual_seed(0)
    config = small_config(
        "unused", variant="MTML-S", image_size=(HEIGHT, WIDTH), neck=neck, **settings
    )
    model = build_model(config, 3).train()
    for step in range(3):  # statistics that are not those of the start
        model(images(6, 10 + step))
    extractor = FusedExtractor(
        model.eval(),
        branches=("scale",),
        embedding="scale",
        with_orientation=False,
        after_neck=neck != "none",
    )
    expected = extractor(images(3, 1)).numpy()
    fold_batch_norm(extractor)
    onnx.save(trace(extractor, height=HEIGHT, width=WIDTH), folder / "source.onnx")
    return expected


def run(model: onnx.ModelProto) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (found,) = session.run([EMBEDDINGS_OUTPUT], {INPUT_NAME: images(3, 1).numpy()})
    return found


def build(path: Path) -> bytes:
    require_buildable(path)
    options = BuildOptions(profile=BatchProfile(1, 2, 4), sm=(86,))
    manifest = tiny_manifest(height=HEIGHT, width=WIDTH)
    return build_plan(path, manifest, options, rtx_library(), gpu=None).plan


@pytest.mark.parametrize(
    "settings",
    [
        {"backbone": "resnet18_ibn_a", "pooling": "gem", "last_stride": 1, "neck": "bn"},
        {"backbone": "timm:resnet18d", "pooling": "gem", "last_stride": 1},
    ],
    ids=lambda settings: settings["backbone"],
)
def test_networks_of_convolutions_in_every_precision(
    tmp_path: Path, settings: dict[str, str]
) -> None:
    if settings["backbone"].startswith("timm:"):
        pytest.importorskip("timm", reason="timm is not installed")
    expected = exported(tmp_path, **settings)
    source = onnx.load(tmp_path / "source.onnx")
    assert "BatchNormalization" not in {node.op_type for node in source.graph.node}
    assert agreement(expected, run(source)).cosine_min >= MIN_COSINE_FP32
    network = read_network(tmp_path / "source.onnx")
    assert network.foreign == ()
    assert list(network.features) == ["scale"]
    # every convolution, and the shortcut of each of the 8 blocks
    kinds = [layer.kind for layer in network.layers]
    assert kinds.count("Conv") == sum(node.op_type == "Conv" for node in source.graph.node)
    assert kinds.count("Add") == 8
    # ReLU behind a normalisation per image is fp16 as well
    assert all(
        node.output[0] in network.lowerable for node in source.graph.node if node.op_type == "Relu"
    )
    write_precisions(tmp_path / "source.onnx", tmp_path)
    half = rounded(onnx.load(tmp_path / "fp16.onnx"))
    bound = DEFAULT_THRESHOLDS["fp16"].min_cosine
    assert agreement(expected, run(half)).cosine_min >= bound
    for precision in ("fp32", "fp16", "int8"):
        assert len(build(tmp_path / f"{precision}.onnx")) > PLAN_BYTES


def test_a_network_of_other_operators_in_fp16_and_refused_for_int8_by_name(tmp_path: Path) -> None:
    pytest.importorskip("timm", reason="timm is not installed")
    expected = exported(tmp_path, backbone="timm:convnext_atto")
    network = read_network(tmp_path / "source.onnx")
    assert "LayerNormalization" in network.foreign
    write_precisions(tmp_path / "source.onnx", tmp_path)
    half = rounded(onnx.load(tmp_path / "fp16.onnx"))
    bound = DEFAULT_THRESHOLDS["fp16"].min_cosine
    assert agreement(expected, run(half)).cosine_min >= bound
    for precision in ("fp32", "fp16"):
        assert len(build(tmp_path / f"{precision}.onnx")) > PLAN_BYTES
    (tmp_path / "source.onnx").rename(tmp_path / "model.onnx")
    artifact = Artifact(tmp_path, tiny_manifest(backbone="timm:convnext_atto"))
    (tmp_path / "list.txt").write_text("a.jpg\n")
    conversion = Conversion(precision="int8", calibration=tmp_path / "list.txt")
    with pytest.raises(ArtifactError, match=r"backbone timm:convnext_atto, between whose .*Layer"):
        convert(artifact, tmp_path / "int8", conversion)


def test_a_power_mean_of_large_maps_survives_fp16(tmp_path: Path) -> None:
    """Features of 300: their cubes are 400 times what half precision holds."""
    expected = exported(tmp_path, backbone="resnet18", pooling="gem")
    network = read_network(tmp_path / "source.onnx")
    pooling = {"Pow", "ReduceMax", "ReduceMean", "Clip", "Mul"}
    kept = {node.op_type for node in network.model.graph.node
            if node.output[0] not in network.lowerable}  # fmt: skip
    assert pooling <= kept
    weights = {tensor.name: tensor for tensor in network.model.graph.initializer}
    last = [name for name in weights if "layer4.1.conv2" in name]
    factor = 300 / float(np.abs(expected).max())
    for name in last:
        tensor = weights[name]
        values = onnx.numpy_helper.to_array(tensor) * np.float32(factor)
        tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    plain = run(network.model)
    assert plain.max() > 60  # 60^3 is beyond 65504
    onnx.save(network.model, tmp_path / "large.onnx")
    (tmp_path / "low").mkdir()
    write_precisions(tmp_path / "large.onnx", tmp_path / "low")
    half = run(rounded(onnx.load(tmp_path / "low" / "fp16.onnx")))
    assert np.isfinite(half).all()
    assert agreement(plain, half).cosine_min >= DEFAULT_THRESHOLDS["fp16"].min_cosine
