"""VeRi-776: order, labels and where they come from, tolerated oddities, refused faults."""

import shutil
from pathlib import Path

import pytest
from helpers_datasets import (
    REAL,
    VERI_QUERY,
    VERI_TEST,
    VERI_TRAIN,
    keypoint_line,
    write_list,
    write_veri,
    write_xml,
)

from mtml_deploy.data.labels.xml_items import ItemLabel
from mtml_deploy.data.veri import ids_of_name, load_veri
from mtml_deploy.errors import DataError


def rows(images: object) -> list[tuple[str, int, int, int]]:
    return [(r.path.name, r.vehicle_id, r.camera_id, r.orientation) for r in images.records]


def test_splits(tmp_path: Path) -> None:
    root = write_veri(tmp_path)
    gallery = load_veri(root, "gallery")
    assert rows(gallery) == [
        (VERI_TEST[0], 2, 3, 0),
        (VERI_TEST[1], 2, 4, 1),
        (VERI_TEST[2], 5, 4, 2),
    ]
    assert gallery.names() == tuple(f"image_test/{name}" for name in VERI_TEST)
    assert gallery.source == f"veri:{root}#gallery" and gallery.notes == ()
    # a query's labels are those of the gallery image it copies
    assert rows(load_veri(root, "query")) == [(VERI_QUERY[0], 2, 4, 1)]
    assert load_veri(root, "query").notes == ()
    train = load_veri(root, "train")
    assert [r[1:] for r in rows(train)] == [(1, 1, 0), (1, 2, 1), (3, 2, 2)]
    assert all(record.path.is_file() for record in train.records)


def test_the_list_gives_the_order(tmp_path: Path) -> None:
    root = write_veri(tmp_path)
    write_list(root / "name_test.txt", [VERI_TEST[2], VERI_TEST[0]])
    images = load_veri(root, "gallery")
    assert [row[0] for row in rows(images)] == [VERI_TEST[2], VERI_TEST[0]]
    assert "1 labels are for images that no list names" in images.notes[0]


def test_without_label_files_names_tell_the_ids(tmp_path: Path) -> None:
    root = write_veri(tmp_path)
    (root / "test_label.xml").unlink()
    (root / "keypoint_test.txt").unlink()
    images = load_veri(root, "gallery")
    assert [row[1:] for row in rows(images)] == [(2, 3, -1), (2, 4, -1), (5, 4, -1)]
    assert images.notes == (
        "test_label.xml: absent, ids and cameras come from the file names",
        "keypoint_test.txt: absent, no orientation is known",
        "3 of 3 images have no orientation",
    )


def test_label_file_wins_over_the_name_and_is_counted(tmp_path: Path) -> None:
    root = write_veri(tmp_path)
    items = [
        {"imageName": VERI_TEST[0], "vehicleID": "0007", "cameraID": "c003"},
        {"imageName": VERI_TEST[1], "cameraID": "c004"},  # no id: the name tells it
    ]
    write_xml(root / "test_label.xml", items)
    images = load_veri(root, "gallery")
    assert [row[1:3] for row in rows(images)] == [(7, 3), (2, 4), (5, 4)]
    assert any("1 listed images have no item" in note for note in images.notes)
    assert any(
        "1 images have another vehicle or camera" in note and VERI_TEST[0] in note
        for note in images.notes
    )


def test_names_of_another_form_are_unknown(tmp_path: Path) -> None:
    assert ids_of_name("0002_c002_00030600_0.jpg") == ItemLabel(2, 2)
    for name in ("2.jpg", "x0002_c002_1.jpg", "0002c002_1.jpg", "99999999999_c1_.jpg", "٣_c1_.jpg"):
        assert ids_of_name(name) == ItemLabel(-1, -1)
    root = write_veri(tmp_path)
    write_list(root / "name_test.txt", [*VERI_TEST, "odd.jpg"])
    images = load_veri(root, "gallery")
    assert rows(images)[3] == ("odd.jpg", -1, -1, -1)
    assert "1 of 4 images have no vehicle id" in images.notes
    assert "1 of 4 images have no camera id" in images.notes


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ("name_test.txt", "the list of the images in image_test is missing"),
        ("image_test", "no image folder"),
        ("", "no such folder"),
    ],
)
def test_missing_parts_are_named(tmp_path: Path, missing: str, words: str) -> None:
    root = write_veri(tmp_path / "veri")
    target = root / missing
    shutil.rmtree(target) if target.is_dir() else target.unlink()
    with pytest.raises(DataError, match=words):
        load_veri(root, "gallery")


