"""Model files that could run without end, read other files or call foreign code are refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from helpers_artifact import tiny_manifest, write_artifact
from onnx import GraphProto, TensorProto, helper, numpy_helper

from mtml_deploy.artifact.artifact import open_artifact
from mtml_deploy.artifact.plain_graph import require_plain_graph
from mtml_deploy.errors import ArtifactError


def endless(graph: GraphProto) -> None:
    """A loop whose condition stays true."""
    true = numpy_helper.from_array(np.array(True), "true")
    most = numpy_helper.from_array(np.array(2**62), "most")
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["goes"])],
        "body",
        [
            helper.make_tensor_value_info("step", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
        ],
        [helper.make_tensor_value_info("goes", TensorProto.BOOL, [])],
    )
    graph.initializer.extend([true, most])
    graph.node.append(helper.make_node("Loop", ["most", "true"], [], body=body))


def branching(graph: GraphProto) -> None:
    """A condition with two graphs."""
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [])
    one = helper.make_graph(
        [helper.make_node("Constant", [], ["x"], value_float=1.0)], "b", [], [value]
    )
    graph.initializer.append(numpy_helper.from_array(np.array(True), "true"))
    graph.node.append(
        helper.make_node("If", ["true"], ["chosen"], then_branch=one, else_branch=one)
    )


def outside(graph: GraphProto) -> None:
    """Weights in a file of another folder."""
    tensor = graph.initializer[0]
    onnx.external_data_helper.set_external_data(tensor, "../../etc/passwd", length=4)
    tensor.ClearField("raw_data")


def outside_constant(graph: GraphProto) -> None:
    """The same in a node's own value."""
    tensor = numpy_helper.from_array(np.zeros(3, np.float32), "c")
    onnx.external_data_helper.set_external_data(tensor, "other.bin")
    graph.node.append(helper.make_node("Constant", [], ["c"], value=tensor))


def foreign(graph: GraphProto) -> None:
    """An operator of ONNX Runtime's own."""
    graph.node.append(helper.make_node("Gelu", ["flat"], ["g"], domain="com.microsoft"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (endless, "the node Loop with a graph of its own, which may never end"),
        (branching, "the node If with a graph"),
        (outside, "keeps weights in another file"),
        (outside_constant, "keeps weights in another file"),
        (foreign, "the node Gelu of a foreign operator set"),
    ],
)
def test_what_no_export_writes(
    tmp_path: Path, change: Callable[[GraphProto], None], words: str
) -> None:
    artifact = write_artifact(tmp_path / "a")
    require_plain_graph(artifact.model_path)
    model = onnx.load(artifact.model_path)
    change(model.graph)
    artifact.model_path.write_bytes(model.SerializeToString())
    with pytest.raises(ArtifactError, match=words):
        require_plain_graph(artifact.model_path)


def test_functions_of_its_own(tmp_path: Path) -> None:
    artifact = write_artifact(tmp_path / "a")
    model = onnx.load(artifact.model_path)
    node = helper.make_node("Identity", ["x"], ["y"])
    function = helper.make_function("own", "F", ["x"], ["y"], [node], [helper.make_opsetid("", 20)])
    model.functions.append(function)
    artifact.model_path.write_bytes(model.SerializeToString())
    with pytest.raises(ArtifactError, match="functions of its own"):
        require_plain_graph(artifact.model_path)


@pytest.mark.parametrize(
    "content", [b"", b"\xff" * 20, b"\x3a\x05abc", b"\x3a", b"\x38\x01", b"\x0b", b"not a model"]
)
def test_what_is_no_model(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.onnx").write_bytes(content)
    with pytest.raises(ArtifactError, match=r"x\.onnx is not an ONNX model"):
        require_plain_graph(tmp_path / "x.onnx")


def test_an_artifact_is_looked_at_when_it_is_opened(tmp_path: Path) -> None:
    write_artifact(tmp_path / "whole")
    open_artifact(tmp_path / "whole")
    artifact = write_artifact(tmp_path / "loop", tiny_manifest())
    model = onnx.load(artifact.model_path)
    endless(model.graph)
    from helpers_artifact import file_sha256, replace, save_manifest

    artifact.model_path.write_bytes(model.SerializeToString())
    save_manifest(
        artifact.folder,
        replace(artifact.manifest, model_sha256=file_sha256(artifact.model_path)),
    )
    with pytest.raises(ArtifactError, match="may never end"):
        open_artifact(artifact.folder)
