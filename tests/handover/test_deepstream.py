"""Files for DeepStream: its documented formula, with the numbers of the files, feeds the graph."""

import numpy as np
import onnxruntime
import pytest
from click.testing import CliRunner
from helpers_artifact import DIM, SIZE, expected_embeddings, tiny_manifest, write_artifact

from mtml_deploy.cli.main import main
from mtml_deploy.model import open_model

IMAGES = np.random.default_rng(5).integers(0, 256, (2, SIZE, SIZE, 3), dtype=np.uint8)
TOLERANCE = 1e-3
"""Values up to some hundreds in float32."""


def run(*words):
    return CliRunner().invoke(main, ["deepstream", *map(str, words)])


def nvinfer(folder):
    """The settings of nvinfer.txt."""
    lines = (folder / "nvinfer.txt").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


def nvtracker(folder):
    """The settings of nvtracker.yml below ReID."""
    text = (folder / "nvtracker.yml").read_text()
    lines = text.split("\nReID:\n")[1].splitlines()
    parts = (line.partition(":") for line in lines)
    return {name.strip(): value.split("#")[0].strip() for name, _, value in parts}


def as_deepstream(scale, offsets):
    """y = scale * (x - offset[c]), planes [B, 3, H, W], as its documentation says."""
    planes = np.empty((len(IMAGES), 3, SIZE, SIZE), dtype=np.float32)
    for channel in range(3):
        planes[:, channel] = scale * (IMAGES[..., channel].astype(np.float32) - offsets[channel])
    return planes


def embedded(folder, scale, offsets):
    """What the model in a folder gives for planes by that formula."""
    model = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    planes = as_deepstream(float(scale), [float(each) for each in offsets])
    return model.run(["embeddings"], {"images": planes})[0]


@pytest.fixture
def artifact(tmp_path):
    return write_artifact(tmp_path / "art").folder


def test_both_files_feed_the_graph_what_it_expects(artifact, tmp_path):
    out = tmp_path / "ds"
    result = run(artifact, "--out", out, "--batch-size", "8", "--class", "2", "--class", "7")
    assert result.exit_code == 0, result.stderr
    assert "nchw-float, 0..255, RGB" in result.stderr
    infer, tracker = nvinfer(out), nvtracker(out)
    for found in (
        embedded(out, infer["net-scale-factor"], infer["offsets"].split(";")),
        embedded(out, tracker["netScaleFactor"], tracker["offsets"].strip("[]").split(",")),
    ):
        np.testing.assert_allclose(found, expected_embeddings(IMAGES), atol=TOLERANCE)
    assert infer["infer-dims"] == f"3;{SIZE};{SIZE}"
    assert tracker["inferDims"] == f"[3, {SIZE}, {SIZE}]" and tracker["inputOrder"] == "0"
    assert tracker["reidFeatureSize"] == str(DIM)
    assert infer["operate-on-class-ids"] == "2;7"
    assert infer["batch-size"] == tracker["batchSize"] == "8"
    assert (infer["model-color-format"], tracker["colorFormat"]) == ("0", "0")
    assert (infer["maintain-aspect-ratio"], tracker["keepAspc"]) == ("0", "0")
    assert tracker["outputReidTensor"] == tracker["addFeatureNormalization"] == "1"
    assert (infer["process-mode"], infer["network-type"]) == ("2", "100")
    assert infer["output-tensor-meta"] == "1"
    with open_model(out) as model:
        found = model.run(IMAGES)
    np.testing.assert_allclose(found, expected_embeddings(IMAGES), atol=TOLERANCE)


@pytest.mark.parametrize(("words", "infer", "tracker"), [((), "0", "0"), (("--fp16",), "2", "1")])
def test_the_two_count_precisions_differently(artifact, tmp_path, words, infer, tracker):
    assert run(artifact, "--out", tmp_path / "ds", *words).exit_code == 0
    assert nvinfer(tmp_path / "ds")["network-mode"] == infer
    assert nvtracker(tmp_path / "ds")["networkMode"] == tracker


def test_only_its_own_folder_is_replaced(artifact, tmp_path):
    out = tmp_path / "ds"
    assert run(artifact, "--out", out).exit_code == 0
    (out / "model.onnx_b16_gpu0_fp32.engine").touch()  # DeepStream writes it there
    assert run(artifact, "--out", out).exit_code == 1
    assert run(artifact, "--out", out, "--overwrite").exit_code == 0
    (out / "notes.txt").touch()
    result = run(artifact, "--out", out, "--overwrite")
    assert result.exit_code == 1 and "notes.txt" in result.stderr
    result = run(artifact, "--out", artifact, "--overwrite")
    assert result.exit_code == 1 and (artifact / "model.onnx").exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"precision": "int8"}, "is int8, expected fp32"),
        ({"with_orientation": True}, "export it without --with-orientation"),
    ],
)
def test_what_deepstream_cannot_take(tmp_path, changes, words):
    orientation = changes if "with_orientation" in changes else {}
    folder = write_artifact(tmp_path / "art", tiny_manifest(**changes), **orientation).folder
    result = run(folder, "--out", tmp_path / "ds")
    assert result.exit_code == 1 and words in result.stderr
    assert not (tmp_path / "ds").exists()
