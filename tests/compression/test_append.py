"""Nodes behind the embeddings: what they compute, and that TensorRT takes them."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from helpers_artifact import DIM, SIZE, expected_embeddings, tiny_manifest, write_model

from mtml_deploy.artifact.artifact import embedded_record, write_artifact
from mtml_deploy.compression.append import append_projection
from mtml_deploy.compression.projection import Projection
from mtml_deploy.errors import ArtifactError, MissingExtraError
from mtml_deploy.runtime.open import open_runtime

CLOSE = 2e-5
"""Float32 rounding of values up to 700 and of their product, relative to the result's length."""

BUILD = """
import sys
import tensorrt_rtx as trt
builder = trt.Builder(trt.Logger(trt.Logger.ERROR))
network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
parser = trt.OnnxParser(network, builder.logger)
if not parser.parse_from_file(sys.argv[1]):
    sys.exit("; ".join(str(parser.get_error(i)) for i in range(parser.num_errors)))
config = builder.create_builder_config()
profile = builder.create_optimization_profile()
size = int(sys.argv[2])
profile.set_shape("images", *((n, size, size, 3) for n in (1, 2, 4)))
config.add_optimization_profile(profile)
config.num_compute_capabilities = 1
config.set_compute_capability(trt.ComputeCapability.SM86, 0)
assert builder.build_serialized_network(network, config) is not None
assert tuple(network.get_output(0).shape)[1:] == (int(sys.argv[3]),), network.get_output(0).shape
"""


def projection(dim, *, normalise, mean=None):
    rng = np.random.default_rng(5)
    return Projection(
        mean=rng.normal(size=DIM) * 50 if mean is None else mean,
        matrix=rng.normal(size=(DIM, dim)),
        normalise=normalise,
    )


def images(count):
    rng = np.random.default_rng(1)
    return rng.integers(0, 256, size=(count, SIZE, SIZE, 3), dtype=np.uint8)


def write(folder: Path, appended: Projection, **model):
    """The tiny model with `appended`, as an artifact."""
    folder.mkdir()
    write_model(folder / "old.onnx", "old", **model)
    flag = model.get("with_orientation", False)
    manifest = tiny_manifest(dim=appended.matrix.shape[1], with_orientation=flag)
    return write_artifact(folder, append_projection(folder / "old.onnx", appended), manifest)


@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize("orientation", [False, True])
def test_the_graph_gives_the_projected_embeddings(tmp_path, normalise, orientation):
    appended = projection(4, normalise=normalise)
    artifact = write(tmp_path / "new", appended, with_orientation=orientation)
    onnx.checker.check_model(onnx.load(artifact.model_path), full_check=True)
    batch = images(5)
    with open_runtime(artifact) as runtime:
        found = runtime.run_all(batch)
    for row, old in zip(found.embeddings, expected_embeddings(batch), strict=True):
        expected = [
            sum((old[i] - appended.mean[i]) * appended.matrix[i, k] for i in range(DIM))
            for k in range(4)
        ]
        length = np.sqrt(sum(value * value for value in expected))
        expected = np.array(expected) / (length if normalise else 1)
        assert row == pytest.approx(expected, abs=CLOSE * (1 if normalise else length))
    assert (found.orientation is not None) == orientation


def test_an_embedding_at_the_mean_stays_zero(tmp_path):
    artifact = write(tmp_path / "new", projection(3, normalise=True, mean=np.zeros(DIM)))
    batch = images(2)
    batch[1] = 0  # the tiny model has no bias: a black image gives zeros
    with open_runtime(artifact) as runtime:
        found = runtime.run(batch)
    assert np.linalg.norm(found[0]) == pytest.approx(1, abs=CLOSE)
    assert found[1].tolist() == [0, 0, 0]


def test_shapes_are_static_and_the_record_is_replaced(tmp_path):
    artifact = write(tmp_path / "new", projection(3, normalise=True))
    model = onnx.load(artifact.model_path)
    [output] = model.graph.output
    assert [dim.dim_param or dim.dim_value for dim in output.type.tensor_type.shape.dim] == [
        "batch",
        3,
    ]
    [prop] = model.metadata_props
    assert prop.value == embedded_record(artifact.manifest)
    shapes = {each.name: list(each.dims) for each in model.graph.initializer}
    assert shapes["projection.mean"] == [DIM]
    assert shapes["projection.matrix"] == [DIM, 3]


def test_what_is_no_model_or_too_old_is_refused(tmp_path):
    appended = projection(3, normalise=True)
    (tmp_path / "text").write_text("no model")
    with pytest.raises(ArtifactError, match="is not an ONNX model"):
        append_projection(tmp_path / "text", appended)
    write_model(tmp_path / "old.onnx", "old")
    model = onnx.load(tmp_path / "old.onnx")
    model.opset_import[0].version = 17
    onnx.save(model, tmp_path / "old.onnx")
    with pytest.raises(ArtifactError, match="operator set 17, and 18 or later"):
        append_projection(tmp_path / "old.onnx", appended)


def test_tensorrt_builds_it(tmp_path):
    pytest.importorskip("tensorrt_rtx", reason="needs the TensorRT-RTX wheels")
    artifact = write(tmp_path / "new", projection(3, normalise=True))
    words = [sys.executable, "-c", BUILD, artifact.model_path, SIZE, 3]
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_missing_library_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingExtraError, match=r"mtml-reid\[onnx\]"):
        append_projection(tmp_path / "a", projection(3, normalise=True))
