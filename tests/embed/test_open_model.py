"""An opened model: embeddings in memory and in a file, values from the tiny model's own formula."""

import logging
import tempfile

import numpy as np
import pytest
from helpers_artifact import DIM, SIZE, expected_embeddings, tiny_manifest, write_artifact
from PIL import Image

import mtml_deploy.embed.embed
from mtml_deploy.data.batches import decode_image
from mtml_deploy.data.source import load_source
from mtml_deploy.embed.embed import model_identity
from mtml_deploy.embed.embeddings import Embeddings
from mtml_deploy.errors import (
    ArtifactError,
    BackendError,
    EmbeddingsError,
    ImageError,
    OutputExistsError,
)
from mtml_deploy.model import open_model

TOLERANCE = 1e-4
"""float32 sums of 512 pixels, against float64."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_artifact(tmp_path_factory.mktemp("model") / "art").folder


@pytest.fixture
def model(folder):
    with open_model(str(folder)) as opened:
        yield opened


@pytest.fixture
def files(tmp_path):
    place = tmp_path / "images"
    place.mkdir()
    for n in range(5):
        pixels = np.random.default_rng(n).integers(0, 256, (9 + n, 12, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(place / f"{n}.png")
    return place


def rows_of(files):
    """float64 [N, D] by hand, of every file of a folder."""
    paths = sorted(files.iterdir())
    return expected_embeddings(
        np.stack([decode_image(path, height=SIZE, width=SIZE) for path in paths])
    )


@pytest.fixture
def no_temporary_files(monkeypatch):
    def refuse(*args, **options):
        raise AssertionError("a temporary file")

    for name in ("mkdtemp", "mkstemp", "TemporaryDirectory", "NamedTemporaryFile"):
        monkeypatch.setattr(tempfile, name, refuse)


@pytest.mark.parametrize("batch_size", [1, 2, 5, 32])
def test_a_folder_in_memory(model, files, batch_size, no_temporary_files):
    found = model.embed(files, batch_size=batch_size)
    np.testing.assert_allclose(found.features, rows_of(files), atol=TOLERANCE)
    assert found.names == tuple(f"{n}.png" for n in range(5))
    assert (found.root, found.source) == (str(files), str(files))
    assert found.pixels.tolist() == [12 * (9 + n) for n in range(5)]
    assert found.model == model.identity == model_identity(model.manifest)


def test_memory_and_file_give_the_same(model, files, tmp_path):
    seen = []
    out = model.embed_to(
        str(tmp_path / "out.npz"), str(files), progress=lambda *at: seen.append(at)
    )
    assert out == tmp_path / "out.npz" and seen == [(0, 5), (5, 5), (5, 5)]
    left, right = Embeddings.load(out), model.embed(load_source(str(files)))
    assert (left.features == right.features).all()
    assert (left.names, left.root, left.source) == (right.names, right.root, right.source)
    assert (left.pixels == right.pixels).all() and left.model == right.model
    with pytest.raises(OutputExistsError):
        model.embed_to(out, files)
    assert model.embed_to(out, files, overwrite=True) == out


def test_a_file_is_continued(model, files, tmp_path):
    def stop(done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model.embed_to(tmp_path / "out.npz", files, batch_size=2, progress=stop)
    seen = []
    out = model.embed_to(tmp_path / "out.npz", files, batch_size=2, resume=True,
                         progress=lambda done, _: seen.append(done))  # fmt: skip
    assert seen[0] == 2
    np.testing.assert_allclose(Embeddings.load(out).features, rows_of(files), atol=TOLERANCE)


def test_images_in_memory_cannot_be_continued(model, tmp_path):
    with pytest.raises(ValueError, match="1 image in memory cannot be continued"):
        model.embed_to(tmp_path / "out.npz", np.zeros((4, 4, 3), np.uint8))
    assert list(tmp_path.iterdir()) == []


FRAME = np.random.default_rng(8).integers(0, 256, (70, 90, 3), dtype=np.uint8)


def test_boxes_of_a_frame(model, no_temporary_files):
    boxes = [[0, 0, 32, 32], [50, 30, 82, 62], [10.0, 10.0, 10.0, 20.0]]
    crops = np.stack([FRAME[:32, :32], FRAME[30:62, 50:82]])
    expected = expected_embeddings(crops)  # crops of the model's own size are not resized
    with pytest.raises(ImageError, match=r"box 2: \[10, 10, 10, 20\] has no area"):
        model.embed(FRAME, boxes=boxes)
    found = model.embed(FRAME[:, :, ::-1], boxes=boxes[:2], channels="BGR")
    np.testing.assert_allclose(found.features, expected, atol=TOLERANCE)
    assert found.names == ("box 0", "box 1") and found.root == ""
    assert found.pixels.tolist() == [1024, 1024]
    assert (found.features == model.run(crops)).all()


def test_a_bad_box_is_left_out_and_said(model, caplog):
    nan = float("nan")
    boxes = [[0, 0, 32, 32], [nan, 0, 4, 4], [50, 30, 82, 62]]
    with caplog.at_level(logging.WARNING):
        found = model.embed(FRAME, boxes=boxes, skip_bad=True)
    assert found.names == ("box 0", "box 2")
    np.testing.assert_allclose(
        found.features,
        expected_embeddings(np.stack([FRAME[:32, :32], FRAME[30:62, 50:82]])),
        atol=TOLERANCE,
    )
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("left out box 1: [nan, 0, 4, 4] holds a value that is not finite")
    assert model.embed(FRAME, boxes=boxes[1:2], skip_bad=True).features.shape == (0, DIM)


@pytest.mark.parametrize("given", [{"images": FRAME, "boxes": []}, {"images": []}])
def test_nothing_gives_no_rows(model, given):
    found = model.embed(**given)
    assert found.features.shape == (0, DIM) and found.features.dtype == np.float32
    assert found.names == ()
    assert Embeddings.concat([found, model.embed(FRAME)]).features.shape == (1, DIM)


def test_files_that_cannot_be_used(model, files, caplog):
    (files / "1.png").write_bytes(b"no image")
    with pytest.raises(ImageError, match=r"1\.png"):
        model.embed(files)
    found = model.embed(files, skip_bad=True)
    assert found.names == ("0.png", "2.png", "3.png", "4.png")
    assert "1.png" in caplog.text
    for path in files.iterdir():
        path.write_bytes(b"no image")
    with pytest.raises(EmbeddingsError, match="not one of the 5 images"):
        model.embed(files, skip_bad=True)


def test_values_that_are_not_finite_are_never_given(tmp_path):
    artifact = write_artifact(tmp_path / "art", scale=float("inf"))
    with open_model(artifact.folder) as model, pytest.raises(ArtifactError, match="image 0"):
        model.embed([FRAME, FRAME])


def test_the_warning_says_what_was_never_compared(tmp_path, model):
    assert model.warning == ""  # fp32 on the CPU was compared when it was exported
    half = write_artifact(tmp_path / "half", tiny_manifest(precision="fp16"))
    with open_model(half.folder) as opened:
        assert "never compared with its reference" in opened.warning


def test_decoding_threads_are_not_the_model_s(model, files, tmp_path, monkeypatch):
    real, seen = mtml_deploy.embed.embed.iterate_batches, []

    def watched(paths, **options):
        seen.append(options["threads"])
        return real(paths, **options)

    monkeypatch.setattr(mtml_deploy.embed.embed, "iterate_batches", watched)
    model.embed(files)
    model.embed(files, threads=3)
    model.embed_to(tmp_path / "rows.npz", files, threads=2)
    assert seen == [0, 3, 2]


def test_a_closed_model_and_one_that_is_not_there(folder, tmp_path):
    model = open_model(folder, model_threads=1)
    model.close()
    model.close()
    with pytest.raises(ValueError, match="closed"):
        model.embed(FRAME)
    with pytest.raises(ArtifactError):
        open_model(tmp_path / "none")
    with pytest.raises(BackendError, match="backend is 'torch'"):
        open_model(folder, backend="torch")
