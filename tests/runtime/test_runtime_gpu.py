"""The runtime contract on a GPU: the same for every backend that works on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from helpers_artifact import SIZE, expected_embeddings, tiny_manifest, write_artifact
from helpers_gpu import require_gpu, skip_if_absent

from mtml_deploy.artifact.artifact import Artifact
from mtml_deploy.engine.folder import build_engine
from mtml_deploy.engine.gpu import Gpu
from mtml_deploy.engine.library import load_library
from mtml_deploy.engine.options import BatchProfile, BuildOptions
from mtml_deploy.errors import MtmlError
from mtml_deploy.runtime.open import open_runtime
from mtml_deploy.runtime.ort import OrtRuntime
from mtml_deploy.runtime.runtime import Runtime

pytestmark = pytest.mark.gpu

RELATIVE = 1e-3
"""TensorRT multiplies float32 as TF32, of 10 bits; everything else is float32."""

BACKENDS = (
    "ort",
    "ort with CUDA graphs",
    "ort with NHWC",
    "ort-tensorrt",
    "tensorrt",
    "tensorrt-rtx",
)


def random_images(count: int) -> np.ndarray:
    rng = np.random.default_rng(count)
    return rng.integers(0, 256, size=(count, SIZE, SIZE, 3), dtype=np.uint8)


def library_of(backend: str) -> str:
    """What has to be installed for it: "ort with CUDA graphs" is "ort"."""
    return backend.partition(" ")[0]


def open_backend(name: str, artifact: Artifact, gpu: Gpu) -> Runtime:
    """The runtime of a backend; an engine is built first where it needs one."""
    if name == "ort with CUDA graphs":
        return OrtRuntime(artifact, device="cuda:0", cuda_graphs=True)
    if name == "ort with NHWC":
        return OrtRuntime(artifact, device="cuda:0", nhwc=True)
    if name in ("tensorrt", "tensorrt-rtx"):
        options = BuildOptions(profile=BatchProfile(1, 4, 8))
        build_engine(artifact, options, load_library(name), gpu=gpu)
    return open_runtime(artifact, backend=name, device="cuda:0")


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def opened(backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Runtime]:
    """A runtime of each backend whose libraries are installed and support this GPU."""
    gpu = require_gpu(library_of(backend))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    artifact = write_artifact(
        tmp_path / "model", tiny_manifest(with_orientation=True), with_orientation=True
    )
    try:
        runtime = open_backend(backend, artifact, gpu)
    except MtmlError as error:
        skip_if_absent(library_of(backend), error)
    with runtime:
        yield runtime


def test_embeddings_are_those_of_the_graph_for_any_batch(opened: Runtime) -> None:
    for count in (1, 3, 4, 8, 9, 21, 64, 65, 130, 3):
        images = random_images(count)
        for _ in range(3):  # a first run, a captured graph, its replay
            outputs = opened.run_all(images)
            expected = expected_embeddings(images)
            scale = np.abs(expected).max()
            np.testing.assert_allclose(outputs.embeddings, expected, atol=RELATIVE * scale)
            assert outputs.orientation is not None
            # every column of the hand-made head is equal, so every class has probability 1/8
            np.testing.assert_allclose(outputs.orientation, 0.125, atol=RELATIVE)


def test_equal_images_have_equal_embeddings_in_every_row_and_run(opened: Runtime) -> None:
    image = random_images(1)
    alone = opened.run(image)
    for count in (1, 4, 5, 8):
        together = opened.run(np.repeat(image, count, axis=0))
        scale = np.abs(alone).max()
        np.testing.assert_allclose(together, np.repeat(alone, count, axis=0), atol=RELATIVE * scale)


def test_bad_input_leaves_it_usable(opened: Runtime) -> None:
    images = random_images(4)
    before = opened.run(images)
    for bad in (images.astype(np.float32), images[:0], images[:, 1:], images[0]):
        with pytest.raises(ValueError, match="images must"):
            opened.run(bad)
    np.testing.assert_array_equal(opened.run(images), before)


def test_a_view_that_is_not_contiguous_is_copied(opened: Runtime) -> None:
    images = random_images(4)
    view = images[::-1, :, ::-1]
    assert not view.flags.c_contiguous
    np.testing.assert_array_equal(opened.run(view), opened.run(np.ascontiguousarray(view)))


def test_closing_is_final_and_another_can_be_opened(
    backend: str, opened: Runtime, tmp_path: Path
) -> None:
    images = random_images(4)
    opened.close()
    opened.close()
    with pytest.raises(ValueError, match="closed"):
        opened.run(images)
    other = write_artifact(tmp_path / "other")
    with open_backend(backend, other, require_gpu()) as again:
        assert again.run(images).shape[0] == 4
