"""Images that are not square: from the decoder through training and export to int8."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from helpers_training import small_config

from mtml_deploy.artifact.artifact import open_artifact
from mtml_deploy.data.batches import decode_image
from mtml_deploy.data.source import load_source
from mtml_deploy.model import open_model
from mtml_deploy.parity.agreement import MAX_RELATIVE_FP32, MIN_COSINE_FP32, agreement
from mtml_deploy.parity.images import parity_images
from mtml_train.checkpoint import LAST, build_model, load_checkpoint, load_model
from mtml_train.cli.export import export_main
from mtml_train.cli.train import train_main
from mtml_train.config import TrainConfig
from mtml_train.data.loader import training_batches
from mtml_train.data.train_set import join_training_sets
from mtml_train.image_size import size_of, size_text
from mtml_train.settings import from_plain

HEIGHT, WIDTH = 64, 32
SCALE = (46, 23)  # 5/7 of each


def invoke(command: object, *words: object) -> str:
    result = CliRunner().invoke(command, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return result.stderr


@pytest.fixture(scope="module")
def run(tiny_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one step with the scale branch, by the command line, gone on with for another."""
    out = tmp_path_factory.mktemp("tall") / "run"
    start = (
        "--data", f"veri:{tiny_set}", "--val", f"veri:{tiny_set}", "--variant", "MTML-S",
        "--backbone", "resnet18", "--weights", "none", "--image-size", f"{HEIGHT},{WIDTH}",
        "--workers", 0, "--device", "cpu", "--set", "consensus_dim=8",
    )  # fmt: skip
    invoke(train_main, *start, "--max-steps", 1, "--out", out)
    invoke(train_main, "--resume", "--max-steps", 2, "--out", out)
    return out


def test_a_run_keeps_its_size_and_goes_on_with_it(run: Path, tiny_set: Path) -> None:
    checkpoint = load_checkpoint(run / LAST)
    assert checkpoint.progress.step == 2
    assert checkpoint.card.config.image_size == (HEIGHT, WIDTH)
    same = ("--resume", "--max-steps", 2, "--out", run, "--image-size")
    invoke(train_main, *same, f"{HEIGHT},{WIDTH}")
    result = CliRunner().invoke(train_main, [*map(str, same), f"{WIDTH},{HEIGHT}"])
    assert result.exit_code == 1
    assert "image_size = [64, 32], --resume cannot change it to [32, 64]" in result.stderr


def test_what_a_branch_sees(run: Path) -> None:
    """The scale branch the view in proportion, the other the image, rows and columns in place."""
    trunks = load_model(load_checkpoint(run / LAST)).trunks
    rows = torch.arange(HEIGHT, dtype=torch.float32).view(1, 1, HEIGHT, 1)
    planes = rows.expand(1, 3, HEIGHT, WIDTH)  # brighter downwards
    assert trunks.view(planes, "identity").shape == (1, 3, HEIGHT, WIDTH)
    view = trunks.view(planes, "scale")
    assert view.shape == (1, 3, *SCALE)
    assert (view[0, 0, 1:, 0] > view[0, 0, :-1, 0]).all()
    torch.testing.assert_close(view, view[..., :1].expand_as(view))


def test_every_augmentation_keeps_the_size(tiny_set: Path) -> None:
    config = small_config(
        tiny_set, image_size=(HEIGHT, WIDTH), batch_size=18, flip=0.5, pad=0.1, jitter=0.5,
        erase=1.0, auto_augment="randaugment", auto_augment_share=0.5,
    )  # fmt: skip
    images = join_training_sets([load_source(f"veri:{tiny_set}", split="train")])
    for batch in training_batches(images, config, steps=range(2)):
        assert batch.images.shape == (18, HEIGHT, WIDTH, 3)
    plain = replace(config, flip=0.0, pad=0.0, jitter=0.0, erase=0.0, auto_augment="none")
    (batch,) = training_batches(images, plain, steps=range(1))
    assert batch.numbers is not None
    path = Path(images.paths[int(batch.numbers[0])])
    expected = decode_image(path, height=HEIGHT, width=WIDTH)
    assert np.array_equal(batch.images[0].numpy(), expected)


@torch.inference_mode()
def test_an_artifact_takes_images_of_that_size(run: Path, tiny_set: Path, tmp_path: Path) -> None:
    out, low = tmp_path / "fp32", tmp_path / "int8"
    listed = tmp_path / "list.txt"
    pictures = sorted((tiny_set / "image_train").iterdir())[::2]
    listed.write_text("".join(f"{picture}\n" for picture in pictures))
    words = ("--int8", "--calibration", listed, "--keep-fp32", out)
    invoke(
        export_main, run / LAST, "--out", low, "--embedding", "scale", "--target", "onnx", *words
    )
    for folder in (out, low):
        manifest = open_artifact(folder).manifest
        assert (manifest.height, manifest.width) == (HEIGHT, WIDTH)
    source = f"veri:{tiny_set}#gallery"
    images = parity_images(source, height=HEIGHT, width=WIDTH)
    expected = (
        load_model(load_checkpoint(run / LAST))(torch.from_numpy(images)).fused[:, 512:].numpy()
    )
    with open_model(out) as model:
        measured = agreement(expected, model.run(images))
        gallery = load_source(source)  # decoded and resized by the model itself
        assert model.embed(gallery).features.shape == (len(gallery.records), 512)
    assert measured.cosine_min >= MIN_COSINE_FP32
    assert measured.max_relative <= MAX_RELATIVE_FP32


def test_a_record_of_before_has_one_number() -> None:
    plain = from_plain({"image_size": 48, "scale_size": 34}, where="a run")
    config = replace(TrainConfig(), **plain)
    assert (config.image_sides, config.scale_sides) == ((48, 48), (34, 34))
    model = build_model(replace(config, backbone="resnet18", variant="MTML-S"), 2)
    assert model.trunks.scale_rows.shape == model.trunks.scale_columns.shape == (34, 48)


def test_sizes_as_they_are_written() -> None:
    for size in (224, (256, 128)):
        assert size_of(size_text(size)) == size
    assert size_of([64, 64]) == size_of("64,64") == size_of(" 64 ") == 64
    for wrong in ("", "64,", "64,32,3", "64x32", "-64", "1" * 5000, True, None, [], 64.0, ["a"]):
        with pytest.raises(ValueError, match="expected one number for a square, or HEIGHT,WIDTH"):
            size_of(wrong)
    result = CliRunner().invoke(train_main, ["--image-size", "64x32", "--out", "x"])
    assert result.exit_code == 2
    assert "found 64x32, expected one number for a square, or HEIGHT,WIDTH" in result.stderr
