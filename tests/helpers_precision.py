"""A network small enough to be converted in milliseconds, with the names the exporter writes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from helpers_artifact import SIZE, tiny_manifest
from msgspec.structs import replace
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from mtml_deploy.artifact.artifact import Artifact, file_sha256, open_artifact, save_manifest
from mtml_deploy.artifact.manifest import METADATA_KEY, embedded_record

WIDTH = 16
"""Features of a branch."""

BRANCHES = ("identity", "scale")


class Builder:
    """Nodes and constants of a graph, one call each."""

    def __init__(self, seed: int = 0) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.random = np.random.default_rng(seed)

    def constant(self, name: str, values: np.ndarray) -> str:
        self.constants.append(numpy_helper.from_array(values, name))
        return name

    def node(self, operator: str, inputs: list[str], output: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output

    def conv(self, name: str, source: str, channels: tuple[int, int], size: int, stride=1) -> str:
        taken, given = channels
        fan_in = taken * size * size
        shape = (given, taken, size, size)
        weight = self.random.normal(0, (2 / fan_in) ** 0.5, shape).astype(np.float32)
        bias = self.random.normal(0, 0.1, given).astype(np.float32)
        prefix = f"extractor.trunks.nets.{name}"
        inputs = [
            source,
            self.constant(f"{prefix}.weight", weight),
            self.constant(f"{prefix}.bias", bias),
        ]
        return self.node(
            "Conv", inputs, f"{name}.out", pads=[size // 2] * 4, strides=[stride, stride]
        )

    def trunk(self, branch: str, source: str) -> str:
        """conv1, relu, max pooling, a plain block, a block with a projected shortcut, pooling."""
        x = self.node("Relu", [self.conv(f"{branch}.conv1", source, (3, 8), 3)], f"{branch}.relu")
        x = self.node("MaxPool", [x], f"{branch}.pool", kernel_shape=[2, 2], strides=[2, 2])
        for number, (taken, given) in enumerate(((8, 8), (8, WIDTH)), 1):
            name, stride = f"{branch}.layer{number}.0", number
            y = self.conv(f"{name}.conv1", x, (taken, given), 3, stride)
            y = self.node("Relu", [y], f"{name}.relu1")
            y = self.conv(f"{name}.conv2", y, (given, given), 3)
            if number == 2:
                x = self.conv(f"{name}.downsample.0", x, (taken, given), 1, stride)
            x = self.node("Relu", [self.node("Add", [y, x], f"{name}.sum")], f"{name}.relu2")
        mean = self.node("ReduceMean", [x, "axes"], f"{branch}.mean", keepdims=1)
        return self.node("Flatten", [mean], f"{branch}.feature")

    def model(self, outputs: dict[str, int], record: str = "") -> onnx.ModelProto:
        graph = helper.make_graph(
            self.nodes,
            "mini",
            [helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", SIZE, SIZE, 3])],
            [
                helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", size])
                for name, size in outputs.items()
            ],
            self.constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
        if record:
            helper.set_model_props(model, {METADATA_KEY: record})
        return model


def mini_model(record: str = "", *, seed: int = 0) -> onnx.ModelProto:
    """Two branches; the second sees the image through two matrix products."""
    builder = Builder(seed)
    builder.constant("axes", np.array([2, 3], np.int64))
    builder.constant("grey", np.array(127.5, np.float32))
    builder.constant("spread", np.array(64.0, np.float32))
    halve = np.kron(np.eye(SIZE // 2), [[0.5, 0.5]]).astype(np.float32)  # [16, 32]: mean of pairs
    builder.constant("halve", np.ascontiguousarray(halve.T))
    floats = builder.node("Cast", ["images"], "floats", to=TensorProto.FLOAT)
    planes = builder.node("Transpose", [floats], "planes", perm=[0, 3, 1, 2])
    features = []
    for branch in BRANCHES:
        view = planes
        if branch == "scale":
            for axis in ("columns", "rows"):
                view = builder.node("MatMul", [view, "halve"], f"half_{axis}")
                view = builder.node("Transpose", [view], f"turned_{axis}", perm=[0, 1, 3, 2])
        view = builder.node("Sub", [view, "grey"], f"{branch}.centred")
        view = builder.node("Div", [view, "spread"], f"{branch}.view")
        features.append(builder.trunk(branch, view))
    builder.node("Concat", features, "embeddings", axis=1)
    return builder.model({"embeddings": len(BRANCHES) * WIDTH}, record)


def mini_artifact(folder: Path, model: onnx.ModelProto | None = None, **changes) -> Artifact:
    """An fp32 artifact of `mini_model` or of a changed one."""
    manifest = tiny_manifest(branches=BRANCHES, dim=len(BRANCHES) * WIDTH, **changes)
    model = model or mini_model()
    folder.mkdir(parents=True)
    helper.set_model_props(model, {METADATA_KEY: embedded_record(manifest)})
    onnx.save(model, folder / "model.onnx")
    save_manifest(folder, replace(manifest, model_sha256=file_sha256(folder / "model.onnx")))
    return open_artifact(folder)


def pictures(count: int, *, seed: int = 0) -> np.ndarray:
    """uint8 [count, SIZE, SIZE, 3]: coarse patches, as different from each other as photographs."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, size=(count, 4, 4, 3), dtype=np.uint8)
    return np.ascontiguousarray(coarse.repeat(SIZE // 4, axis=1).repeat(SIZE // 4, axis=2))


def write_pictures(folder: Path, count: int, *, seed: int = 0) -> list[Path]:
    """`pictures` as PNG files."""
    folder.mkdir(parents=True)
    paths = []
    for number, pixels in enumerate(pictures(count, seed=seed)):
        paths.append(folder / f"{number:03}.png")
        Image.fromarray(pixels).save(paths[-1])
    return paths


def weight_of(model: onnx.ModelProto, name: str) -> onnx.TensorProto:
    """A constant by the end of its name."""
    (found,) = [tensor for tensor in model.graph.initializer if tensor.name.endswith(name)]
    return found


def scale_weight(model: onnx.ModelProto, name: str, factor: float) -> None:
    """Multiply a constant."""
    tensor = weight_of(model, name)
    values = numpy_helper.to_array(tensor) * np.float32(factor)
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
