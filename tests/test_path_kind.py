"""What a path is, where another thing was expected; every hint is a command that exists."""

from pathlib import Path

import pytest
from click.testing import CliRunner
from helpers_artifact import write_artifact, write_images
from helpers_hints import Text, faults

from mtml_deploy import path_kind
from mtml_deploy.cli.main import main
from mtml_deploy.data.data_sets import DATA_SETS, NAMED
from mtml_deploy.data.source import OWN_SETS
from mtml_deploy.path_kind import data_set_form, what_it_is
from mtml_train.cli.export import export_main


def touch(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("last.safetensors", "config.json"), "a run of mtml-train"),
        (("best.safetensors",), "a run of mtml-train"),
        (("model.onnx", "manifest.json"), "an exported model"),
        (("gallery.json", "rows.sqlite"), "a gallery"),
        (("name_train.txt", "image_train"), "a data set: write veri:"),
        (("name_train.txt", "image_train", "train_track.txt"), "a data set: write cityflow:"),
        (("name_test.txt", "image_test"), "a data set: write veri:"),
        (("name_test.txt", "image_test", "query_label.xml"), "a data set: write cityflow:"),
        (("train_test_split", "image"), "a data set: write vehicleid:"),
        (("train_test_split", "images"), "a data set: write veriwild:"),
        (("bounding_box_train", "query", "bounding_box_test"), "a data set: write market1501:"),
        (("model.onnx",), ""),
        (("a.jpg",), ""),
    ],
)
def test_folders(tmp_path: Path, names: tuple[str, ...], expected: str) -> None:
    found = what_it_is(touch(tmp_path / "x", *names))
    assert found.startswith(f" (it is {expected}") if expected else found == ""


def test_files(tmp_path: Path) -> None:
    touch(tmp_path, "e.npz", "m.ONNX", "e.engine", "c.safetensors", "w.pth", "t.csv", "l.txt", "j")
    assert [what_it_is(path)[:24] for path in sorted(tmp_path.iterdir())] == [
        " (it is a checkpoint: ex", " (it is a TensorRT engin", " (it is an embeddings fi", "",
        " (it is a list of images", " (it is an ONNX model: g", " (it is a table: write c",
        " (it is a file of torch ",
    ]  # fmt: skip
    assert what_it_is(tmp_path / "absent.npz") == ""
    assert data_set_form(tmp_path) is None


@pytest.mark.parametrize("kind", [*path_kind._FOLDERS, *path_kind._FILES], ids=lambda k: k.marks[0])
def test_hints_name_commands_and_options_that_exist(kind) -> None:
    assert faults(Text("", kind.use.format(path="PATH"), runnable=True)) == []


def test_in_the_wrong_place(tmp_path: Path) -> None:
    write_artifact(tmp_path / "art")
    write_images(tmp_path / "images", 2)
    run = touch(tmp_path / "run", "last.safetensors", "config.json")
    gallery = touch(tmp_path / "gallery", "gallery.json")
    npz, table = touch(tmp_path / "f", "e.npz", "t.csv") / "e.npz", tmp_path / "f/t.csv"

    def said(*words: object) -> str:
        result = CliRunner().invoke(main, [str(word) for word in words])
        assert result.exit_code in (1, 2) and isinstance(result.exception, SystemExit)
        return result.stderr.splitlines()[-1]

    out = ("--images", tmp_path / "images", "--out", tmp_path / "out.npz")
    export = f"(it is a run of mtml-train: export it first: mtml-export {run} --out MODEL)"
    assert said("embed", run, *out).endswith(export)
    assert "(it is a gallery: search in it" in said("embed", gallery, *out)
    assert "(it is an embeddings file" in said("embed", npz, *out)
    out = ("--out", tmp_path / "out.npz")
    assert said("embed", tmp_path / "art", "--images", run, *out).endswith(export)
    assert "(it is an exported model" in said(
        "embed", tmp_path / "art", "--images", tmp_path / "art", *out
    )
    tracklets = ("tracklets", "--out", tmp_path / "t.npz")
    assert "is a folder, expected a file (it is a gallery" in said(*tracklets, gallery)
    assert "not an embeddings file (it is a table: write csv:" in said(*tracklets, table)
    assert "(it is a gallery: search in it" in said(
        "evaluate", "--query", gallery, "--gallery", gallery
    )
    assert "is a table; write csv:" in said("evaluate", "--query", table, "--gallery", table)
    for command in (("gallery", "info"), ("search", "--query", npz, "--gallery")):
        assert "(it is an exported model" in said(*command, tmp_path / "art")
    result = CliRunner().invoke(export_main, [str(npz), "--out", str(tmp_path / "art2")])
    assert "is no checkpoint (it is an embeddings file" in result.stderr
    result = CliRunner().invoke(export_main, [str(gallery), "--out", str(tmp_path / "art2")])
    assert "no checkpoint at" in result.stderr and "(it is a gallery" in result.stderr


def test_every_published_data_set_has_a_mark() -> None:
    forms = set(path_kind._DATA_SETS.values())
    assert forms == {*NAMED, "market1501"} and forms <= {*DATA_SETS, *OWN_SETS}
