"""PKU VehicleID."""

from pathlib import Path

import pytest
from helpers_datasets import write_list, write_picture

from mtml_deploy.data.records import ImageRecord
from mtml_deploy.data.source import load_source
from mtml_deploy.errors import DataError
from mtml_train.data_check.check import check_data


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two training vehicles, a small and a medium test list."""
    for number in range(1, 7):
        write_picture(tmp_path / "image" / f"000000{number}.jpg", shade=20 * number)
    lists = tmp_path / "train_test_split"
    write_list(lists / "train_list.txt", ["0000002 13", "0000001 4"])
    write_list(lists / "test_list_800.txt", ["0000003 7", "0000004 7", "0000005 9"])
    write_list(lists / "test_list_1600.txt", ["0000006 21", "0000003 7"])
    return tmp_path


def test_lists_are_the_parts(root: Path) -> None:
    image = root / "image"
    train = load_source(f"vehicleid:{root}", split="train")
    assert train.records == (
        ImageRecord(image / "0000002.jpg", 13), ImageRecord(image / "0000001.jpg", 4)
    )  # fmt: skip
    assert train.notes == ("2 of 2 images have no camera id",)
    gallery = [ImageRecord(image / f"000000{n}.jpg", v) for n, v in ((3, 7), (5, 9))]
    assert load_source(f"vehicleid:{root}#gallery").records == tuple(gallery)
    query = load_source(f"vehicleid:{root}#query")
    assert query.records == (ImageRecord(image / "0000004.jpg", 7),)
    medium = load_source(f"vehicleid-1600:{root}#gallery")
    assert medium.names() == ("image/0000006.jpg", "image/0000003.jpg")
    assert medium.source == f"vehicleid-1600:{root}#gallery"
    with pytest.raises(DataError, match="has one image of each vehicle, expected more to look for"):
        load_source(f"vehicleid-1600:{root}#query")


def test_a_copy_is_checked(root: Path) -> None:
    (root / "image" / "0000005.jpg").unlink()
    check = check_data(f"vehicleid:{root}", threads=1)
    assert [split.split for split in check.splits] == ["train", "query", "gallery"]
    train, query, gallery = check.splits
    assert (train.found.images, train.found.ids, train.missing) == (2, 2, ())
    assert query.missing == () and gallery.missing == ("image/0000005.jpg",)
    assert gallery.published is not None and gallery.published.images == 800
    assert train.without_orientation == () and not check.complete and check.identical == ()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("0000001", "line 2: '0000001', expected an image without suffix and its vehicle"),
        ("0000001 x", "line 2: '0000001 x', expected an image"),
        ("0000001 4 5", "line 2: '0000001 4 5', expected an image"),
        ("../0000001 4", "line 2: '../0000001' is not the bare name"),
        ("0000002 4", "names 1 images more than once, the first is 0000002"),
    ],
)
def test_faults_name_the_line(root: Path, line: str, words: str) -> None:
    write_list(root / "train_test_split" / "train_list.txt", ["0000002 13", line])
    with pytest.raises(DataError, match=words):
        load_source(f"vehicleid:{root}#train")


def test_what_is_missing_is_named(root: Path) -> None:
    with pytest.raises(DataError, match=r"no file .*test_list_2400\.txt"):
        load_source(f"vehicleid-2400:{root}#query")
    (root / "train_test_split" / "train_list.txt").write_text("\n")
    with pytest.raises(DataError, match="is empty"):
        load_source(f"vehicleid:{root}#train")
    (root / "image").rename(root / "images")
    with pytest.raises(DataError, match="no image folder"):
        load_source(f"vehicleid:{root}#train")
