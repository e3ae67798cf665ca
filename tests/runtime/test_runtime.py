import json
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers_artifact import (
    DIM,
    SIZE,
    expected_embeddings,
    tiny_manifest,
    write_artifact,
)
from msgspec.structs import replace
from onnx import TensorProto

from mtml_deploy.artifact.artifact import Artifact, embedded_record
from mtml_deploy.errors import ArtifactError, BackendError, MissingExtraError
from mtml_deploy.runtime.open import open_runtime

FLOAT32_RELATIVE = 1e-5
"""Sums of 512 pixels and 6 products in float32 (24 bits) against float64: 6e-8 per operation."""


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    return write_artifact(tmp_path / "art")


def random_images(count: int, seed: int = 3) -> np.ndarray:
    shape = (count, SIZE, SIZE, 3)
    return np.random.default_rng(seed).integers(0, 256, size=shape, dtype=np.uint8)


@pytest.mark.parametrize("count", [1, 2, 7])
def test_run_gives_the_model_s_embeddings_at_any_batch(artifact: Artifact, count: int) -> None:
    images = random_images(count)
    with open_runtime(artifact) as runtime:
        found = runtime.run(images)
    assert found.dtype == np.float32
    assert found.shape == (count, DIM)
    np.testing.assert_allclose(found, expected_embeddings(images), rtol=FLOAT32_RELATIVE, atol=1e-3)


def test_row_does_not_depend_on_its_batch(artifact: Artifact) -> None:
    images = random_images(5)
    with open_runtime(artifact, threads=1) as runtime:
        together = runtime.run(images)
        alone = np.concatenate([runtime.run(image[None]) for image in images])
    np.testing.assert_allclose(together, alone, rtol=FLOAT32_RELATIVE)
    assert len(np.unique(together, axis=0)) == 5


def test_views_are_copied_not_misread(artifact: Artifact) -> None:
    images = random_images(6)
    flipped = images[::-2, :, ::-1]
    assert not flipped.flags.c_contiguous
    with open_runtime(artifact) as runtime:
        found = runtime.run(flipped)
    expected = expected_embeddings(np.array(flipped))
    np.testing.assert_allclose(found, expected, rtol=FLOAT32_RELATIVE, atol=1e-3)


def test_run_all_without_orientation(artifact: Artifact) -> None:
    images = random_images(2)
    with open_runtime(artifact) as runtime:
        outputs = runtime.run_all(images)
        assert outputs.orientation is None
        np.testing.assert_array_equal(outputs.embeddings, runtime.run(images))


def test_run_all_with_orientation(tmp_path: Path) -> None:
    artifact = write_artifact(
        tmp_path / "art", tiny_manifest(with_orientation=True), with_orientation=True
    )
    with open_runtime(artifact) as runtime:
        outputs = runtime.run_all(random_images(3))
    assert outputs.orientation is not None
    assert outputs.orientation.shape == (3, 8)
    # every column of the hand-made head is equal, so every class has probability 1/8
    np.testing.assert_allclose(outputs.orientation, 0.125, rtol=FLOAT32_RELATIVE)


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((0, SIZE, SIZE, 3), np.uint8),
        np.zeros((SIZE, SIZE, 3), np.uint8),
        np.zeros((1, SIZE, SIZE + 1, 3), np.uint8),
        np.zeros((1, 3, SIZE, SIZE), np.uint8),
        np.zeros((1, SIZE, SIZE, 3), np.float32),
        np.zeros((1, SIZE, SIZE, 3), np.int8),
    ],
)
def test_wrong_images_are_a_callers_mistake(artifact: Artifact, images: np.ndarray) -> None:
    with open_runtime(artifact) as runtime, pytest.raises(ValueError, match="images must"):
        runtime.run(images)


def test_closed_runtime_refuses_to_run(artifact: Artifact) -> None:
    with open_runtime(artifact) as runtime:
        runtime.run(random_images(1))
    with pytest.raises(ValueError, match="closed"):
        runtime.run(random_images(1))
    runtime.close()


@pytest.mark.parametrize("device", ["cuda", "gpu", "cuda:-1", "cuda:x", "CPU", "", "cuda:0 "])
def test_unknown_device_is_refused(artifact: Artifact, device: str) -> None:
    with pytest.raises(BackendError, match="expected cpu or cuda:N"):
        open_runtime(artifact, device=device)


