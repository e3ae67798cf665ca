"""OpenVINO: the same rows as ONNX Runtime, in the precision asked for, or an error."""

from __future__ import annotations

import numpy as np
import pytest
from helpers_artifact import DIM, SIZE, expected_embeddings, tiny_manifest, write_artifact
from msgspec.structs import replace

from mtml_deploy.artifact.artifact import Artifact, embedded_record
from mtml_deploy.embed.embeddings import ModelIdentity
from mtml_deploy.errors import ArtifactError, BackendError
from mtml_deploy.runtime.open import open_runtime

openvino = pytest.importorskip("openvino", reason="openvino is not installed")

FLOAT32_RELATIVE = 1e-5
"""Sums of 512 pixels and 6 products in float32 (24 bits) against float64: 6e-8 per operation."""

BF16_RELATIVE = 3e-2
"""8 bits: each of about ten operations rounds by up to 4e-3."""


@pytest.fixture
def artifact(tmp_path) -> Artifact:
    return write_artifact(tmp_path / "art")


def images_of(count: int) -> np.ndarray:
    shape = (count, SIZE, SIZE, 3)
    return np.random.default_rng(count).integers(0, 256, size=shape, dtype=np.uint8)


def capabilities() -> list[str]:
    return openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


@pytest.mark.parametrize("streams", [1, 2])
@pytest.mark.parametrize("count", [1, 2, 7])
def test_rows_are_the_model_s_at_any_batch(artifact, count, streams):
    images = images_of(count)
    with open_runtime(artifact, backend="openvino", threads=1, streams=streams) as runtime:
        found = runtime.run(images)
        assert found.dtype == np.float32 and found.shape == (count, DIM)
        kept = found.copy()
        runtime.run(images_of(count + 1))
        np.testing.assert_array_equal(found, kept)  # the caller's own memory
        assert (runtime.computes_in, runtime.engine_sha256) == ("", "")
    expected = expected_embeddings(images)
    np.testing.assert_allclose(found, expected, rtol=FLOAT32_RELATIVE, atol=1e-3)


@pytest.mark.parametrize("streams", [1, 3])
def test_a_stream_keeps_order_and_sizes(artifact, streams):
    counts = [3, 1, 8, 2, 5, 8]
    with open_runtime(artifact, backend="openvino", threads=2, streams=streams) as runtime:
        found = list(runtime.stream(images_of(count) for count in counts))
        assert [len(outputs.embeddings) for outputs in found] == counts
        for count, outputs in zip(counts, found, strict=True):
            np.testing.assert_allclose(
                outputs.embeddings,
                expected_embeddings(images_of(count)),
                rtol=FLOAT32_RELATIVE,
                atol=1e-3,
            )
            assert outputs.orientation is None
        running = runtime.stream(images_of(2) for _ in range(9))
        next(running)
        with pytest.raises(ValueError, match="in a stream"):
            runtime.run(images_of(1))
        running.close()
        assert len(runtime.run(images_of(4))) == 4


def test_a_precision_is_computed_in_or_refused(artifact):
    images, offered = images_of(4), capabilities()
    for precision, name in (("bf16", "BF16"), ("f16", "FP16")):
        if name in offered:
            with open_runtime(artifact, backend="openvino", precision=precision) as runtime:
                assert runtime.computes_in == precision
                np.testing.assert_allclose(
                    runtime.run(images), expected_embeddings(images), rtol=BF16_RELATIVE, atol=1.0
                )
        else:
            with pytest.raises(BackendError, match=rf"{precision} was asked for.*computes in f32"):
                open_runtime(artifact, backend="openvino", precision=precision)
    with open_runtime(artifact, backend="openvino", precision="auto") as runtime:
        assert runtime.computes_in in ("", "bf16", "f16")


def test_a_device_that_is_not_here_is_refused(artifact):
    for device, says in (
        ("cuda:0", r"expected cpu, or gpu:N.*NVIDIA"),
        ("cpu:1", "expected cpu, or gpu:N"),
        ("gpu:x", "expected cpu, or gpu:N"),
        ("gpu:99", r"gpu:99 was asked for and OpenVINO finds CPU"),
    ):
        with pytest.raises(BackendError, match=says):
            open_runtime(artifact, backend="openvino", device=device)


def test_what_only_openvino_has_is_refused_elsewhere(artifact):
    for changed in ({"precision": "bf16"}, {"streams": 2}):
        with pytest.raises(BackendError, match=r"are OpenVINO's.*--backend openvino"):
            open_runtime(artifact, **changed)
    for wrong in ({"precision": "f8"}, {"streams": 0}, {"threads": -1}):
        with pytest.raises(ValueError, match="must be"):
            open_runtime(artifact, backend="openvino", **wrong)


def test_another_model_than_the_manifest_s_is_refused(tmp_path):
    other = replace(tiny_manifest(), dim=DIM + 1)
    with pytest.raises(ArtifactError, match="differ in dim"):
        open_runtime(
            write_artifact(tmp_path / "other", record=embedded_record(other)), backend="openvino"
        )
    with pytest.raises(ArtifactError, match="holds no record"):
        open_runtime(write_artifact(tmp_path / "none", record=None), backend="openvino")


def test_bad_images_and_a_closed_runtime(artifact):
    runtime = open_runtime(artifact, backend="openvino", threads=1)
    for bad in (images_of(2)[:0], images_of(2).astype(np.float32), images_of(2)[:, :-1]):
        with pytest.raises(ValueError, match="images must"):
            runtime.run(bad)
    assert len(runtime.run(images_of(2))) == 2
    runtime.close()
    runtime.close()
    with pytest.raises(ValueError, match="closed"):
        runtime.run(images_of(2))


@pytest.mark.parametrize(
    ("one", "other", "says"),
    [
        ("", "", ""),
        ("bf16", "bf16", ""),
        ("bf16 gated", "", ""),
        ("", "bf16 gated", ""),
        ("bf16 gated", "f16 gated", ""),
        ("bf16", "", "no passed parity verdict lay beside the model for bf16"),
        ("", "f16", "computed in f32 and f16, and no passed"),
        ("bf16 gated", "f16", "for f16"),
    ],
)
def test_rounded_rows_are_compared_only_if_the_gate_passed_them(one, other, says):
    def identity(text: str) -> ModelIdentity:
        rounding, _, gated = text.partition(" ")
        return ModelIdentity("0" * 64, "fp32", "fused", 2, computes_in=rounding, gated=bool(gated))

    found = identity(one).difference(identity(other))
    assert says in found and bool(says) == bool(found)
    assert (
        identity(one)
        .difference(replace(identity(other), precision="int8"))
        .startswith("precision is fp32 and int8")
    )
