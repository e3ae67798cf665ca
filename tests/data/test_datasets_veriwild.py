"""VERI-Wild."""

from pathlib import Path

import pytest
from helpers_datasets import write_list, write_picture

from mtml_deploy.data.clock import read_time
from mtml_deploy.data.records import ImageRecord
from mtml_deploy.data.source import load_source
from mtml_deploy.errors import DataError
from mtml_train.data_check.check import check_data

INFO = [
    "id/image;Camera ID;Time;Model;Type;Color",
    "00001/000001;159;2018-03-17 09:57:56;Toyota-Corolla;Sedan; black",
    "00001/000002;97;2018-03-17 10:00:00;Toyota-Corolla;Sedan; black",
    "30672/300001;5;;A;B;C",
    "30672/300002;6;noon;A;B;C",
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The first release: lists of names without suffix."""
    for shade, name in enumerate(("00001/000001", "00001/000002", "30672/300001", "30672/300002")):
        write_picture(tmp_path / "images" / f"{name}.jpg", shade=40 * shade)
    lists = tmp_path / "train_test_split"
    write_list(lists / "train_list.txt", ["00001/000002", "00001/000001"])
    write_list(lists / "test_3000_query.txt", ["30672/300001"])
    write_list(lists / "test_3000.txt", ["30672/300002"])
    write_list(lists / "vehicle_info.txt", INFO)
    return tmp_path


def test_lists_and_what_is_known(root: Path) -> None:
    images = root / "images"
    train = load_source(f"veriwild:{root}#train")
    assert train.records == (
        ImageRecord(images / "00001" / "000002.jpg", 1, 97,
                    time_us=read_time("2018-03-17T10:00:00+00:00")),
        ImageRecord(images / "00001" / "000001.jpg", 1, 159,
                    time_us=read_time("2018-03-17T09:57:56+00:00")),
    )  # fmt: skip
    assert train.notes == ()
    query = load_source(f"veriwild:{root}", split="query")
    assert query.records == (ImageRecord(images / "30672" / "300001.jpg", 30672, 5),)
    gallery = load_source(f"veriwild:{root}#gallery")
    assert gallery.records == (ImageRecord(images / "30672" / "300002.jpg", 30672, 6),)
    assert gallery.notes == ("vehicle_info.txt: 1 times cannot be read and are not known",)
    check = check_data(f"veriwild:{root}", threads=1)
    assert check.complete and [split.found.images for split in check.splits] == [2, 1, 1]


def test_the_later_release(root: Path) -> None:
    lists = root / "train_test_split"
    for path in lists.iterdir():
        path.unlink()
    # the class, not the vehicle, stands behind the name of a training image
    write_list(lists / "train_list_start0.txt", ["00001/000001.jpg 0 159"])
    write_list(lists / "test_5000_id_query.txt", ["30672/300001.jpg 30672 5"])
    write_list(lists / "test_5000_id.txt", ["30672/300002.jpg 30672 6"])
    (image,) = load_source(f"veriwild-5000:{root}#train").records
    assert (image.vehicle_id, image.camera_id, image.time_us) == (1, 159, None)
    query = load_source(f"veriwild-5000:{root}#query")
    assert (query.records[0].vehicle_id, query.records[0].camera_id) == (30672, 5)
    assert query.notes == (
        "vehicle_info.txt: absent, cameras come from test_5000_id_query.txt, and no time is known",
    )
    with pytest.raises(DataError, match=r"no file .*test_3000\.txt and no test_3000_id\.txt"):
        load_source(f"veriwild:{root}#gallery")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("000001.jpg", "line 1: '000001.jpg' .*expected a vehicle and its image"),
        ("1/../2", "line 1: '1/../2'"),
        ("x/1", "line 1: 'x/1'"),
        ("1/2 3 x", "line 1: '1/2 3 x'"),
    ],
)
def test_faults_name_the_line(root: Path, line: str, words: str) -> None:
    write_list(root / "train_test_split" / "test_3000.txt", [line])
    with pytest.raises(DataError, match=words):
        load_source(f"veriwild:{root}#gallery")


def test_broken_information(root: Path) -> None:
    write_list(root / "train_test_split" / "vehicle_info.txt", [*INFO, "30672/300003"])
    with pytest.raises(DataError, match=r"vehicle_info\.txt line 6: '30672/300003', expected"):
        load_source(f"veriwild:{root}#gallery")
