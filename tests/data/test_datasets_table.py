"""CSV tables."""

from pathlib import Path

import pytest

from mtml_deploy.data.csv_table import load_table, splits_of, table_text
from mtml_deploy.data.ids import NamedId, shown_id
from mtml_deploy.data.records import ImageRecord
from mtml_deploy.data.source import load_source
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
        ("# only a comment\n", "has no rows"),
        ("name\na.jpg\n", "line 1: the header is 'name', expected path .*csv:FILE@path=name"),
        ("name|id\na.jpg|1\n", r"line 1: the header is 'name\|id', expected path"),
        ("a;b\nx;1\n", r"the header is 'a', 'b' \(between semicolons\), expected path"),
        ("path,path\na.jpg,b.jpg\n", "line 1: the header has the columns path, path, each"),
        ("path,pid,label\na,1,1\n", "columns pid, label, each of which can be the vehicle_id"),
        ("a.jpg,1,2,3\nb.jpg,1,2,3\n", "line 1: 'a.jpg,1,2,3' names an image, expected the names"),
        ("path,x_1,y_1,x_2,y_2\na.jpg,0,0,5,5\n", "x_1, y_1, x_2, y_2 are boxes"),
        ("path,vehicle_id\na.jpg,1\nb.jpg,1,2\n", "line 3: 3 cells, expected 2"),
        ("path,vehicle_id\na.jpg,-2\n", "line 2: vehicle_id -2 is below -1"),
        ("path,orientation\na.jpg,8\n", r"line 2: orientation is -1\.\.7, found 8"),
        ("path,orientation\na.jpg,up\n", r"line 2: orientation is -1\.\.7, found up"),
        ("path,time\na.jpg,noon\n", "line 2: 'noon' is not a time, expected ISO 8601"),
        ("path,vehicle_id\n,1\n", "line 2: the path is empty"),
        ("path\nsub\\a.jpg\n", r"line 2: no file sub\\a\.jpg, nor .*sub/a\.jpg"),
        ("path\na.jpg\n./a.jpg\n", r"line 3: a\.jpg is named on line 2 too"),
        ("path,split\na.jpg,fold1\n", "line 2: split 'fold1' is none, expected train, query"),
        ("path,is_query\na.jpg,maybe\n", "line 2: is_query 'maybe' is neither yes nor no"),
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
        ImageRecord(tmp_path / "\u8eca.jpg", NamedId("AB, 1"), NamedId("north gate")),
    )
    (tmp_path / "elsewhere").mkdir()
    table = tmp_path / "elsewhere" / "t.csv"
    table.write_text(table_text(records), encoding="utf-8")
    assert load_table(table).records == records
    assert table.read_text(encoding="utf-8").splitlines()[2].endswith("c.jpg,,,7,")


def test_texts_and_numbers_as_ids(tmp_path: Path) -> None:
    images = load_table(
        write(tmp_path, "path,vehicle_id,camera_id,tracklet_id\n"
              "a.jpg,AB-41CD,c001,t1\nb.jpg,41.0,41,nan\nc.jpg,8589934592,,\nd.jpg, AB-41CD ,,\n")
    )  # fmt: skip
    ids = [(shown_id(r.vehicle_id), shown_id(r.camera_id), shown_id(r.tracklet_id))
           for r in images.records]  # fmt: skip
    assert ids == [
        ("AB-41CD", "c001", "t1"), (41, 41, -1), ("8589934592", -1, -1), ("AB-41CD", -1, -1)
    ]  # fmt: skip
    assert images.records[0].vehicle_id == images.records[3].vehicle_id == NamedId("AB-41CD")


@pytest.mark.parametrize(
    "text",
    [
        "path,vehicle_id,camera_id\na.jpg,5,2\n",
        "path;vehicle_id;camera_id\na.jpg;5;2\n",
        "path\tvehicle_id\tcamera_id\na.jpg\t5,0\t2\n",
        "PATH,Vehicle ID,Camera-Id\na.jpg,5,2\n",
        "image_path,pid,camid\na.jpg,5,2\n",
        "path,label,cam\na.jpg,5,2\n",
        "# made by a program\n\npath,vehicle_id,camera_id\n# a remark\na.jpg,5,2\n",
        "path,vehicle_id,camera_id\ra.jpg,5,2\r",
    ],
)
def test_every_way_to_write_one_table(tmp_path: Path, text: str) -> None:
    images = load_table(write(tmp_path, text))
    assert images.records == (ImageRecord(tmp_path / "a.jpg", 5, 2),)
    assert images.notes == ("1 of 1 images have no orientation",)


