"""Features averaged over an image and its mirror image, and all options of a graph at once."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner
from helpers_engine import rtx_library, write_precisions
from helpers_engine_log import read_engine_log
from helpers_training import SIZE
from numpy.typing import NDArray

from mtml_deploy.artifact.artifact import open_artifact, write_artifact
from mtml_deploy.compression.append import append_projection
from mtml_deploy.compression.learn import CompressOptions, learn_projection
from mtml_deploy.embed.unit_length import unit_rows
from mtml_deploy.engine.build import build_plan
from mtml_deploy.engine.graph_check import check_graph
from mtml_deploy.engine.options import BatchProfile, BuildOptions
from mtml_deploy.errors import ParityError
from mtml_deploy.parity.agreement import row_difference
from mtml_deploy.parity.compare import require_same_model
from mtml_deploy.parity.images import parity_images
from mtml_deploy.precision.fp16 import rounded
from mtml_deploy.precision.network import read_network
from mtml_deploy.precision.session import GraphSession
from mtml_deploy.precision.verify import model_outputs
from mtml_deploy.runtime.open import open_runtime
from mtml_train.checkpoint import load_checkpoint, load_model
from mtml_train.cli.export import export_main
from mtml_train.export.export import ExportOptions, export
from mtml_train.export.extractor import FusedExtractor, with_mirrored

ROUNDING = 1e-5
"""Relative to the length of a feature: the order of additions differs with the batch."""

FEATURES = 512  # of ResNet-18, one branch
OPTIONS = ExportOptions(with_orientation=True, normalised="branches", flip_averaged=True)


@pytest.fixture(scope="module")
def images(tiny_set: Path) -> NDArray[np.uint8]:
    return parity_images(f"veri:{tiny_set}#gallery", height=SIZE, width=SIZE)


@pytest.fixture(scope="module")
def flipped(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MTML-OSG with every option of a graph; `tiny_artifact` is the same without them."""
    folder = tmp_path_factory.mktemp("flipped") / "art"
    export(load_checkpoint(tiny_run), folder, OPTIONS)
    return folder


def mirrored(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(images[:, :, ::-1])


def test_every_image_is_followed_by_its_mirror_image() -> None:
    batch = torch.from_numpy(np.arange(2 * 2 * 3 * 3, dtype=np.uint8).reshape(2, 2, 3, 3))
    found = with_mirrored(batch)
    assert (found.shape, found.dtype) == ((4, 2, 3, 3), torch.float32)
    for number in range(2):
        assert torch.equal(found[2 * number], batch[number].float())
        for column in range(3):
            expected = batch[number, :, 2 - column].float()
            assert torch.equal(found[2 * number + 1][:, column], expected)


def test_the_graph_gives_the_mean_of_both_sides(
    flipped: Path, tiny_artifact: Path, images: NDArray[np.uint8]
) -> None:
    with open_runtime(open_artifact(tiny_artifact)) as runtime:
        plain = runtime.run_all(images)
        other = runtime.run(mirrored(images))
    # the mean of the features, whose branches get length 1 afterwards
    mean = (plain.embeddings.astype(np.float64) + other) / 2
    expected = unit_rows(mean, parts=4)
    with open_runtime(open_artifact(flipped)) as runtime:
        found = runtime.run_all(images)
        assert runtime.run(mirrored(images)) == pytest.approx(found.embeddings, abs=ROUNDING)
        assert row_difference(runtime.run, images[:3]) < 1e-4  # no image meets another's mirror
    assert found.embeddings == pytest.approx(expected, abs=ROUNDING)
    # the two sides do differ, more than what the mean is held to
    assert np.abs(unit_rows(plain.embeddings, parts=4) - expected).max() > 10 * ROUNDING
    # a mirror image has another orientation, so it has no say in it
    assert found.orientation is not None
    assert found.orientation == pytest.approx(plain.orientation, abs=1e-4)


def test_the_record_says_so(flipped: Path, tiny_artifact: Path) -> None:
    manifest, plain = open_artifact(flipped).manifest, open_artifact(tiny_artifact).manifest
    assert (manifest.flip_averaged, plain.flip_averaged) == (True, False)
    assert '"flip_averaged": true' in (flipped / "manifest.json").read_text()
    assert "flip_averaged" not in (tiny_artifact / "manifest.json").read_text()
    assert set(manifest.parity["branches"]) == set(plain.branches)  # type: ignore[call-overload]
    with pytest.raises(ParityError, match="normalised is branches and None"):
        require_same_model(manifest, plain)


@torch.inference_mode()
def test_a_neck_and_the_consensus_take_the_mean(untrained_run: Path) -> None:
    model = load_model(load_checkpoint(untrained_run))
    batch = np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3), "uint8")
    words = {"branches": ("identity", "gray"), "with_orientation": False}
    both = []
    for side in (batch, mirrored(batch)):
        both.append(
            FusedExtractor(model, **words, embedding="fused")(torch.from_numpy(side))  # type: ignore[arg-type]
        )
    expected = model.fusion((both[0] + both[1]) / 2)
    extractor = FusedExtractor(model, **words, embedding="consensus", flip_averaged=True)  # type: ignore[arg-type]
    found = extractor(torch.from_numpy(batch))
    assert found.numpy() == pytest.approx(expected.numpy(), abs=ROUNDING * expected.norm().item())


