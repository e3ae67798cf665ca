"""Embeddings of length 1 by the graph itself: what it gives, its record, and lower precisions."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner
from helpers_artifact import tiny_manifest
from helpers_engine import rtx_library, write_precisions
from helpers_engine_log import read_engine_log
from helpers_training import SIZE
from numpy.typing import NDArray

from mtml_deploy.artifact.artifact import open_artifact
from mtml_deploy.artifact.manifest import Normalised
from mtml_deploy.embed.unit_length import unit_rows
from mtml_deploy.engine.build import build_plan
from mtml_deploy.engine.graph_check import check_graph
from mtml_deploy.engine.options import BatchProfile, BuildOptions
from mtml_deploy.errors import DataError, ParityError
from mtml_deploy.parity.compare import require_same_model
from mtml_deploy.parity.images import parity_images
from mtml_deploy.precision.fp16 import HALF_MAX, rounded
from mtml_deploy.precision.network import read_network
from mtml_deploy.precision.session import GraphSession
from mtml_deploy.runtime.open import open_runtime
from mtml_train.checkpoint import load_checkpoint, load_model
from mtml_train.cli.export import export_main
from mtml_train.export.export import ExportOptions, export
from mtml_train.export.extractor import FusedExtractor, unit_length

ROUNDING = 1e-5
"""Absolute, of values up to 1: the features agree to about 1e-6 of their length."""

FEATURES = 512  # of ResNet-18, one branch
SIDES: tuple[Normalised, ...] = ("whole", "branches")


@pytest.fixture(scope="module")
def images(tiny_set: Path) -> NDArray[np.uint8]:
    return parity_images(f"veri:{tiny_set}#gallery", height=SIZE, width=SIZE)


@pytest.fixture(scope="module")
def artifacts(untrained_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The untrained MTML-G (branches identity, gray), its length kept and scaled in both ways."""
    folder = tmp_path_factory.mktemp("normalised")
    checkpoint = load_checkpoint(untrained_run)
    export(checkpoint, folder / "none", ExportOptions())
    for side in SIDES:
        export(checkpoint, folder / side, ExportOptions(normalised=side))
    return folder


def embeddings(folder: Path, images: NDArray[np.uint8]) -> NDArray[np.float64]:
    with open_runtime(open_artifact(folder)) as runtime:
        return runtime.run(images).astype(np.float64)


def by_loop(row: NDArray[np.float64], parts: int) -> list[float]:
    """One row whose parts have length 1, over the root of their number."""
    width = len(row) // parts
    found = []
    for part in range(parts):
        values = [float(value) for value in row[part * width : (part + 1) * width]]
        length = sum(value * value for value in values) ** 0.5
        found += [value / length / parts**0.5 for value in values]
    return found


@pytest.mark.parametrize(("side", "parts"), [("whole", 1), ("branches", 2)])
def test_the_graph_scales_what_it_gave_before(
    artifacts: Path, images: NDArray[np.uint8], side: str, parts: int
) -> None:
    plain, unit = embeddings(artifacts / "none", images), embeddings(artifacts / side, images)
    assert np.linalg.norm(plain, axis=1).min() > 2  # lengths that a missing division would show
    for row, found in zip(plain, unit, strict=True):
        assert found == pytest.approx(by_loop(row, parts), abs=ROUNDING)
        assert np.linalg.norm(found) == pytest.approx(1, abs=ROUNDING)
        assert unit_rows(row[None], parts=parts)[0] == pytest.approx(found, abs=ROUNDING)
    if parts == 2:
        halves = np.linalg.norm(unit.reshape(-1, 2, FEATURES), axis=2)
        assert halves == pytest.approx(np.full_like(halves, 0.5**0.5), abs=ROUNDING)


def test_the_record_says_so_and_the_gate_tells_them_apart(artifacts: Path) -> None:
    found = {name: open_artifact(artifacts / name).manifest for name in ("none", *SIDES)}
    assert [found[name].normalised for name in found] == [None, "whole", "branches"]
    assert '"normalised"' not in (artifacts / "none" / "manifest.json").read_text()
    for side in SIDES:
        # each branch is compared with torch before it is scaled
        assert set(found[side].parity["branches"]) == {"identity", "gray"}  # type: ignore[call-overload]
        graph = onnx.load(artifacts / side / "model.onnx").graph
        assert [output.name for output in graph.output] == ["embeddings"]
        with pytest.raises(ParityError, match=f"normalised is {side} and None"):
            require_same_model(found[side], found["none"])


@pytest.mark.parametrize(("side", "precision"), [("whole", "fp16"), ("branches", "int8")])
def test_half_precision_keeps_the_length_and_tensorrt_builds_it(
    artifacts: Path,
    images: NDArray[np.uint8],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    side: str,
    precision: str,
) -> None:
    path = artifacts / side / "model.onnx"
    write_precisions(path, tmp_path)
    network = read_network(path)
    low = tmp_path / f"{precision}.onnx"
    assert check_graph(low) == ()
    found = GraphSession(rounded(onnx.load(low)), ["embeddings"]).run(images)["embeddings"]
    # lengths are computed in float32 behind the fp16 and int8 parts
    assert np.linalg.norm(found, axis=1) == pytest.approx(1, abs=ROUNDING)
    assert set(network.features) == {"identity", "gray"}
    library = rtx_library()
    with caplog.at_level(logging.INFO, logger="mtml_deploy.engine.library_log"):  # as with -v
        options = BuildOptions(profile=BatchProfile(1, 2, 4), sm=(86,))
        build_plan(low, tiny_manifest(dim=2 * FEATURES), options, library, gpu=None)
    assert len(read_engine_log(caplog.messages).convolutions) == 2 * 20


def test_a_length_beyond_half_precision_is_divided_in_float32() -> None:
    # 8192 values of 300: each fits half precision, their squares (90,000) and the sum do not
    features = torch.full((2, 8192), 300.0)
    features[1] = 0
    assert float((features[0] ** 2).sum()) > HALF_MAX
    found = unit_length(features)
    assert found[0].tolist() == pytest.approx([8192**-0.5] * 8192, rel=1e-6)
    assert found[1].tolist() == [0.0] * 8192


def test_the_consensus_is_scaled_as_a_whole_or_refused(untrained_run: Path) -> None:
    model = load_model(load_checkpoint(untrained_run))
    batch = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3), "uint8"))
    words = {"branches": ("identity", "gray"), "embedding": "consensus", "with_orientation": False}
    with torch.inference_mode():
        plain = FusedExtractor(model, **words)(batch)  # type: ignore[arg-type]
        unit = FusedExtractor(model, **words, normalised="whole")(batch)  # type: ignore[arg-type]
    for row, found in zip(plain.double().numpy(), unit, strict=True):
        assert found.tolist() == pytest.approx(by_loop(row, 1), abs=ROUNDING)
    with pytest.raises(DataError, match="no parts of branches to normalise; use --normalise whole"):
        FusedExtractor(model, **words, normalised="branches")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="normalised must be whole or absent"):
        tiny_manifest(embedding="consensus", normalised="branches")


def test_the_command_and_a_conversion_keep_the_record(untrained_run: Path, tmp_path: Path) -> None:
    words = (untrained_run, "--out", tmp_path / "a", "--normalise", "branches", "--fp16")
    result = CliRunner().invoke(export_main, [str(word) for word in (*words, "--target", "onnx")])
    assert result.exit_code == 0, result.output
    manifest = open_artifact(tmp_path / "a").manifest
    assert (manifest.precision, manifest.normalised) == ("fp16", "branches")
