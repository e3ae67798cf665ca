"""Lists as people write them: what can mean one file is read, the rest is refused by its cause."""

from pathlib import Path

import pytest
from helpers_datasets import write_list, write_veri

from mtml_deploy.data.batches import decode_image
from mtml_deploy.data.folder import load_list
from mtml_deploy.data.source import load_source
from mtml_deploy.errors import DataError, ImageError
from mtml_train.data_check.check import check_data


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for name in ("image_test/x.jpg", "a b.jpg", "#1.jpg", "back\\slash.jpg", "noname"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("image_test\\x.jpg", "image_test/x.jpg"),
        ('"a b.jpg"', "a b.jpg"),
        ("'a b.jpg'", "a b.jpg"),
        ('"image_test\\x.jpg"', "image_test/x.jpg"),
        # names that look odd and are there
        ("#1.jpg", "#1.jpg"),
        ("back\\slash.jpg", "back\\slash.jpg"),
        ("noname", "noname"),
        # plain names are not looked for
        ("a;b.jpg", "a;b.jpg"),
        ("who, knows.jpg", "who, knows.jpg"),
    ],
)
def test_what_is_read(place: Path, line: str, expected: str) -> None:
    images = load_list(write_list(place / "list.txt", ["first.jpg", line]))
    assert images.names()[1] == expected
    assert images.records[1].path == place / expected


def test_what_was_changed_is_counted(place: Path) -> None:
    lines = ["# my list", '"a b.jpg"', "image_test\\x.jpg", "#", "#1.jpg"]
    assert load_list(write_list(place / "list.txt", lines)).notes == (
        "comment lines left out: 2",
        "paths with back slashes, read with /: 1",
        "paths in quotes, read without them: 1",
    )


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("image_test/x.jpg 3", r"line 2: 3 follows the path image_test/x\.jpg, .*csv:FILE"),
        ("image_test/x.jpg\t3", "line 2: 3 follows the path"),
        ("x.jpg;3;5", r"line 2: 3;5 follows the path x\.jpg"),
        ("x.jpg, 3", r"line 2: 3 follows the path x\.jpg"),
        ("image_test\\y.jpg", r"line 2: no file image_test\\y\.jpg, nor .*/image_test/y\.jpg"),
        ("C:\\data\\x.jpg", "line 2: .* is a path of Windows, expected one of this machine"),
        ("D:/data/x.jpg", "line 2: .* is a path of Windows"),
        ("http://a.example/x.jpg", "line 2: .* is an address, expected a file; download it"),
        ("image_test/*.jpg", "line 2: .* is a pattern"),
    ],
)
def test_what_is_refused_by_its_cause(place: Path, line: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        load_list(write_list(place / "list.txt", ["first.jpg", line]))


def test_a_path_of_the_home_folder(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(place))
    images = load_list(write_list(place / "list.txt", ["~/image_test/x.jpg"]))
    assert images.records[0].path == place / "image_test/x.jpg"


def missing(path: Path) -> str:
    with pytest.raises(ImageError) as caught:
        decode_image(path, height=2, width=2)
    return str(caught.value)


def test_a_missing_file_says_why(tmp_path: Path) -> None:
    (tmp_path / "Ab.JPG").touch()
    assert "no such file, but Ab.JPG, which differs in upper and lower case; rename" in missing(
        tmp_path / "aB.jpg"
    )
    (tmp_path / "c.jpeg").touch()  # a folder that was changed is listed again
    assert "but c.jpeg, which" in missing(tmp_path / "C.JPEG")
    assert "because there is no folder " in missing(tmp_path / "no/x.jpg")
    assert "holds a back slash: write folders with /" in missing(tmp_path / "no\\x.jpg")
    assert "no such file; check the list" in missing(tmp_path / "z.jpg")


def test_a_data_set_named_without_its_format(tmp_path: Path) -> None:
    root = write_veri(tmp_path / "VeRi")
    images = load_source(str(root))
    assert len(images.records) == 7
    assert images.notes[-1] == (
        f"these are images without labels; for those of the data set write veri:{root}, or one "
        f"part of it, veri:{root}#gallery"
    )
    with pytest.raises(DataError, match=f"as lists of data sets do; write veri:{root}$"):
        load_source(str(root / "name_train.txt"))
    # a part of it
    assert load_source(str(root / "image_test")).notes == (
        f"these are images without labels; for those of the data set write veri:{root}#gallery",
    )
    with pytest.raises(DataError, match=rf"did you mean veri:{root}#query$"):
        load_source(f"{root}#query")
    with pytest.raises(DataError, match=rf"did you mean veri:{root}#query$"):
        load_source(f"vehicleid:{root}#query")
    (root / "train_track.txt").touch()
    assert load_source(str(root)).notes[-1].endswith(f", cityflow:{root}#gallery")


def test_a_data_set_one_folder_deeper_or_higher(tmp_path: Path) -> None:
    root = write_veri(tmp_path / "VeRi/VeRi")
    for given in (root.parent, root / "image_test"):
        with pytest.raises(DataError, match=rf"give the data set's own folder: {root}$"):
            load_source(f"veri:{given}#train")
    with pytest.raises(DataError, match="check the name, or copy the data set again"):
        load_source(f"veri:{tmp_path}#train")


def test_check_data_tells_names_of_other_case(tmp_path: Path) -> None:
    root = write_veri(tmp_path)
    for path in sorted((root / "image_train").iterdir())[:2]:
        path.rename(path.with_suffix(".JPG"))
    check = check_data(f"veri:{root}")
    text = "\n".join(note for split in check.splits for note in split.notes)
    assert "2 of the missing images are there under names that differ in upper and lower" in text


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("train.lst", r"nor a list, which ends in \.txt; rename a list to LIST\.txt"),
        ("e.npz", "it is an embeddings file: give it to rank"),
        ("model.onnx", "it is an ONNX model: give the folder that mtml-export wrote"),
        ("w.pth", "it is a file of torch weights: train with it: mtml-train --weights"),
    ],
)
def test_a_file_of_another_kind(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / name).write_text("a.jpg\n")
    with pytest.raises(DataError, match=f"is neither an image, by its content, .*{words}"):
        load_source(str(tmp_path / name))


def test_tables_read_paths_as_lists_do(place: Path) -> None:
    table = place / "t.csv"
    table.write_text("path,vehicle_id\nimage_test\\x.jpg,1\n\"'a b.jpg'\",2\n")
    images = load_source(f"csv:{table}")
    assert images.names() == ("image_test/x.jpg", "a b.jpg")
    assert images.notes[:2] == (
        "paths with back slashes, read with /: 1",
        "paths in quotes, read without them: 1",
    )
    table.write_text("path,vehicle_id\nC:\\x.jpg,1\n")
    with pytest.raises(DataError, match=r"line 2: .* is a path of Windows"):
        load_source(f"csv:{table}")


def test_a_line_that_no_file_can_be_named_by(tmp_path: Path) -> None:
    long = "x" * 5000
    listing = write_list(tmp_path / "list.txt", [f"# {long}", "a.jpg", f'"{long}.jpg"'])
    assert len(load_list(listing).records) == 2
    with pytest.raises(DataError, match="no such file or folder"):
        load_source(f"{long},{long}")
