import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from helpers_artifact import (
    DIM,
    SIZE,
    expected_embeddings,
    tiny_manifest,
    write_artifact,
    write_images,
)
from helpers_records import check_json_reader
from PIL import Image

from mtml_deploy.artifact.artifact import Artifact
from mtml_deploy.data.records import ImageRecord, ImageSet
from mtml_deploy.embed.embed import model_identity
from mtml_deploy.embed.embed_to import EmbedSummary, embed_to
from mtml_deploy.embed.embeddings import Embeddings
from mtml_deploy.embed.resume import PartialRows, RowsManifest
from mtml_deploy.errors import ArtifactError, EmbeddingsError, ImageError, OutputExistsError
from mtml_deploy.model import Model

FLOAT32_RELATIVE = 1e-5
"""Sums of 512 pixels and 6 products in float32 (24 bits) against float64: 6e-8 per operation."""

RESUMED_DIFFERENCE = 0.0
"""A resumed run computes the same batches with the same library: not one bit may differ."""


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    return write_artifact(tmp_path / "art")


@pytest.fixture
def model(artifact: Artifact):
    with Model.open(artifact) as opened:
        yield opened


def image_set(folder: Path, count: int, *, source: str = "tiny") -> ImageSet:
    paths = write_images(folder, count)
    records = tuple(
        ImageRecord(path, vehicle_id=i // 3, camera_id=i % 4, orientation=i % 8, tracklet_id=i)
        for i, path in enumerate(paths)
    )
    return ImageSet(source=source, root=folder, records=records)


def pixels(images: ImageSet) -> np.ndarray:
    return np.stack([np.asarray(Image.open(record.path)) for record in images.records])


class Stop(Exception):
    """Ends a run from inside, as an interrupt would."""


def stop_after(dealt_with: int):
    def progress(done: int, total: int) -> None:
        if done >= dealt_with:
            raise Stop

    return progress


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.startswith((".", "out")))


@pytest.mark.parametrize("batch_size", [1, 4, 10, 64])
def test_file_holds_rows_and_labels_in_order(model: Model, tmp_path: Path, batch_size: int) -> None:
    images = image_set(tmp_path / "images", 10)
    out = tmp_path / "out.npz"
    summary = embed_to(model, images, out, batch_size=batch_size, threads=2)
    found = Embeddings.load(out)
    np.testing.assert_allclose(
        found.features, expected_embeddings(pixels(images)), rtol=FLOAT32_RELATIVE, atol=1e-3
    )
    assert found.names == tuple(f"{i:04d}.png" for i in range(10))
    assert found.vehicle_ids.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3]
    assert found.camera_ids.tolist() == [0, 1, 2, 3, 0, 1, 2, 3, 0, 1]
    assert found.orientations.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 0, 1]
    assert found.tracklet_ids.tolist() == list(range(10))
    assert found.root == str(tmp_path / "images")
    assert found.source == "tiny"
    assert found.unit == "image"
    assert found.pixels is not None
    assert found.pixels.tolist() == [SIZE * SIZE] * 10
    assert found.model == model_identity(model.manifest)
    assert found.model.model_sha256 == model.manifest.model_sha256
    assert (summary.images, summary.skipped, summary.resumed_rows) == (10, (), 0)
    assert summary.images_per_second == pytest.approx(10 / summary.seconds)
    assert leftovers(tmp_path) == ["out.npz"]


