"""`info`: what each kind of thing is, and that what it is for can be run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from helpers_artifact import tiny_manifest, write_artifact
from helpers_hints import parsed_line

from mtml_deploy.cli.main import main
from mtml_deploy.embed.embeddings import Embeddings, ModelIdentity
from mtml_deploy.report.facts.measured import measured_rows
from mtml_train.config import TrainConfig
from mtml_train.data.fingerprint import SetFingerprint
from mtml_train.run_card import Progress, RunCard, header_text


def run(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def told(*words: object) -> str:
    """What `info` says; its commands can be run as they are."""
    result = run("info", *words)
    assert result.exit_code == 0, result.output
    commands = result.stdout.partition("What it is for:\n")[2].splitlines()
    assert len(commands) >= 2
    for command in commands:
        parsed_line(command)
    return result.stdout


def write_checkpoint(path: Path, progress: Progress) -> Path:
    """A checkpoint without tensors: a header as the training writes it."""
    card = RunCard(
        config=TrainConfig(variant="MTML-G", backbone="resnet18", epochs=3),
        recipe="strong",
        identities=((0, 4), (0, 9), (0, "AB 1")),
        sets=(SetFingerprint("veri:/data/VeRi", 1200, 3, "a" * 64, "b" * 64),),
    )
    header = json.dumps({"__metadata__": {"mtml": header_text(card, progress)}}).encode()
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    return path


def rows(path: Path) -> Path:
    """Four rows of two vehicles, one of them without a camera."""
    Embeddings(
        features=np.eye(4, dtype=np.float32),
        vehicle_ids=np.array([1, 1, 2, -1], np.int32),
        camera_ids=np.array([1, 2, 3, -1], np.int32),
        orientations=np.array([0, -1, -1, -1], np.int32),
        tracklet_ids=np.full(4, -1, np.int32),
        names=tuple(f"{row}.jpg" for row in range(4)),
        root="",
        source="csv:cars.csv",
        model=ModelIdentity("a" * 64, "fp16", "fused", 4, computes_in="bf16"),
    ).save(path)
    return path


def test_embeddings(tmp_path: Path) -> None:
    path = rows(tmp_path / "some rows.npz")
    lines = [line.split(maxsplit=1) for line in told(path).splitlines() if "  " in line]
    assert ["rows", "4, each of one image"] in lines
    assert ["vehicles", "2"] in lines and ["cameras", "3"] in lines
    assert ["views", "1 rows of known orientation"] in lines
    assert ["model", "fused, 4 values, fp16"] in lines
    assert "computed in          bf16" in told(path)
    assert f"--gallery '{path}'" in told(path)  # a shell takes it as one word
    record = json.loads(run("info", path, "--json", "-").stdout)
    assert (record["rows"], record["model"]["computes_in"]) == (4, "bf16")


def test_a_run(tmp_path: Path) -> None:
    best = Progress(step=40, images=2560, best=0.6184)
    last = write_checkpoint(tmp_path / "run/last.safetensors", best)
    text = told(tmp_path / "run")
    assert "run is a run of mtml-train\n" in text
    assert "recipe      strong\n" in text
    assert "classes     3 vehicles\n" in text
    assert "steps       40 done, 2,560 images seen; 3 epochs asked for\n" in text
    assert "best value  mAP 61.8 %\n" in text
    assert "veri:/data/VeRi (1,200 images)" in text
    assert f"mtml-train --out {tmp_path / 'run'} --resume" in text
    assert told(last).startswith(f"{last} is a checkpoint of mtml-train\n")
    alone = write_checkpoint(tmp_path / "x/best.safetensors", Progress(step=1, images=2))
    assert "none: it was not validated" in told(alone) and "--resume" not in told(alone)
    json_text = run("info", tmp_path / "run", "--json", tmp_path / "run.json")
    assert json_text.exit_code == 0
    record = json.loads((tmp_path / "run.json").read_text())
    assert (record["classes"], record["progress"]["best"]) == (3, 0.6184)


@pytest.mark.parametrize("content", [b"", b"\xff" * 12, b"\x02" + b"\0" * 7 + b"{}", b"\0" * 8])
def test_a_damaged_checkpoint(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "last.safetensors").write_bytes(content)
    result = run("info", tmp_path)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "is not a checkpoint of mtml-train, or is damaged" in result.stderr


def test_a_gallery(tmp_path: Path) -> None:
    write_artifact(tmp_path / "model")
    assert run("gallery", "create", tmp_path / "g", tmp_path / "model").exit_code == 0
    text = told(tmp_path / "g")
    assert "g is a gallery\n" in text and "rows      0 (0 removed" in text
    whole = run("gallery", "info", tmp_path / "g", "--json", "-").stdout
    assert run("info", tmp_path / "g", "--json", "-").stdout == whole


def test_a_model(tmp_path: Path) -> None:
    write_artifact(tmp_path / "model")
    text = told(tmp_path / "model")
    assert "model is an exported model\n" in text
    assert "embedding   fused, 6 values\n" in text
    assert "convert" in text
    assert max(map(len, text.splitlines())) < 200
    write_artifact(tmp_path / "low", tiny_manifest(precision="fp16"))
    assert "convert" not in told(tmp_path / "low")


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("nothing", "nothing does not exist, expected a model"),
        ("a.csv", "(it is a table: write csv:"),
        ("a.bin", "a.bin is nothing that info describes, expected a model"),
        ("a.onnx", "(it is an ONNX model: give the folder"),
        ("\0", "does not exist, expected"),
        ("s3://bucket/cars", "does not exist, expected"),
    ],
)
def test_anything_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, found: str
) -> None:
    monkeypatch.chdir(tmp_path)
    if "." in name:
        (tmp_path / name).touch()
    result = run("info", name)
    assert (result.exit_code, result.stdout) == (1, "")
    assert found in result.stderr and result.stderr.count("\n") == 1


def test_measures_stand_beside_their_bounds() -> None:
    part = {"cosine_min": 0.99999912345, "max_relative": 1.25171e-6}
    branch = {"cosine_min": 0.5, "closest_images": 0.42251139861494375}
    manifest = tiny_manifest(
        parity={"reference": "torch", "images": 16, "embedding": part, "row_difference": 0.0,
                "closest_images": 0.4249, "branches": {"gray": branch}},
    )  # fmt: skip
    assert measured_rows(manifest) == [
        ("cosine, fused", "0.999999", "at least 0.99999", "ok"),
        ("cosine, branch gray", "0.500000", "at least 0.99999", "FAILED"),
        ("relative difference", "1.3e-06", "at most 0.002", "ok"),
        ("alone and in a batch", "0", "at most 0.0001", "ok"),
        ("two images, fused", "0.425", "at least 0.001", "ok"),
        ("two images, branch gray", "0.423", "at least 0.001", "ok"),
    ]
    assert measured_rows(tiny_manifest()) == []