def test_further_columns_are_named_once(tmp_path: Path) -> None:
    text = ",path,colour,vehicle_id,Speed km/h\n0,a.jpg,red,5,50\n1,b.jpg,red,5,51\n"
    images = load_table(write(tmp_path, text))
    assert [r.vehicle_id for r in images.records] == [5, 5]
    assert images.notes[0] == "columns that are not used: (no name), colour, Speed km/h"


def test_the_user_names_columns(tmp_path: Path) -> None:
    path = write(tmp_path, "bild,Plate No,vehicle_id,split\na.jpg,AB-1,7,fold1\n")
    images = load_source(f"csv:{path}@path=bild,id=Plate No,split=")
    assert images.records == (ImageRecord(tmp_path / "a.jpg", NamedId("AB-1")),)
    assert images.source == f"csv:{path}@path=bild,vehicle_id=Plate No,split="
    assert load_source(images.source).records == images.records
    assert images.notes[0] == "columns that are not used: vehicle_id, split"
    with pytest.raises(DataError, match="no column is called 'plate', expected one of bild, Plate"):
        load_source(f"csv:{path}@path=bild,id=plate,split=")


def test_a_split_column_makes_parts(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "path,vehicle_id,split\na.jpg,1,train\nb.jpg,2,Query\nb.jpg,2,gallery\nc.jpg,2,gallery\n"
        "d.jpg,3,test\ne.jpg,4,\n",
    )

    def names(text: str, split: str = "") -> tuple[str, ...]:
        return load_source(text, split=split).names()

    assert names(f"csv:{path}#train") == names(f"csv:{path}", "train") == ("a.jpg",)
    assert names(f"csv:{path}#query", "train") == ("b.jpg", "d.jpg")
    assert names(f"csv:{path}", "gallery") == ("b.jpg", "c.jpg", "d.jpg")
    assert names(f"csv:{path}") == ("a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg")
    assert splits_of(path) == ("train", "query", "gallery")
    assert load_source(f"csv:{path}#query").source == f"csv:{path}#query"


def test_flags_make_parts_of_what_is_tested(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "label,path,split,is_query,is_gallery\n1,a.jpg,train,,\n2,b.jpg,validation,True,False\n"
        "2,c.jpg,validation,0,1\n2,d.jpg,validation,1.0,1.0\n",
    )
    found = {split: load_source(f"csv:{path}#{split}").names() for split in splits_of(path)}
    assert found == {
        "train": ("a.jpg",), "query": ("b.jpg", "d.jpg"), "gallery": ("c.jpg", "d.jpg")
    }  # fmt: skip


def test_parts_that_a_table_does_not_have(tmp_path: Path) -> None:
    path = write(tmp_path, "path,split\na.jpg,train\nb.jpg,train\n")
    with pytest.raises(DataError, match="no rows of the part query, it has 2 of train"):
        load_source(f"csv:{path}#query")
    path = write(tmp_path, "path\na.jpg\n")
    assert load_source(f"csv:{path}", split="query").names() == ("a.jpg",)
    with pytest.raises(DataError, match="does not tell which images are its query"):
        load_source(f"csv:{path}#query")
    path = write(tmp_path, "path,split\na.jpg,train\na.jpg,train\n")
    with pytest.raises(DataError, match="named on line 2 too"):
        load_source(f"csv:{path}")


def test_times_and_named_orientations(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "path,timestamp,orientation\na.jpg,1970-01-01T00:00:01.5+00:00,Left_Front\n"
        "b.jpg,2.25,3.0\nc.jpg,,\n",
    )
    images = load_table(path)
    assert [r.time_us for r in images.records] == [1_500_000, 2_250_000, None]
    assert [r.orientation for r in images.records] == [3, 3, -1]