def test_progress_runs_from_none_to_all(model: Model, tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    embed_to(
        model,
        image_set(tmp_path / "images", 5),
        tmp_path / "out.npz",
        batch_size=2,
        progress=lambda done, total: calls.append((done, total)),
    )
    assert calls[0] == (0, 5)
    assert calls[-1] == (5, 5)
    assert calls == sorted(calls)


def test_existing_file_is_left_alone_unless_told(model: Model, tmp_path: Path) -> None:
    images = image_set(tmp_path / "images", 3)
    out = tmp_path / "out.npz"
    out.write_bytes(b"precious")
    for overwrite in (False, True):
        with pytest.raises(OutputExistsError, match=r"not an embeddings file.*another name$"):
            embed_to(model, images, out, overwrite=overwrite)
    assert out.read_bytes() == b"precious"
    out.unlink()
    assert embed_to(model, image_set(tmp_path / "two", 2), out).images == 2
    before = out.read_bytes()
    for resume in (False, True):
        with pytest.raises(OutputExistsError, match="--overwrite"):
            embed_to(model, images, out, resume=resume)
    assert out.read_bytes() == before
    assert embed_to(model, images, out, overwrite=True).images == 3
    # one that was cut off is known by its beginning
    out.write_bytes(out.read_bytes()[:-100])
    assert embed_to(model, images, out, overwrite=True).images == 3
    assert len(Embeddings.load(out)) == 3


def test_file_without_the_suffix_is_refused(model: Model, tmp_path: Path) -> None:
    with pytest.raises(EmbeddingsError, match=r"gallery\.npz"):
        embed_to(model, image_set(tmp_path / "images", 1), tmp_path / "gallery.emb")


def test_bad_image_stops_or_is_listed(model: Model, tmp_path: Path) -> None:
    images = image_set(tmp_path / "images", 8)
    for index in (0, 5, 7):
        images.records[index].path.write_bytes(b"no image")
    out = tmp_path / "out.npz"
    with pytest.raises(ImageError, match=r"0000\.png"):
        embed_to(model, images, out, batch_size=2)
    assert leftovers(tmp_path) == []  # nothing was done, so nothing is left to resume
    summary = embed_to(model, images, out, batch_size=2, skip_bad=True)
    assert [image.index for image in summary.skipped] == [0, 5, 7]
    assert summary.skipped[1].path == images.records[5].path
    assert summary.skipped[1].reason
    found = Embeddings.load(out)
    assert found.names == ("0001.png", "0002.png", "0003.png", "0004.png", "0006.png")
    expected = expected_embeddings(
        np.stack([np.asarray(Image.open(tmp_path / "images" / name)) for name in found.names])
    )
    np.testing.assert_allclose(found.features, expected, rtol=FLOAT32_RELATIVE, atol=1e-3)
    assert found.orientations.tolist() == [1, 2, 3, 4, 6]


def test_bad_image_later_keeps_what_was_done(model: Model, tmp_path: Path) -> None:
    images = image_set(tmp_path / "images", 8)
    good = images.records[5].path.read_bytes()
    images.records[5].path.write_bytes(good[:40])
    out = tmp_path / "out.npz"
    with pytest.raises(ImageError, match=r"0005\.png"):
        embed_to(model, images, out, batch_size=2)
    assert leftovers(tmp_path) == ["out.npz.part"]
    images.records[5].path.write_bytes(good)
    assert embed_to(model, images, out, batch_size=2, resume=True).resumed_rows == 4
    assert len(Embeddings.load(out)) == 8


def test_set_without_one_usable_image(model: Model, tmp_path: Path) -> None:
    images = image_set(tmp_path / "images", 3)
    for record in images.records:
        record.path.write_bytes(b"")
    with pytest.raises(EmbeddingsError, match="not one of the 3 images"):
        embed_to(model, images, tmp_path / "out.npz", skip_bad=True)
    assert leftovers(tmp_path) == []


def test_value_that_is_not_finite_names_the_image(tmp_path: Path) -> None:
    artifact = write_artifact(tmp_path / "inf", scale=float("inf"))
    with Model.open(artifact) as model, pytest.raises(ArtifactError, match=r"0000\.png"):
        embed_to(model, image_set(tmp_path / "images", 2), tmp_path / "out.npz")
    assert leftovers(tmp_path) == []


def interrupted(model: Model, images: ImageSet, out: Path, **options) -> None:
    with pytest.raises(Stop):
        embed_to(model, images, out, batch_size=4, progress=stop_after(8), **options)
    assert leftovers(out.parent) == ["out.npz.part"]


def test_interrupted_run_needs_an_option(model: Model, tmp_path: Path) -> None:
    images = image_set(tmp_path / "images", 11)
    out = tmp_path / "out.npz"
    interrupted(model, images, out)
    with pytest.raises(OutputExistsError, match=r"--resume.*--overwrite"):
        embed_to(model, images, out)
    assert embed_to(model, images, out, overwrite=True).resumed_rows == 0
    assert leftovers(tmp_path) == ["out.npz"]


def test_resume_without_anything_begun_begins(model: Model, tmp_path: Path) -> None:
    images = image_set(tmp_path / "images", 3)
    assert embed_to(model, images, tmp_path / "out.npz", resume=True).resumed_rows == 0


@pytest.mark.parametrize("damage", ["none", "half row", "rows lost", "half line", "flipped byte"])
def test_resume_continues_after_the_last_whole_batch(
    model: Model, tmp_path: Path, damage: str
) -> None:
    images = image_set(tmp_path / "images", 11)
    for number, record in enumerate(images.records):  # files of different sizes
        Image.new("RGB", (3 + number, 5), (number, 9, 9)).save(record.path)
    whole, out = tmp_path / "whole.npz", tmp_path / "out.npz"
    embed_to(model, images, whole, batch_size=4)
    interrupted(model, images, out)
    rows, lines = out.with_name("out.npz.part") / "rows.f32", out.with_name("out.npz.part")
    lines = lines / "batches.jsonl"
    content = rows.read_bytes()
    assert len(content) == 8 * DIM * 4
    kept = 8
    if damage == "half row":  # killed between writing rows and their line
        rows.write_bytes(content + b"\1" * 10)
    elif damage == "rows lost":  # power cut: the line reached the disk, its rows did not
        rows.write_bytes(content[:-3])
        kept = 4
    elif damage == "half line":
        lines.write_bytes(lines.read_bytes()[:-2])
        kept = 4
    elif damage == "flipped byte":
        rows.write_bytes(bytes([content[0] ^ 1]) + content[1:])
        kept = 0
    summary = embed_to(model, images, out, batch_size=4, resume=True)
    assert (summary.images, summary.resumed_rows) == (11, kept)
    difference = np.abs(Embeddings.load(out).features - Embeddings.load(whole).features).max()
    assert difference <= RESUMED_DIFFERENCE
    assert Embeddings.load(out).names == Embeddings.load(whole).names
    assert Embeddings.load(out).pixels.tolist() == [5 * (3 + number) for number in range(11)]
    assert leftovers(tmp_path) == ["out.npz"]


@pytest.mark.parametrize("bad", [(1,), (7, 8), (8,), (3, 9, 10), (0, 1, 2, 3, 4)])
def test_skipped_images_survive_a_resume(
    model: Model, tmp_path: Path, bad: tuple[int, ...]
) -> None:
    images = image_set(tmp_path / "images", 14)
    for index in bad:
        images.records[index].path.write_bytes(b"no image")
    whole, out = tmp_path / "whole.npz", tmp_path / "out.npz"
    expected = embed_to(model, images, whole, batch_size=4, skip_bad=True)
    interrupted(model, images, out, skip_bad=True)
    summary = embed_to(model, images, out, batch_size=4, skip_bad=True, resume=True)
    assert summary.resumed_rows > 0
    assert summary.skipped == expected.skipped
    assert [image.index for image in summary.skipped] == list(bad)
    left, right = Embeddings.load(out), Embeddings.load(whole)
    assert left.names == right.names
    assert np.abs(left.features - right.features).max() <= RESUMED_DIFFERENCE


def test_resume_must_know_that_images_were_skipped(model: Model, tmp_path: Path) -> None:
    images = image_set(tmp_path / "images", 12)
    images.records[2].path.write_bytes(b"no image")
    interrupted(model, images, tmp_path / "out.npz", skip_bad=True)
    with pytest.raises(EmbeddingsError, match="left out 1 unusable images"):
        embed_to(model, images, tmp_path / "out.npz", resume=True)


def test_resume_refuses_another_model_source_or_list(tmp_path: Path, model: Model) -> None:
    images = image_set(tmp_path / "images", 11)
    out = tmp_path / "out.npz"
    interrupted(model, images, out)
    other_source = ImageSet(source="other", root=images.root, records=images.records)
    with pytest.raises(EmbeddingsError, match="another source"):
        embed_to(model, other_source, out, resume=True)
    shorter = ImageSet(source="tiny", root=images.root, records=images.records[:-1])
    with pytest.raises(EmbeddingsError, match="another images_sha256"):
        embed_to(model, shorter, out, resume=True)
    relabelled = ImageSet(
        source="tiny",
        root=images.root,
        records=(ImageRecord(images.records[0].path, vehicle_id=7), *images.records[1:]),
    )
    with pytest.raises(EmbeddingsError, match="another images_sha256"):
        embed_to(model, relabelled, out, resume=True)
    other = write_artifact(tmp_path / "other", tiny_manifest(), seed=1)
    with Model.open(other) as second, pytest.raises(EmbeddingsError, match="another model"):
        embed_to(second, images, out, resume=True)
    assert embed_to(model, images, out, batch_size=4, resume=True).resumed_rows == 8


@pytest.mark.parametrize("header", [None, b"", b"{}", b"[]", b'{"model": 3}', b"\xff"])
def test_part_that_is_none(model: Model, tmp_path: Path, header: bytes | None) -> None:
    images = image_set(tmp_path / "images", 3)
    part = tmp_path / "out.npz.part"
    part.mkdir()
    if header is not None:
        (part / "header.json").write_bytes(header)
    with pytest.raises(EmbeddingsError, match="is not an interrupted embedding run"):
        embed_to(model, images, tmp_path / "out.npz", resume=True)
    assert embed_to(model, images, tmp_path / "out.npz", overwrite=True).images == 3


def test_overwrite_never_removes_files_of_others(model: Model, tmp_path: Path) -> None:
    images = image_set(tmp_path / "images", 3)
    part = tmp_path / "out.npz.part"
    part.mkdir()
    (part / "thesis.txt").write_text("precious")
    with pytest.raises(EmbeddingsError, match=r"thesis\.txt"):
        embed_to(model, images, tmp_path / "out.npz", overwrite=True)
    assert (part / "thesis.txt").read_text() == "precious"


def test_partial_rows_give_back_rows(tmp_path: Path, model: Model) -> None:
    manifest = RowsManifest(model_identity(model.manifest), "tiny", "/images", "0" * 64)
    first = np.arange(2 * DIM, dtype=np.float32).reshape(2, DIM)
    with PartialRows(tmp_path / "part", manifest, resume=False) as rows:
        assert rows.rows().shape == (0, DIM)
        pixels = np.array([70, 80], dtype=np.int32)
        rows.append(first, pixels=pixels, position=3, bad=((0, "unreadable"), (4, "unreadable")))
    with PartialRows(tmp_path / "part", manifest, resume=True) as rows:
        np.testing.assert_array_equal(rows.rows(), first)
        assert rows.pixels().tolist() == [70, 80]
        assert (rows.count, rows.position) == (2, 3)
        assert rows.bad == ((0, "unreadable"),)  # 4 is met again after position 3
    with pytest.raises(OutputExistsError):
        PartialRows(tmp_path / "part", manifest, resume=False)


def test_any_damage_of_an_interrupted_runs_manifest_is_refused(
    tmp_path: Path, model: Model
) -> None:
    manifest = RowsManifest(model_identity(model.manifest), "tiny", "/images", "0" * 64)
    PartialRows(tmp_path / "part", manifest, resume=False).close()

    def read() -> None:
        PartialRows(tmp_path / "part", manifest, resume=True).close()

    check_json_reader(tmp_path / "part" / "header.json", read, EmbeddingsError, named="part")


@pytest.mark.parametrize(
    "change",
    [
        lambda line: b"[" * 100_000 + b"\n",
        lambda line: line[:-2] + b"\n",
        lambda line: line.replace(b"}", b', "surprise": 1}'),
        lambda line: line.replace(b'"position": 2', b'"position": "2"'),
        lambda line: line.replace(b'"position": 2', b'"position": NaN'),
        lambda line: line.replace(b"unreadable", b"\xff"),
    ],
)
def test_a_damaged_line_of_a_batch_ends_the_rows(tmp_path: Path, model: Model, change) -> None:
    manifest = RowsManifest(model_identity(model.manifest), "tiny", "/images", "0" * 64)
    row, pixels = np.ones((1, DIM), dtype=np.float32), np.array([70], dtype=np.int32)
    with PartialRows(tmp_path / "part", manifest, resume=False) as rows:
        rows.append(row, pixels=pixels, position=1, bad=())
        rows.append(row, pixels=pixels, position=2, bad=((1, "unreadable"),))
    path = tmp_path / "part" / "batches.jsonl"
    first, second = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + change(second))
    with PartialRows(tmp_path / "part", manifest, resume=True) as rows:
        assert (rows.count, rows.position, rows.bad) == (1, 1, ())
    assert path.read_bytes() == first


