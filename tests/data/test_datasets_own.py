"""Images of one's own: by the names of files, and by the names of folders."""

from pathlib import Path

import pytest
from helpers_datasets import write_picture

from mtml_deploy.data.holdout import split_by_id
from mtml_deploy.data.ids import NamedId, shown_id
from mtml_deploy.data.records import ImageRecord, ImageSet
from mtml_deploy.data.source import load_source, parse_source
from mtml_deploy.errors import DataError
from mtml_train.data_check.check import check_data


def labels(images: ImageSet) -> dict[str, tuple[int | str, int | str]]:
    ids = ((shown_id(r.vehicle_id), shown_id(r.camera_id)) for r in images.records)
    return dict(zip(images.names(), ids, strict=True))


def test_market_names(tmp_path: Path) -> None:
    for name in (
        "bounding_box_train/0002_c1s1_000451_03.jpg",
        "bounding_box_train/0007_c3s3_077419_03.jpg",
        "query/0001_c1s1_001051_00.jpg",
        "bounding_box_test/-1_c2s1_000001_00.jpg",
        "bounding_box_test/0000_c6s1_000002_00.jpg",
        "bounding_box_test/0001_c2s1_000003_00.jpg",
        "bounding_box_test/other.jpg",
    ):
        write_picture(tmp_path / name, shade=len(name))
    assert labels(load_source(f"market1501:{tmp_path}", split="train")) == {
        "bounding_box_train/0002_c1s1_000451_03.jpg": (2, 1),
        "bounding_box_train/0007_c3s3_077419_03.jpg": (7, 3),
    }
    gallery = load_source(f"market1501:{tmp_path}#gallery")
    # junk is of unknown vehicle, which every protocol leaves out; a distractor is vehicle 0
    assert labels(gallery) == {
        "bounding_box_test/-1_c2s1_000001_00.jpg": (-1, 2),
        "bounding_box_test/0000_c6s1_000002_00.jpg": (0, 6),
        "bounding_box_test/0001_c2s1_000003_00.jpg": (1, 2),
        "bounding_box_test/other.jpg": (-1, -1),
    }
    assert gallery.notes == (
        "1 images are not named like 0002_c1s1_000451_03.jpg: other.jpg",
        "2 of 4 images have no vehicle id",
        "1 of 4 images have no camera id",
    )
    assert parse_source(f"market1501:{tmp_path}").splits() == ("train", "query", "gallery")
    check = check_data(f"market1501:{tmp_path}", decode=False)
    assert [(each.split, each.found.images) for each in check.splits] == [
        ("train", 2), ("query", 1), ("gallery", 4)
    ]  # fmt: skip
    with pytest.raises(DataError, match=r"none was named; write market1501:.*#train"):
        load_source(f"market1501:{tmp_path}")


def test_a_folder_of_market_names(tmp_path: Path) -> None:
    write_picture(tmp_path / "0041_c3s1_000001_00.png")
    for split in ("", "train", "query"):
        found = load_source(f"market1501:{tmp_path}", split=split)
        assert labels(found) == {"0041_c3s1_000001_00.png": (41, 3)}
    with pytest.raises(DataError, match="no folder query, expected one for its query images"):
        load_source(f"market1501:{tmp_path}#query")


def test_a_folder_per_vehicle(tmp_path: Path) -> None:
    for name in ("AB-1/x.jpg", "AB-1/north gate/y.jpg", "0041/2/z.jpg"):
        write_picture(tmp_path / name)
    images = load_source(f"folders:{tmp_path}", split="train")
    assert labels(images) == {
        "0041/2/z.jpg": (41, 2),
        "AB-1/north gate/y.jpg": ("AB-1", "north gate"),
        "AB-1/x.jpg": ("AB-1", -1),
    }
    assert images.notes == ("1 of 3 images have no camera id",)
    assert images.source == f"folders:{tmp_path}" and images.records[1].vehicle_id == NamedId(
        "AB-1"
    )
    with pytest.raises(DataError, match="no folder gallery, expected one with a folder per veh"):
        load_source(f"folders:{tmp_path}#gallery")


def test_parts_of_folders(tmp_path: Path) -> None:
    for name in ("train/a/1.jpg", "query/b/1.jpg", "gallery/b/c2/2.jpg", "spare/c/3.jpg"):
        write_picture(tmp_path / name)
    train = load_source(f"folders:{tmp_path}", split="train")
    assert labels(train) == {"train/a/1.jpg": ("a", -1)}
    assert train.notes[0] == "1 folders beside the parts are not used: spare"
    assert labels(load_source(f"folders:{tmp_path}#gallery")) == {"gallery/b/c2/2.jpg": ("b", "c2")}
    with pytest.raises(DataError, match="has the parts train, query, gallery, and none was named"):
        load_source(f"folders:{tmp_path}")
    assert check_data(f"folders:{tmp_path}", threads=1).complete


def test_images_in_no_vehicles_folder(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.jpg")
    with pytest.raises(DataError, match="lies in 0 folders below"):
        load_source(f"folders:{tmp_path}")
    (tmp_path / "a.jpg").unlink()
    write_picture(tmp_path / "v" / "c" / "d" / "a.jpg")
    with pytest.raises(DataError, match="lies in 3 folders below"):
        load_source(f"folders:{tmp_path}")


def test_vehicles_with_plates_are_held_out(tmp_path: Path) -> None:
    records = tuple(
        ImageRecord(tmp_path / f"{plate}-{camera}-{n}.jpg", NamedId(plate), NamedId(camera))
        for plate in ("AB-1", "AB-2", "AB-3")
        for camera in ("north", "south")
        for n in range(2)
    )
    split = split_by_id(ImageSet("s", tmp_path, records), seed=0, test_share=0.34)
    tested = {str(record.vehicle_id) for record in split.gallery}
    assert len(tested) == 1 and tested == {str(record.vehicle_id) for record in split.query}
    assert not tested & {str(record.vehicle_id) for record in split.train}