def test_provider_that_is_not_there_is_an_error_not_a_fallback(artifact: Artifact) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has the CUDA provider")
    with pytest.raises(BackendError, match=r"CUDAExecutionProvider.*mtml-reid\[gpu\]"):
        open_runtime(artifact, device="cuda:0")


def test_session_that_fell_back_is_an_error(
    artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library may list a provider, fail to load it and go on with the CPU."""
    import onnxruntime

    real = onnxruntime.InferenceSession

    def fallen_back(path, sess_options, providers, **_):
        assert providers[0][0] == "CUDAExecutionProvider"
        assert providers[0][1] == {"device_id": "1", "use_tf32": "0"}
        return real(path, sess_options=sess_options, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(onnxruntime, "InferenceSession", fallen_back)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    with pytest.raises(BackendError, match="cuda:1 was asked for"):
        open_runtime(artifact, device="cuda:1")


def test_a_node_without_a_kernel_on_the_gpu_is_an_error(
    artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The text is that of ONNX Runtime 1.32 where the CPU may not take such a node."""
    import onnxruntime

    real = onnxruntime.InferenceSession

    def refused(path, sess_options, providers, **_):
        if sess_options.get_session_config_entry("session.disable_cpu_ep_fallback") == "1":
            raise RuntimeError(
                "This session contains graph nodes that are assigned to the default CPU EP, but "
                "fallback to CPU EP has been explicitly disabled by the user."
            )
        session = real(path, sess_options=sess_options, providers=["CPUExecutionProvider"])
        session.get_providers = lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
        return session

    monkeypatch.setattr(onnxruntime, "InferenceSession", refused)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    with pytest.raises(BackendError, match="no kernel of CUDAExecutionProvider"):
        open_runtime(artifact, device="cuda:0")


def test_unknown_backend_and_threads(artifact: Artifact) -> None:
    with pytest.raises(BackendError, match="expected one of ort"):
        open_runtime(artifact, backend="trt")
    with pytest.raises(ValueError, match="threads"):
        open_runtime(artifact, threads=-1)


def test_missing_library_names_the_extra(
    artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'mtml-reid\[cpu\]'"):
        open_runtime(artifact)
    with pytest.raises(MissingExtraError, match=r"pip install 'mtml-reid\[gpu\]'"):
        open_runtime(artifact, device="cuda:0")


def test_file_that_is_no_model(artifact: Artifact) -> None:
    artifact.model_path.write_bytes(b"not a model")
    with pytest.raises(ArtifactError, match="cannot load"):
        open_runtime(artifact)


def test_model_without_or_with_another_record(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="holds no record"):
        open_runtime(write_artifact(tmp_path / "none", record=None))
    with pytest.raises(ArtifactError, match="is not JSON"):
        open_runtime(write_artifact(tmp_path / "broken", record="{"))
    with pytest.raises(ArtifactError, match="nested too deeply"):
        open_runtime(write_artifact(tmp_path / "deep", record="[" * 100_000))
    with pytest.raises(ArtifactError, match="differ in licence, precision"):
        other = tiny_manifest(precision="fp16", licence="others")
        open_runtime(write_artifact(tmp_path / "other", record=embedded_record(other)))
    with pytest.raises(ArtifactError, match="differ in"):
        open_runtime(write_artifact(tmp_path / "list", record="[]"))
    # the same values written with other spaces are the same record
    spaced = json.dumps(json.loads(embedded_record(tiny_manifest())), indent=3)
    open_runtime(write_artifact(tmp_path / "spaced", record=spaced)).close()


@pytest.mark.parametrize(
    ("manifest", "model"),
    [
        (tiny_manifest(dim=5), {}),
        (tiny_manifest(), {"dim": 5}),
        (tiny_manifest(height=64), {}),
        (tiny_manifest(), {"batch": 1}),
        (tiny_manifest(), {"input_type": TensorProto.FLOAT}),
        (tiny_manifest(), {"output_name": "features"}),
        (tiny_manifest(with_orientation=True), {}),
        (tiny_manifest(), {"with_orientation": True}),
    ],
)
def test_graph_that_is_not_the_manifest_s(tmp_path: Path, manifest, model) -> None:
    artifact = write_artifact(tmp_path / "art", replace(manifest), **model)
    with pytest.raises(ArtifactError, match=r"(inputs|outputs) of .* its manifest expects"):
        open_runtime(artifact)
