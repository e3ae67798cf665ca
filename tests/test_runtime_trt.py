"""The engine runtime: what a machine without GPU can say, and on one with, the runtime contract."""

from __future__ import annotations

import numpy as np
import pytest
from helpers_artifact import SIZE, expected_embeddings, write_artifact
from helpers_engine import rtx_library

from mtml_deploy.engine.options import BatchProfile, BuildOptions
from mtml_deploy.engine.store import build_engine
from mtml_deploy.engine.target import TARGETS, load_library
from mtml_deploy.errors import BackendError, MissingExtraError, MtmlError
from mtml_deploy.gpu import find_gpus
from mtml_deploy.runtime import open_runtime

RELATIVE = 1e-3
"""TF32 products have 10 bits of mantissa; everything else is float32."""


def random_images(count: int) -> np.ndarray:
    rng = np.random.default_rng(count)
    return rng.integers(0, 256, size=(count, SIZE, SIZE, 3), dtype=np.uint8)


@pytest.mark.parametrize("device", ["cpu", "cuda:99", "gpu"])
def test_an_engine_needs_a_gpu_that_is_here(tmp_path, device):
    rtx_library()
    artifact = write_artifact(tmp_path / "model")
    with pytest.raises(BackendError, match=r"cuda:0.*--backend ort"):
        open_runtime(artifact, backend="tensorrt-rtx", device=device)


@pytest.fixture(params=TARGETS)
def opened(request, tmp_path):
    """A runtime on a freshly built engine of each library that works here."""
    found = find_gpus()
    if not found.gpus:
        pytest.skip(found.reason)
    try:
        library = load_library(request.param)
    except MissingExtraError as error:
        pytest.skip(str(error))
    artifact = write_artifact(tmp_path / "model", with_orientation=True)
    options = BuildOptions(profile=BatchProfile(1, 4, 8))
    try:
        build_engine(artifact, options, library, gpu=found.gpus[0])
        runtime = open_runtime(artifact, backend=request.param, device="cuda:0")
    except MtmlError as error:
        pytest.skip(f"{request.param} does not work on {found.gpus[0].name}: {error}")
    with runtime:
        yield runtime


@pytest.mark.gpu
def test_engines_give_the_embeddings_of_the_graph_for_any_batch(opened):
    for count in (1, 3, 4, 8, 9, 21):
        images = random_images(count)
        for _ in range(3):  # first a plain run, then captured graphs
            outputs = opened.run_all(images)
            expected = expected_embeddings(images)
            scale = np.abs(expected).max()
            np.testing.assert_allclose(outputs.embeddings, expected, atol=RELATIVE * scale)
            assert outputs.orientation.shape == (count, 8)
            np.testing.assert_allclose(outputs.orientation.sum(axis=1), 1, atol=RELATIVE)


@pytest.mark.gpu
def test_bad_input_leaves_an_engine_usable_and_closing_is_final(opened):
    images = random_images(4)
    before = opened.run(images)
    with pytest.raises(ValueError, match="uint8"):
        opened.run(images.astype(np.float32))
    with pytest.raises(ValueError, match="image"):
        opened.run(images[:0])
    np.testing.assert_array_equal(opened.run(images[:, ::-1, ::-1][:, ::-1, ::-1]), before)
    assert len(opened.engine_sha256) == 64
    opened.close()
    opened.close()
    with pytest.raises(ValueError, match="closed"):
        opened.run(images)
