"""`mtml-export` in another precision: one command from a checkpoint to a converted artifact."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mtml_deploy.artifact.artifact import open_artifact
from mtml_train.cli.export import export_main


def run(*words: object) -> Result:
    return CliRunner().invoke(export_main, [str(word) for word in words])


@pytest.fixture(scope="module")
def calibration(tiny_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Half of the training images."""
    path = tmp_path_factory.mktemp("calibration") / "list.txt"
    images = sorted((tiny_set / "image_train").iterdir())[::2]
    path.write_text("".join(f"{image}\n" for image in images))
    return path


def test_int8_and_the_fp32_model_it_was_made_from(
    untrained_run: Path, calibration: Path, tmp_path: Path
) -> None:
    out, kept = tmp_path / "int8", tmp_path / "fp32"
    words = ("--int8", "--calibration", calibration, "--keep-fp32", kept, "--max-map-drop", 0.1)
    result = run(untrained_run, "--out", out, *words, "--target", "onnx", "--json", "-")
    assert result.exit_code == 0, result.output
    low, plain = open_artifact(out).manifest, open_artifact(kept).manifest
    assert (low.precision, plain.precision) == ("int8", "fp32")
    assert low.conversion is not None
    assert low.conversion["from_sha256"] == plain.model_sha256
    assert low.checkpoint_sha256 == plain.checkpoint_sha256
    assert json.loads(result.stdout) == low.parity
    assert sorted(path.name for path in out.iterdir()) == [
        "manifest.json", "model.onnx", "sensitivity.json", "sensitivity.md", "sensitivity.svg",
    ]  # fmt: skip
    # no note of the exporter names a file of the machine it ran on
    for folder in (out, kept):
        assert b"/mtml_train/export/export.py" not in (folder / "model.onnx").read_bytes()


def test_a_refused_conversion_leaves_nothing(untrained_run: Path, tmp_path: Path) -> None:
    result = run(untrained_run, "--out", tmp_path / "int8", "--int8")
    assert result.exit_code == 1
    assert "mtml-deploy calibrate choose --data veri:DIR --out LIST" in result.stderr
    result = run(untrained_run, "--out", tmp_path / "x", "--keep-fp32", tmp_path / "fp32")
    assert result.exit_code == 2
    (tmp_path / "there").mkdir()
    result = run(untrained_run, "--out", tmp_path / "there", "--fp16")
    assert result.exit_code == 1
    assert "exists already" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