ROOT = Path(__file__).parents[2]

CHILD = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_embed import load_set
from mtml_deploy.artifact.artifact import open_artifact
from mtml_deploy.embed.embed_to import embed_to
from mtml_deploy.model import Model

folder = Path(sys.argv[2])
with Model.open(open_artifact(folder / "art")) as model:
    embed_to(model, load_set(folder / "images"), folder / "out.npz", batch_size=4, skip_bad=True,
          progress=lambda done, total: time.sleep(0.05))
"""


def load_set(folder: Path) -> ImageSet:
    paths = sorted(folder.iterdir())
    return ImageSet(source="tiny", root=folder, records=tuple(ImageRecord(path) for path in paths))


def test_killed_run_is_resumed_to_the_same_result(
    artifact: Artifact, model: Model, tmp_path: Path
) -> None:
    write_images(tmp_path / "images", 240)
    (tmp_path / "images" / "0002.png").write_bytes(b"no image")
    images = load_set(tmp_path / "images")
    whole, out = tmp_path / "whole.npz", tmp_path / "out.npz"
    embed_to(model, images, whole, batch_size=4, skip_bad=True)
    lines = tmp_path / "out.npz.part" / "batches.jsonl"
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(Path(__file__).parent), str(tmp_path)],
        env=os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"},
    )
    try:
        deadline = time.monotonic() + 60
        while not (lines.exists() and lines.read_bytes().count(b"\n") >= 5):
            assert child.poll() is None, "the child ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        child.send_signal(signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
    assert not out.exists()
    summary: EmbedSummary = embed_to(model, images, out, batch_size=4, skip_bad=True, resume=True)
    assert 20 <= summary.resumed_rows < 239
    assert [image.index for image in summary.skipped] == [2]
    left, right = Embeddings.load(out), Embeddings.load(whole)
    assert left.names == right.names
    assert len(left) == 239
    assert np.abs(left.features - right.features).max() <= RESUMED_DIFFERENCE
    assert leftovers(tmp_path) == ["out.npz"]


def test_relative_root_is_kept_absolute(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_images(tmp_path / "images", 2)
    monkeypatch.chdir(tmp_path)
    embed_to(model, load_set(Path("images")), Path("out.npz"))
    assert Embeddings.load(tmp_path / "out.npz").root == str(tmp_path / "images")