def test_everything_at_once_in_fp16_and_int8_and_as_an_engine(
    flipped: Path, images: NDArray[np.uint8], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Flip, lengths of branches, orientation and a projection, in every precision."""
    artifact = open_artifact(flipped)
    with open_runtime(artifact) as runtime:
        rows = runtime.run(images)
    vehicles = (np.arange(len(rows)) % 4).astype(np.int32)
    options = CompressOptions(method="lda", dim=3, shrinkage=0.5)
    projection = learn_projection(rows, vehicles, options)
    model = append_projection(artifact.model_path, projection)
    write_artifact(tmp_path, model, artifact.manifest)
    write_precisions(tmp_path / "model.onnx", tmp_path)
    network = read_network(tmp_path / "model.onnx")
    assert set(network.features) == set(artifact.manifest.branches)
    for precision in ("fp16", "int8"):
        low = tmp_path / f"{precision}.onnx"
        assert check_graph(low) == ()
        outputs = model_outputs(rounded(onnx.load(low)), network, images)
        # pooled features of an image and of its mirror image, in one row
        assert {part.shape for name, part in outputs.parts.items() if name != "embedding"} == {
            (len(images), 2 * FEATURES)
        }
        lengths = np.linalg.norm(outputs.parts["embedding"], axis=1)
        assert lengths == pytest.approx(1, abs=ROUNDING)
    half = GraphSession(rounded(onnx.load(tmp_path / "fp16.onnx")), ["embeddings"]).run(images)
    cosines = (half["embeddings"] * projection.apply(rows)).sum(axis=1)
    assert cosines.min() > 0.99  # directions of an untrained model, rounded to half precision
    library = rtx_library()
    with caplog.at_level(logging.INFO, logger="mtml_deploy.engine.library_log"):  # as with -v
        profile = BuildOptions(profile=BatchProfile(1, 2, 4), sm=(86,))
        build_plan(tmp_path / "int8.onnx", artifact.manifest, profile, library, gpu=None)
    engine = read_engine_log(caplog.messages)
    assert (len(engine.convolutions), engine.int8_convolutions) == (4 * 20, 4 * 20)


def test_the_command(untrained_run: Path, tmp_path: Path) -> None:
    words = (untrained_run, "--out", tmp_path / "a", "--flip-average", "--fp16")
    result = CliRunner().invoke(export_main, [str(word) for word in (*words, "--target", "onnx")])
    assert result.exit_code == 0, result.output
    manifest = open_artifact(tmp_path / "a").manifest
    assert (manifest.precision, manifest.flip_averaged) == ("fp16", True)
