"""Bound buffers, on the CPU: the same calls as on a GPU, whose memory only is elsewhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from helpers_artifact import DIM, SIZE, expected_embeddings, write_artifact

from mtml_deploy.runtime.ort_binding import BoundSession
from mtml_deploy.runtime.ort_provider import PROFILE

FLOAT32_RELATIVE = 1e-5
"""Sums of 512 pixels and 6 products in float32 (24 bits) against float64: 6e-8 per operation."""


class CountedSession:
    """An ONNX Runtime session that counts its bindings."""

    def __init__(self, path: Path) -> None:
        self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        self.bindings = 0

    def io_binding(self) -> onnxruntime.IOBinding:
        self.bindings += 1
        return self.session.io_binding()

    def run_with_iobinding(
        self, binding: onnxruntime.IOBinding, options: onnxruntime.RunOptions
    ) -> None:
        self.session.run_with_iobinding(binding, options)


def random_images(count: int) -> np.ndarray:
    shape = (count, SIZE, SIZE, 3)
    return np.random.default_rng(count).integers(0, 256, size=shape, dtype=np.uint8)


@pytest.mark.parametrize("cuda_graphs", [False, True])
def test_batches_are_cut_padded_and_put_together(tmp_path: Path, cuda_graphs: bool) -> None:
    session = CountedSession(write_artifact(tmp_path / "model", with_orientation=True).model_path)
    bound = BoundSession(
        onnxruntime,
        session,
        {"embeddings": DIM, "orientation": 8},
        device="cpu",
        cuda_graphs=cuda_graphs,
    )
    largest = PROFILE.opt
    for count in (1, 2, 5, largest - 1, largest, largest + 1, 2 * largest + 5, 5, 1):
        images = random_images(count)
        found = bound.run(images)
        np.testing.assert_allclose(
            found["embeddings"], expected_embeddings(images), rtol=FLOAT32_RELATIVE, atol=1e-3
        )
        assert found["orientation"].shape == (count, 8)
    assert session.bindings == 4  # of 1, 2, 6 and 64 images, each once
