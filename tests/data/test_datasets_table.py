"""CSV tables."""

from pathlib import Path

import pytest

from mtml_deploy.data.csv_table import load_table, table_text
from mtml_deploy.data.records import ImageRecord
from mtml_deploy.errors import DataError


def write(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "set.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_any_column_order_and_empty_cells(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "\ufeffcamera_id, path,orientation,vehicle_id,tracklet_id\r\n"
        '3,"a, b.jpg",7,12,0\r\n\r\n,sub/c.jpg,,,\r\n-1,d.jpg,-1,0,5\r\n',
    )
    images = load_table(path)
    assert images.records == (
        ImageRecord(tmp_path / "a, b.jpg", 12, 3, 7, 0),
        ImageRecord(tmp_path / "sub" / "c.jpg"),
        ImageRecord(tmp_path / "d.jpg", 0, -1, -1, 5),
    )
    assert images.names() == ("a, b.jpg", "sub/c.jpg", "d.jpg")
    assert images.root == tmp_path and images.source == f"csv:{path}"
    assert images.notes == (
        "1 of 3 images have no vehicle id",
        "2 of 3 images have no camera id",
        "2 of 3 images have no orientation",
    )


def test_only_the_path_is_needed(tmp_path: Path) -> None:
    images = load_table(write(tmp_path, "path\na.jpg\n"))
    assert images.records == (ImageRecord(tmp_path / "a.jpg"),)


def test_absolute_paths_elsewhere(tmp_path: Path) -> None:
    path = write(tmp_path, "path\n/data/x/a.jpg\n/data/y/b.jpg\n")
    images = load_table(path)
    assert images.root == Path("/data") and images.names() == ("x/a.jpg", "y/b.jpg")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has no rows"),
        ("path,vehicle_id\n", "has no rows"),
        ("name\na.jpg\n", "line 1: the header is 'name', expected path"),
        ("path,colour\na.jpg,1\n", "line 1: the header"),
        ("path,path\na.jpg,b.jpg\n", "line 1: the header"),
        ("a.jpg,1,2,3\nb.jpg,1,2,3\n", "line 1: the header"),
        ("path,vehicle_id\na.jpg,1\nb.jpg,1,2\n", "line 3: 3 cells, expected 2"),
        ("path,vehicle_id\na.jpg,red\n", "line 2: vehicle_id 'red' is not an integer; ids are int"),
        ("path,camera_id\na.jpg,1.0\n", "line 2: camera_id '1.0' is not an integer"),
        ("path,vehicle_id\na.jpg,-2\n", "line 2: vehicle_id -2 is outside"),
        ("path,orientation\na.jpg,8\n", r"line 2: orientation is -1\.\.7, found 8"),
        ("path,vehicle_id\n,1\n", "line 2: the path is empty"),
        ("path\na.jpg\n./a.jpg\n", r"line 3: a\.jpg is named on line 2 too"),
        ('path\n"a.jpg\n', "not CSV"),
        (b"path\na.jpg\n\xff.jpg\n", "line 3: byte 0xff is not UTF-8"),
    ],
)
def test_faults_name_the_line(tmp_path: Path, text: str | bytes, words: str) -> None:
    with pytest.raises(DataError, match=words):
        load_table(write(tmp_path, text))


def test_no_such_table(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the table is missing"):
        load_table(tmp_path / "none.csv")


def test_written_tables_are_read_back(tmp_path: Path) -> None:
    records = (
        ImageRecord(tmp_path / 'a, "b".jpg', vehicle_id=0, camera_id=3, tracklet_id=12),
        ImageRecord(tmp_path / "c.jpg", orientation=7),
        ImageRecord(tmp_path / "\u8eca.jpg"),
    )
    (tmp_path / "elsewhere").mkdir()
    table = tmp_path / "elsewhere" / "t.csv"
    table.write_text(table_text(records), encoding="utf-8")
    assert load_table(table).records == records
    assert table.read_text(encoding="utf-8").splitlines()[2].endswith("c.jpg,,,7,")
