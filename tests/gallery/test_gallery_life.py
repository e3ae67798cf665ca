"""Rows that go, get other labels or another model: what is meant, and what stays."""

import numpy as np
import pytest
from helpers_artifact import write_artifact, write_images
from helpers_cli import run

import mtml_deploy as md
from mtml_deploy.data.clock import read_time
from mtml_deploy.embed.embeddings import Embeddings

HOUR = 3_600_000_000


@pytest.fixture
def place(tmp_path):
    """A gallery of 8 images: 4 of camera 1, 4 of camera 2, at 0 to 3 o'clock each."""
    write_artifact(tmp_path / "art")
    files = write_images(tmp_path / "images", 9)
    lines = ["path,vehicle_id,camera_id,time"]
    for n, file in enumerate(files[:8]):
        lines.append(f"{file},{n // 2},{1 + n // 4},2024-05-01T0{n % 4}:00:00")
    lines.append(f"{files[8]},9,,")
    (tmp_path / "cars.csv").write_text("\n".join(lines))
    assert run("gallery", "create", tmp_path / "g", tmp_path / "art").exit_code == 0
    result = run("gallery", "add", tmp_path / "g", tmp_path / "art", "--images",
                 f"csv:{tmp_path / 'cars.csv'}")  # fmt: skip
    assert result.exit_code == 0, result.stderr
    return tmp_path


def records(folder):
    with md.open_gallery(folder) as gallery:
        return {stored.row: stored.record for stored in gallery.rows()}


@pytest.mark.parametrize(
    ("words", "gone"),
    [
        (["--camera", 2], {5, 6, 7, 8}),
        (["--until", "2024-05-01T02:00:00"], {1, 2, 5, 6}),
        (["--since", "2024-05-01T03:00:00"], {4, 8}),
        (["--camera", 1, "--since", "2024-05-01T01:00:00", "--until", "2024-05-01T03:00:00"],
         {2, 3}),
        (["--vehicle", 0, "--vehicle", 2, "--camera", 2], {5, 6}),
        (["--row", 1, "--row", 9], {1, 9}),
    ],
)  # fmt: skip
def test_rows_are_removed_by_what_they_have_in_common(place, words, gone):
    before = records(place / "g")
    dry = run("gallery", "remove", place / "g", *words, "--dry-run")
    assert dry.exit_code == 0 and f"{len(gone)} rows would be removed" in dry.stderr
    told = [line.split("\t") for line in dry.stdout.splitlines()]
    assert told == [[str(row), before[row].path] for row in sorted(gone)]
    assert records(place / "g") == before
    done = run("gallery", "remove", place / "g", *words)
    assert done.exit_code == 0 and f"{len(gone)} rows removed" in done.stderr
    assert records(place / "g") == {n: r for n, r in before.items() if n not in gone}


@pytest.mark.parametrize(
    ("words", "status", "text"),
    [
        ([], 2, "say which rows"),
        (["--camera", 7], 1, "holds no row that matches"),
        (["--since", "soon"], 1, "is not a time"),
        (["--until", "2020-01-01"], 0, "0 rows removed"),
        (["--since", "2030-01-01", "--camera", 1], 0, "0 rows removed"),
    ],
)
def test_what_removes_nothing(place, words, status, text):
    result = run("gallery", "remove", place / "g", *words)
    assert result.exit_code == status and text in result.stderr
    assert len(records(place / "g")) == 9


def test_labels_change_and_vectors_stay(place):
    before = records(place / "g")
    with md.open_gallery(place / "g") as gallery:
        vectors = gallery.embeddings().features
    words = ["--camera", 2, "--until", "2024-05-01T02:00:00"]
    new = ["--set-vehicle", "AB-41", "--set-camera", "north gate", "--set-time",
           "2024-06-01T00:00:00", "--set-orientation", 3, "--set-tracklet", "unknown"]  # fmt: skip
    assert run("gallery", "relabel", place / "g", *words, *new, "--dry-run").exit_code == 0
    assert records(place / "g") == before
    result = run("gallery", "relabel", place / "g", *words, *new)
    assert result.exit_code == 0 and "2 rows labelled anew" in result.stderr
    after = records(place / "g")
    for row, record in after.items():
        if row not in (5, 6):
            assert record == before[row]
            continue
        assert (str(record.vehicle_id), str(record.camera_id)) == ("AB-41", "north gate")
        assert record.time_us == read_time("2024-06-01") and record.orientation == 3
        assert record.tracklet_id == -1 and record.path == before[row].path
    assert (
        run("gallery", "relabel", place / "g", "--row", 5, "--set-time", "unknown").exit_code == 0
    )
    assert records(place / "g")[5].time_us is None
    assert run("gallery", "relabel", place / "g", "--row", 5).exit_code == 2
    with md.open_gallery(place / "g") as gallery:
        assert (gallery.embeddings().features == vectors).all()
        assert gallery.verify() == ()


def test_export_keeps_times(place):
    assert run("gallery", "export", place / "g", "--out", place / "g.npz").exit_code == 0
    times = Embeddings.load(place / "g.npz").times_us
    begin = read_time("2024-05-01")
    assert ((times[:8] - begin) // HOUR).tolist() == [0, 1, 2, 3] * 2
    assert times[8] == -(1 << 63)


def migrated(place, *words):
    return run("gallery", "migrate", place / "g", place / "new", place / "other", *words)


def test_another_model_keeps_labels_and_times(place):
    write_artifact(place / "other", seed=5)
    assert run("gallery", "remove", place / "g", "--row", 3).exit_code == 0
    result = migrated(place)
    assert result.exit_code == 0 and "8 added, 0 there already" in result.stderr
    old, new = records(place / "g"), records(place / "new")
    assert list(new.values()) == list(old.values()) and list(new) == list(range(1, 9))
    with md.open_model(place / "other") as model, md.open_gallery(place / "new") as gallery:
        paths = [record.path for record in new.values()]
        np.testing.assert_allclose(gallery.embeddings().features, model.embed(paths).features,
                                   rtol=1e-5)  # fmt: skip
    assert "0 added, 8 there already" in migrated(place).stderr


def test_what_was_stopped_goes_on(place):
    write_artifact(place / "other", seed=5)
    gone = place / "images" / "0004.png"
    kept = gone.read_bytes()
    gone.write_bytes(kept[:-20])
    result = migrated(place)
    assert result.exit_code == 1 and "row 5: " in result.stderr
    assert "holds another image than when it was added" in result.stderr
    gone.unlink()
    assert "cannot be read; copy it back" in migrated(place).stderr
    result = migrated(place, "--skip-bad")
    assert result.exit_code == 0 and "8 added, 0 there already, 1 skipped" in result.stderr
    gone.write_bytes(kept)
    assert "1 added, 8 there already, 0 skipped" in migrated(place).stderr


def test_a_gallery_of_another_model_is_no_target(place):
    write_artifact(place / "other", seed=5)
    assert run("gallery", "create", place / "new", place / "art").exit_code == 0
    result = migrated(place)
    assert result.exit_code == 1 and "model" in result.stderr
    assert len(records(place / "new")) == 0
