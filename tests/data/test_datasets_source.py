"""The grammar of sources."""

from dataclasses import replace
from pathlib import Path

import pytest
from helpers_datasets import VERI_QUERY, VERI_TEST, VERI_TRAIN, write_list, write_veri

from mtml_deploy.calibration.candidates import training_source
from mtml_deploy.data import source as source_module
from mtml_deploy.data.data_sets import DATA_SETS, Counts
from mtml_deploy.data.source import FORMS, OWN_SETS, Source, load_source, parse_source
from mtml_deploy.data.text_files import SPLITS
from mtml_deploy.errors import DataError
from mtml_train.data_check.check import check_data


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("veri:/d/VeRi", Source("veri", Path("/d/VeRi"), None)),
        ("veri:VeRi#gallery", Source("veri", Path("VeRi"), "gallery")),
        ("cityflow:C:\\data#train", Source("cityflow", Path("C:\\data"), "train")),
        ("veri:/d/a#b#query", Source("veri", Path("/d/a#b"), "query")),
        ("veri:~/VeRi", Source("veri", Path.home() / "VeRi", None)),
        ("csv:a#train", Source("csv", Path("a"), "train")),
        ("csv:a#b.csv", Source("csv", Path("a#b.csv"), None)),
        ("csv:me@home/a.csv", Source("csv", Path("me@home/a.csv"), None)),
        (
            "csv:me@home/a.csv@id=Plate No,camera=cam#query",
            Source(
                "csv",
                Path("me@home/a.csv"),
                "query",
                {"vehicle_id": "Plate No", "camera_id": "cam"},
            ),
        ),
        ("csv:~/a.csv@time=", Source("csv", Path.home() / "a.csv", None, {"time": ""})),
        ("folders:d#gallery", Source("folders", Path("d"), "gallery")),
        ("market1501:d", Source("market1501", Path("d"), None)),
        ("vehicleid-2400:d#query", Source("vehicleid-2400", Path("d"), "query")),
        ("a#train", Source("path", Path("a#train"), None)),
        ("photos", Source("path", Path("photos"), None)),
        ("odd:name.jpg", Source("path", Path("odd:name.jpg"), None)),
    ],
)
def test_parts(text: str, source: Source) -> None:
    assert parse_source(text) == source


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("veri:", "names no file or folder"),
        ("", "names no file or folder"),
        ("veri:#train", "names no file or folder"),
        ("veri:d#test", "the split 'test', expected one of train, query, gallery"),
        ("none", "no such file or folder: 'none'; check .*; a source is veri:DIR"),
        (
            "verri:d#train",
            "no such .*: 'verri:d#train', and no format is called 'verri'; did you "
            "mean veri:d#train",
        ),
        ("VeRi:d", "did you mean veri:d$"),
        ("CSV:t.csv", "did you mean csv:t.csv$"),
        ("x/a.jpg", "'x/a.jpg', because there is no folder x"),
        ("https://a.example/1.jpg", "is an address, expected a file; download it"),
        ("images/*.jpg", r"is a pattern, expected one file or folder; .* ls PATTERN > LIST\.txt"),
        ("C:\\VeRi", "is a path of Windows"),
        ("veri:none#train", "no such folder: none"),
        ("csv:none", "the table is missing"),
        ("csv:a@colour=red", "'colour=red' names no columns, expected what and name"),
        ("csv:a@id=x,vehicle_id=y", "names no columns"),
        ("csv:@id=x", "names no file or folder"),
        ("folders:none", "no such folder: none"),
        ("market1501:none", "no such folder: none"),
        ("vehicleid:none#query", "no such folder: none"),
        ("veriwild-5000:none#query", "no such folder: none"),
    ],
)
def test_what_is_no_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=words):
        load_source(text)


def test_split_in_the_text_goes_before_the_argument(tmp_path: Path) -> None:
    root = write_veri(tmp_path)
    assert len(load_source(f"veri:{root}#query", split="train").records) == len(VERI_QUERY)
    assert len(load_source(f"veri:{root}", split="train").records) == len(VERI_TRAIN)
    with pytest.raises(DataError, match=r"names no split; write veri:.*#train"):
        load_source(f"veri:{root}")
    with pytest.raises(ValueError, match="found 'test'"):
        load_source(f"veri:{root}", split="test")


def test_paths_by_what_they_are(tmp_path: Path) -> None:
    root = write_veri(tmp_path)
    assert len(load_source(str(root / "image_test")).records) == len(VERI_TEST)
    # a query split for a folder means nothing: a folder has none
    assert len(load_source(str(root / "image_test"), split="query").records) == len(VERI_TEST)
    image = root / "image_test" / VERI_TEST[0]
    assert load_source(str(image)).records[0].path == image
    listing = write_list(root / "some.TXT", [f"image_test/{VERI_TEST[1]}"])
    assert load_source(str(listing)).names() == (f"image_test/{VERI_TEST[1]}",)
    table = write_list(root / "some.csv", ["path,vehicle_id", f"image_test/{VERI_TEST[1]},5"])
    assert load_source(f"csv:{table}").records[0].vehicle_id == 5
    with pytest.raises(DataError, match="is a table; write csv:"):
        load_source(str(table))


def test_help_and_errors_tell_the_table() -> None:
    assert tuple(DATA_SETS) == (
        "veri", "cityflow",
        "vehicleid", "vehicleid-1600", "vehicleid-2400", "vehicleid-3200", "vehicleid-6000",
        "vehicleid-13164",
        "veriwild", "veriwild-5000", "veriwild-10000",
    )  # fmt: skip
    assert tuple(OWN_SETS) == ("csv", "folders", "market1501", "crops")
    assert FORMS == (
        "veri:DIR, cityflow:DIR, vehicleid:DIR, veriwild:DIR, csv:FILE[@id=COLUMN,...], "
        "folders:DIR, market1501:DIR, crops:FILE@frames=PLACE,format=FORMAT,..., all with #train, "
        "#query or #gallery where they tell parts, a folder, a LIST.txt or an image"
    )
    for data_set in DATA_SETS.values():
        assert set(data_set.published) <= set(data_set.files) <= set(SPLITS)


def test_a_row_of_the_table_is_a_data_set_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    veri = DATA_SETS["veri"]
    third = replace(veri, name="third", published={"query": Counts(images=len(VERI_QUERY))})
    monkeypatch.setattr(source_module, "DATA_SETS", {"third": third})
    root = write_veri(tmp_path / "third")
    assert parse_source(f"third:{root}#query") == Source("third", root, "query")
    assert len(load_source(f"third:{root}", split="train").records) == len(VERI_TRAIN)
    assert training_source(f"third:{root}#train") == f"third:{root}"
    check = check_data(f"third:{root}")
    assert [split.split for split in check.splits] == ["train", "query", "gallery"]
    assert [split.published for split in check.splits] == [None, Counts(len(VERI_QUERY)), None]
    # no data set of that name any more
    assert parse_source(f"veri:{root}").kind == "path"
