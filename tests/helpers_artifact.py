"""Tiny artifacts made by hand, so that deployment is tested without training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from msgspec.structs import replace
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from mtml_deploy.artifact.artifact import (
    METADATA_KEY,
    Artifact,
    Manifest,
    embedded_record,
    file_sha256,
    save_manifest,
)

SIZE = 32
DIM = 6


def tiny_manifest(**changes) -> Manifest:
    """A valid manifest of the tiny model; its model hash is still a placeholder."""
    manifest = Manifest(
        variant="MTML-OSG",
        backbone="resnet18",
        branches=("identity", "scale", "gray", "orientation"),
        embedding="fused",
        dim=DIM,
        height=SIZE,
        width=SIZE,
        precision="fp32",
        with_orientation=False,
        model_sha256="0" * 64,
        checkpoint_sha256="c" * 64,
        opset=20,
        versions={"torch": "2.15.0", "onnx": "1.23.2"},
        training={
            "sources": ["veri:somewhere"],
            "images": 12,
            "images_with_orientation": 9,
            "seed": 0,
        },
        parity={"cosine_min": 0.99999999},
        licence="no terms",
    )
    return replace(manifest, **changes)


def weights(seed: int = 0) -> np.ndarray:
    """Float32 [6, DIM]: from the two colour means of each channel (upper, lower half)."""
    return np.random.default_rng(seed).normal(size=(6, DIM)).astype(np.float32)


def expected_embeddings(images: np.ndarray, seed: int = 0) -> np.ndarray:
    """What the tiny model gives for uint8 [B, SIZE, SIZE, 3], in float64 and by plain loops."""
    rows = []
    for image in images.astype(np.float64):
        halves = (image[: SIZE // 2], image[SIZE // 2 :])
        means = [half[:, :, channel].mean() for channel in range(3) for half in halves]
        rows.append(np.array(means) @ weights(seed))
    return np.array(rows)


def write_model(
    path: Path,
    record: str | None,
    *,
    seed: int = 0,
    batch: int | str = "batch",
    dim: int = DIM,
    input_type: int = TensorProto.UINT8,
    output_name: str = "embeddings",
    with_orientation: bool = False,
    scale: float = 1.0,
) -> None:
    """Cast, transpose, average the upper and lower half, one matrix product."""
    nodes = [
        helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["floats"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node(
            "AveragePool",
            ["planes"],
            ["means"],
            kernel_shape=[SIZE // 2, SIZE],
            strides=[SIZE // 2, SIZE],
        ),
        helper.make_node("Flatten", ["means"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], [output_name]),
    ]
    outputs = [helper.make_tensor_value_info(output_name, TensorProto.FLOAT, [batch, dim])]
    constants = [numpy_helper.from_array(weights(seed)[:, :dim] * np.float32(scale), "weights")]
    if with_orientation:
        nodes += [
            helper.make_node("MatMul", ["flat", "head"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["orientation"], axis=1),
        ]
        outputs.append(helper.make_tensor_value_info("orientation", TensorProto.FLOAT, [batch, 8]))
        constants.append(numpy_helper.from_array(np.full((6, 8), 0.01, np.float32), "head"))
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("images", input_type, [batch, SIZE, SIZE, 3])],
        outputs,
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    if record is not None:
        helper.set_model_props(model, {METADATA_KEY: record})
    onnx.save(model, path)


def write_artifact(folder: Path, manifest: Manifest | None = None, **model) -> Artifact:
    """A whole artifact in `folder`; `model` are options of `write_model`."""
    manifest = manifest or tiny_manifest()
    folder.mkdir(parents=True)
    record = model.pop("record", embedded_record(manifest))
    write_model(folder / "model.onnx", record, **model)
    manifest = replace(manifest, model_sha256=file_sha256(folder / "model.onnx"))
    save_manifest(folder, manifest)
    return Artifact(folder=folder, manifest=manifest)


def write_images(folder: Path, count: int, *, seed: int = 0) -> list[Path]:
    """`count` PNG files of the model's own size, so that decoding changes no pixel."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    paths = []
    for index in range(count):
        pixels = random.integers(0, 256, size=(SIZE, SIZE, 3), dtype=np.uint8)
        path = folder / f"{index:04d}.png"
        Image.fromarray(pixels).save(path)
        paths.append(path)
    return paths