def test_a_list_that_repeats_an_image_is_refused(tmp_path: Path) -> None:
    root = write_veri(tmp_path)
    write_list(root / "name_test.txt", [*VERI_TEST, VERI_TEST[1]])
    with pytest.raises(DataError, match=f"1 images more than once, the first is {VERI_TEST[1]}"):
        load_veri(root, "gallery")


def test_conflicting_orientations_are_refused(tmp_path: Path) -> None:
    root = write_veri(tmp_path)
    lines = [keypoint_line(VERI_TRAIN[0], 1), keypoint_line(VERI_TRAIN[0], 2)]
    write_list(root / "keypoint_train.txt", lines)
    with pytest.raises(DataError, match=r"keypoint_train\.txt line 2"):
        load_veri(root, "train")


def test_the_published_labels_in_a_layout_with_the_published_names(tmp_path: Path) -> None:
    labels = REAL / "veri-labels" / "keypoint_test.txt"
    if not labels.is_file():
        pytest.skip("VeRi-776's orientation labels are not here")
    lines = labels.read_text().splitlines()
    names = sorted({line.split()[0].rpartition("/")[2] for line in lines})
    names = [name.replace("0009_c015_00068800_0", "0009_c017_00068800_0") for name in names]
    (tmp_path / "image_test").mkdir()
    write_list(tmp_path / "name_test.txt", names)
    write_list(tmp_path / "keypoint_test.txt", lines)
    images = load_veri(tmp_path, "gallery")
    assert len(images.records) == 11_579
    assert len({record.vehicle_id for record in images.records}) == 200
    unlabelled = [r.path.name for r in images.records if r.orientation == -1]
    assert unlabelled == ["0009_c017_00068800_0.jpg"]  # the label is for c015: not guessed
    text = "\n".join(images.notes)
    for words in ("500 lines repeat", "1 labels are for images", "1 of them", "1 of 11579"):
        assert words in text


def test_real_images_in_veri_layout() -> None:
    root = REAL / "gims08"
    if not root.is_dir():
        pytest.skip("the real images are not here")
    sizes = {"train": 1179, "query": 80, "gallery": 1120}
    for split, size in sizes.items():
        images = load_veri(root, split)
        assert len(images.records) == size and images.notes == ()
        # its pseudo cameras are orientation + 1
        assert all(r.camera_id == r.orientation + 1 for r in images.records)
        vehicles = range(1, 11) if split == "train" else range(11, 21)
        assert {r.vehicle_id for r in images.records} == set(vehicles)
        assert all(record.path.is_file() for record in images.records)


def test_tracklets_of_the_test_part(tmp_path: Path) -> None:
    root = write_veri(tmp_path)
    write_list(root / "test_track.txt", [VERI_TEST[2], f"{VERI_TEST[0]} {VERI_TEST[1]}"])
    gallery = load_veri(root, "gallery")
    assert [record.tracklet_id for record in gallery.records] == [1, 1, 0]
    assert gallery.notes == ()
    # a query is a copy of a gallery image; the file's other images are no strangers to it
    query = load_veri(root, "query")
    assert [record.tracklet_id for record in query.records] == [1]
    assert query.notes == ()
    assert {record.tracklet_id for record in load_veri(root, "train").records} == {-1}


def test_a_track_file_that_contradicts_itself_is_noted_and_not_used(tmp_path: Path) -> None:
    root = write_veri(tmp_path)
    write_list(root / "test_track.txt", [VERI_TEST[0], f"{VERI_TEST[0]} {VERI_TEST[1]}"])
    gallery = load_veri(root, "gallery")
    assert {record.tracklet_id for record in gallery.records} == {-1}
    (note,) = [text for text in gallery.notes if text.startswith("test_track.txt")]
    assert "not used" in note and "line 2" in note


def test_tracklets_that_do_not_fit_the_list_are_counted(tmp_path: Path) -> None:
    root = write_veri(tmp_path)
    write_list(root / "test_track.txt", [f"{VERI_TEST[0]} 0009_c001_00000000_0.jpg"])
    assert load_veri(root, "gallery").notes == (
        "test_track.txt: 1 images are in no list: 0009_c001_00000000_0.jpg",
        f"test_track.txt: 2 listed images are in no tracklet: {VERI_TEST[1]}, {VERI_TEST[2]}",
    )
