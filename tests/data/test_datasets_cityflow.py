"""CityFlow (AI City 2019 Track 2): labels from XML, tracklets from track files."""

from pathlib import Path

import pytest
from helpers_datasets import write_images, write_list, write_xml

from mtml_deploy.data.cityflow import load_cityflow
from mtml_deploy.errors import DataError

NAMES = ("000001.jpg", "000002.jpg", "000003.jpg")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for part in ("train", "query", "test"):
        names = NAMES[:1] if part == "query" else NAMES
        write_images(tmp_path / f"image_{part}", names)
        write_list(tmp_path / f"name_{part}.txt", names)
    items = [
        {"imageName": name, "vehicleID": f"{number:04}", "cameraID": f"c{number:03}"}
        for number, name in zip((241, 241, 333), NAMES, strict=True)
    ]
    write_xml(tmp_path / "train_label.xml", items)
    write_list(tmp_path / "train_track.txt", ["000001.jpg 000002.jpg ", "000003.jpg"])
    write_list(tmp_path / "test_track.txt", ["000003.jpg", "000001.jpg\t000002.jpg"])
    return tmp_path


def rows(images: object) -> list[tuple[int, int, int, int]]:
    return [(r.vehicle_id, r.camera_id, r.orientation, r.tracklet_id) for r in images.records]


def test_train(root: Path) -> None:
    images = load_cityflow(root, "train")
    assert rows(images) == [(241, 241, -1, 0), (241, 241, -1, 0), (333, 333, -1, 1)]
    assert images.names() == tuple(f"image_train/{name}" for name in NAMES)
    assert images.notes == ()


def test_hidden_ids_of_the_test_part(root: Path) -> None:
    gallery = load_cityflow(root, "gallery")
    assert rows(gallery) == [(-1, -1, -1, 1), (-1, -1, -1, 1), (-1, -1, -1, 0)]
    assert gallery.notes[0] == "test_label.xml: absent, no vehicle id and no camera is known"
    assert rows(load_cityflow(root, "query")) == [(-1, -1, -1, -1)]


def test_cameras_where_a_label_file_gives_only_them(root: Path) -> None:
    write_xml(root / "query_label.xml", [{"imageName": NAMES[0], "cameraID": "c036"}])
    images = load_cityflow(root, "query")
    assert rows(images) == [(-1, 36, -1, -1)]
    assert images.notes == ("1 of 1 images have no vehicle id",)


def test_training_labels_are_required(root: Path) -> None:
    (root / "train_label.xml").unlink()
    with pytest.raises(DataError, match=r"label file is missing: no file .*train_label\.xml"):
        load_cityflow(root, "train")


def test_tracks_that_do_not_fit_the_list_are_counted(root: Path) -> None:
    write_list(root / "train_track.txt", ["000001.jpg", "", "000009.jpg"])
    notes = load_cityflow(root, "train").notes
    assert "train_track.txt: 1 images are in no list: 000009.jpg" in notes
    assert "train_track.txt: 2 listed images are in no tracklet: 000002.jpg, 000003.jpg" in notes
    (root / "train_track.txt").unlink()
    assert "train_track.txt: absent, no tracklet is known" in load_cityflow(root, "train").notes
