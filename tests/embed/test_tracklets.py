"""Tracklets: pooled features against a plain loop, labels, order, refusals, and the command."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers_artifact import write_artifact
from helpers_cli import run
from hypothesis import given
from hypothesis import strategies as st

from mtml_deploy.embed.embed import model_identity
from mtml_deploy.embed.embeddings import Embeddings, ModelIdentity, comparison_mode
from mtml_deploy.embed.pooling import pool_tracklets
from mtml_deploy.errors import DataError, EmbeddingsError

DIM = 3

ROUNDED_ONCE = 2.0**-24
"""Relative: a float64 mean rounded to float32 is off by half a unit in the last place."""


def images(tracks, *, vehicles=None, cameras=None, orientations=None, pixels="count", seed=0):
    """Embeddings of images i.jpg; by default vehicle 5, camera 2, and i + 1 pixels."""
    size = len(tracks)

    def ids(values, default):
        return np.array([default] * size if values is None else values, dtype=np.int32)

    return Embeddings(
        features=np.random.default_rng(seed).normal(size=(size, DIM)).astype(np.float32),
        vehicle_ids=ids(vehicles, 5),
        camera_ids=ids(cameras, 2),
        orientations=ids(orientations, -1),
        tracklet_ids=ids(tracks, -1),
        names=tuple(f"{i}.jpg" for i in range(size)),
        root="/data",
        source="set",
        model=ModelIdentity("a" * 64, "fp32", "fused", DIM),
        pixels=np.arange(1, size + 1, dtype=np.int32) if pixels == "count" else pixels,
    )


@given(
    tracks=st.lists(st.integers(-1, 4), min_size=1, max_size=30).filter(lambda t: max(t) >= 0),
    pool=st.sampled_from(["mean", "size"]),
    seed=st.integers(0, 99),
)
def test_against_a_plain_loop(tracks: list[int], pool: str, seed: int) -> None:
    given_images = images(tracks, seed=seed)
    expected = []
    done = set()
    for row, track in enumerate(tracks):
        if track in done:
            continue
        members = [i for i, t in enumerate(tracks) if t == track] if track >= 0 else [row]
        done |= {track} - {-1}
        weight = [1.0 if pool == "mean" else float(i + 1) for i in members]
        mean = [
            sum(
                w * float(given_images.features[i, d]) for w, i in zip(weight, members, strict=True)
            )
            / sum(weight)
            for d in range(DIM)
        ]
        expected.append((f"{row}.jpg", track, mean))
    found = pool_tracklets(given_images, pool=pool, keep_single=True)
    assert found.names == tuple(name for name, _, _ in expected)
    assert found.tracklet_ids.tolist() == [track for _, track, _ in expected]
    # atol: sums that cancel, of at most 30 values below 6
    np.testing.assert_allclose(
        found.features, [mean for _, _, mean in expected], rtol=2 * ROUNDED_ONCE, atol=1e-14
    )
    assert found.unit == "tracklet"
    assert found.pixels is None
    assert found.model == given_images.model


def test_equal_images_keep_their_very_embedding() -> None:
    given_images = images([3] * 7)
    given_images.features[:] = given_images.features[0]
    for pool in ("mean", "size"):
        found = pool_tracklets(given_images, pool=pool)
        assert found.features.tolist() == [given_images.features[0].tolist()]


def test_labels() -> None:
    given_images = images(
        [8, 2, 8, 2],
        vehicles=[5, -1, 5, -1],
        cameras=[1, 6, 1, 6],
        orientations=[3, 0, 3, 1],
    )
    found = pool_tracklets(given_images)
    assert found.tracklet_ids.tolist() == [8, 2]
    assert found.vehicle_ids.tolist() == [5, -1]  # hidden ids stay hidden
    assert found.camera_ids.tolist() == [1, 6]
    assert found.orientations.tolist() == [3, -1]  # a vehicle that turned has no one orientation
    assert (found.root, found.source) == ("/data", "set, tracklets (mean)")


def test_vehicles_before_cameras() -> None:
    given_images = images(
        [-1] * 6, vehicles=[7, 1, 7, 1, 7, 1], cameras=[2, 2, 1, 2, 2, -1], seed=4
    )
    found = pool_tracklets(given_images, by="vehicle-camera", keep_single=True)
    assert found.names == ("0.jpg", "1.jpg", "2.jpg", "5.jpg")
    assert found.tracklet_ids.tolist() == [0, 1, 2, -1]
    assert found.vehicle_ids.tolist() == [7, 1, 7, 1]
    assert found.camera_ids.tolist() == [2, 2, 1, -1]
    np.testing.assert_allclose(
        found.features[0],
        (given_images.features[0].astype(float) + given_images.features[4]) / 2,
        rtol=ROUNDED_ONCE,
    )
    assert found.source == "set, tracklets by vehicle-camera (mean)"
    with pytest.raises(DataError, match=r"1 of 6 images .* vehicle and camera id.* 5\.jpg"):
        pool_tracklets(given_images, by="vehicle-camera")


def test_images_without_a_tracklet() -> None:
    with pytest.raises(DataError, match=r"2 of 3 images of set .* 1\.jpg.*--keep-single"):
        pool_tracklets(images([4, -1, -1]))
    with pytest.raises(DataError, match=r"not one of the 2 images.*--by vehicle-camera"):
        pool_tracklets(images([-1, -1]), keep_single=True)


@pytest.mark.parametrize(
    ("labels", "text"),
    [
        ({"vehicles": [5, 5, 5, 6]}, r"tracklet 9 of set has 1\.jpg of vehicle 5 and 3\.jpg of "
                                     r"vehicle 6, expected one vehicle"),
        ({"cameras": [1, 2, 1, -1]}, r"1\.jpg of camera 2 and 3\.jpg of camera unknown"),
    ],
)  # fmt: skip
def test_mixed_tracklets_are_named(labels: dict, text: str) -> None:
    with pytest.raises(DataError, match=text):
        pool_tracklets(images([3, 9, 3, 9], **labels))


def test_size_needs_the_sizes() -> None:
    unknown = images([1, 1], pixels=None)
    with pytest.raises(EmbeddingsError, match="sizes of the images of set are not known"):
        pool_tracklets(unknown, pool="size")
    assert len(pool_tracklets(unknown)) == 1


def test_tracklets_are_not_pooled_again() -> None:
    with pytest.raises(EmbeddingsError, match="holds tracklets already"):
        pool_tracklets(pool_tracklets(images([1, 1])))


def test_modes_are_named() -> None:
    assert comparison_mode("image", "image") == "image-to-image"
    assert comparison_mode("image", "tracklet") == "image-to-track"
    assert comparison_mode("tracklet", "tracklet") == "track-to-track"


def test_command(tmp_path: Path) -> None:
    given_images = images([1, 1, -1, 0])
    given_images.save(tmp_path / "images.npz")
    words = ("tracklets", tmp_path / "images.npz", "--pool", "size", "--out", tmp_path / "t.npz")
    refused = run(*words)
    assert refused.exit_code == 1 and "--keep-single" in refused.stderr
    assert not (tmp_path / "t.npz").exists()
    result = run(*words, "--keep-single")
    assert result.exit_code == 0, result.output
    assert result.stdout == ""
    assert "t.npz: 3 tracklets of 4 images, 1 of them single images" in result.stderr
    found, expected = (
        Embeddings.load(tmp_path / "t.npz"),
        pool_tracklets(given_images, pool="size", keep_single=True),
    )
    assert found.unit == "tracklet" and found.names == expected.names
    np.testing.assert_array_equal(found.features, expected.features)
    assert "--overwrite" in run(*words, "--keep-single").stderr
    assert "does not end in .npz" in run(*words[:-1], tmp_path / "t.emb").stderr


def test_the_file_keeps_pixels_and_unit(tmp_path: Path) -> None:
    for unit, pixels in (("image", np.array([9, 1], dtype=np.int32)), ("tracklet", None)):
        replace(images([0, 1]), unit=unit, pixels=pixels).save(tmp_path / "a.npz")
        found = Embeddings.load(tmp_path / "a.npz")
        assert found.unit == unit
        assert (found.pixels is None) == (pixels is None)
        assert pixels is None or found.pixels.tolist() == [9, 1]


def test_by_vehicle_joins_the_images_of_all_cameras() -> None:
    given_images = images([-1] * 4, vehicles=[7, 3, 7, 3], cameras=[0, 1, 2, 1])
    found = pool_tracklets(given_images, by="vehicle")
    assert found.vehicle_ids.tolist() == [7, 3]
    assert found.camera_ids.tolist() == [-1, 1]  # of vehicle 7 no camera is that of all images
    rows = given_images.features.astype(np.float64)
    expected = [(rows[0] + rows[2]) / 2, (rows[1] + rows[3]) / 2]
    assert found.features == pytest.approx(np.array(expected), rel=ROUNDED_ONCE)
    with pytest.raises(DataError, match="1 of 2 images of set have no vehicle id"):
        pool_tracklets(images([-1] * 2, vehicles=[7, -1]), by="vehicle")


def on_a_line(places, vehicles, camera, tracks) -> Embeddings:
    """Images at places on a line."""
    made = images(tracks, vehicles=vehicles, cameras=[camera] * len(tracks))
    features = np.zeros((len(tracks), DIM), dtype=np.float32)
    features[:, 0] = places
    return replace(made, features=features)


@pytest.fixture
def sets(tmp_path: Path) -> Path:
    """A query of vehicle 7 at 0; before it 7 at 1 and 3 (mean 2), and 8 twice at 1.5."""
    on_a_line([0], [7], 1, [0]).save(tmp_path / "query.npz")
    gallery = on_a_line([1, 3, 1.5, 1.5], [7, 7, 8, 8], 2, [4, 4, 5, 5])
    gallery.save(tmp_path / "gallery.npz")
    for name in ("query", "gallery"):
        words = ("tracklets", tmp_path / f"{name}.npz", "--out", tmp_path / f"{name}-tracks.npz")
        assert run(*words).exit_code == 0
    return tmp_path


@pytest.mark.parametrize(
    ("query", "gallery", "mode", "expected"),
    [
        ("query", "gallery", "image-to-image", (1 / 1 + 2 / 4) / 2),
        ("query", "gallery-tracks", "image-to-track", 1 / 2),
        ("query-tracks", "gallery", "track-to-image", (1 / 1 + 2 / 4) / 2),
        ("query-tracks", "gallery-tracks", "track-to-track", 1 / 2),
    ],
)
def test_reports_name_what_was_compared(
    sets: Path, query: str, gallery: str, mode: str, expected: float
) -> None:
    pair = ("--query", sets / f"{query}.npz", "--gallery", sets / f"{gallery}.npz")
    result = run("evaluate", *pair, "--explain", "--json", sets / "metrics.json")
    assert result.exit_code == 0, result.output
    unit = "tracklets" if gallery.endswith("tracks") else "images"
    size = 2 if gallery.endswith("tracks") else 4
    assert f" {mode}, 1 queries " in result.stdout
    assert f" against {size} gallery {unit} " in result.stdout
    record = json.loads((sets / "metrics.json").read_text())
    assert record["mode"] == mode
    assert record["gallery"][unit] == size
    assert record["mean_ap"] == expected  # halves and quarters are exact
    result = run("rank", *pair, "--json", sets / "ranks.json", "--html", sets / "ranks.html")
    assert result.exit_code == 0, result.output
    assert json.loads((sets / "ranks.json").read_text())["mode"] == mode
    assert f">{mode}: 1 queries" in (sets / "ranks.html").read_text()


def test_drawn_galleries_name_it_too(tmp_path: Path) -> None:
    places = [0, 1, 10, 11, 20, 21]
    made = on_a_line(places, [1, 1, 2, 2, 3, 3], 1, list(range(6)))
    pool_tracklets(made).save(tmp_path / "tracks.npz")
    result = run("evaluate", "--gallery", tmp_path / "tracks.npz", "--protocol", "vehicleid",
                 "--explain", "--json", tmp_path / "metrics.json")  # fmt: skip
    assert result.exit_code == 0, result.output
    assert " track-to-track, 10 draws" in result.stdout
    assert json.loads((tmp_path / "metrics.json").read_text())["mode"] == "track-to-track"


def test_a_gallery_of_images_takes_no_tracklets(tmp_path: Path) -> None:
    artifact = write_artifact(tmp_path / "art")
    model = model_identity(artifact.manifest)
    made = images([1, 1])
    features = np.ones((2, model.dim), dtype=np.float32)
    pool_tracklets(replace(made, model=model, features=features)).save(tmp_path / "t.npz")
    assert run("gallery", "create", tmp_path / "g", artifact.folder).exit_code == 0
    result = run("gallery", "add", tmp_path / "g", "--embeddings", tmp_path / "t.npz")
    assert result.exit_code == 1
    assert "holds tracklets, and the rows of a gallery are images" in result.stderr
