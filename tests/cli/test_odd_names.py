"""Names that files may have, from the folder to every file that is written, and back."""

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner
from helpers_artifact import write_artifact, write_images

import mtml_deploy as md
from mtml_deploy.cli.main import main

NAMES = (
    "a\nb.jpg", "<script>alert(1)<.jpg", "-dash.jpg", "--out.jpg", "com,ma.jpg", "=1+2.jpg",
    "tab\tx.jpg", "q\"uo'te.jpg", "\x1b[31mred.jpg", " lead.jpg", "trail .jpg", "x;y.jpg",
    "hash#tag.jpg", "über 車.jpg", "\u202ertl.jpg", "back\\slash.jpg", "per%20cent.jpg",
)  # fmt: skip


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """An artifact, and images under odd names."""
    write_artifact(tmp_path / "art")
    for path, name in zip(write_images(tmp_path / "images", len(NAMES)), NAMES, strict=True):
        path.rename(path.with_name(name))
    return tmp_path


def ok(*words: object) -> str:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return result.output


def test_from_a_folder_to_every_file_and_back(place: Path) -> None:
    file, lists, page = (place / name for name in ("e.npz", "r.json", "r.html"))
    ok("embed", place / "art", "--images", place / "images", "--out", file)
    assert md.Embeddings.load(file).names == tuple(sorted(NAMES))
    words = ("--query", file, "--gallery", file, "--top-k", 1)
    text = ok("rank", *words, "--json", lists, "--html", page)
    assert "\x1b" not in text and "\u202e" not in text
    queries = json.loads(lists.read_text())["queries"]
    assert [query["name"] for query in queries] == sorted(NAMES)
    assert [query["ranks"][0]["name"] for query in queries] == sorted(NAMES)
    assert "<script>alert(1)" not in page.read_text() and "&lt;script&gt;" in page.read_text()

    gallery, back = place / "g", place / "back.npz"
    ok("gallery", "create", gallery, place / "art")
    ok("gallery", "add", gallery, place / "art", "--images", place / "images")
    ok("gallery", "export", gallery, "--out", back)
    exported = md.Embeddings.load(back)
    assert exported.names == tuple(sorted(NAMES)) and Path(exported.root) == place / "images"


def test_a_table_names_them_all(place: Path) -> None:
    def cell(name: str) -> str:
        return '"' + f"images/{name}".replace('"', '""') + '"'

    table = place / "t.csv"
    table.write_text("path,vehicle_id\n" + "".join(f"{cell(name)},7\n" for name in NAMES))
    out = place / "e.npz"
    ok("embed", place / "art", "--images", f"csv:{table}", "--out", out)
    assert md.Embeddings.load(out).names == tuple(f"images/{name}" for name in NAMES)


def test_a_list_names_those_of_one_line(place: Path) -> None:
    names = [name for name in NAMES if name.strip() == name and "\n" not in name]
    assert len(names) == len(NAMES) - 2
    listing = place / "images" / "list.txt"
    listing.write_text("".join(f"{name}\n" for name in names))
    assert md.load_images(listing).names() == tuple(names)


@pytest.mark.parametrize("name", ["-dash.jpg", "--out.jpg", "\u202ertl.jpg"])
def test_one_image_by_its_name(place: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place / "images")
    assert "1 images" in ok("embed", place / "art", f"--images={name}", "--out", place / "e.npz")


def test_a_name_that_is_not_utf8_is_left_out_by_name(place: Path) -> None:
    odd = Path(os.fsdecode(os.fsencode(place / "images") + b"/caf\xe9.jpg"))
    try:
        (place / "images" / "-dash.jpg").rename(odd)
    except OSError:
        pytest.skip("this file system refuses names that are not UTF-8")
    words = ("embed", place / "art", "--images", place / "images", "--skip-bad", "--out")
    assert "caf\\xe9.jpg: file name is not UTF-8; rename the file" in ok(*words, place / "e.npz")
    assert len(md.Embeddings.load(place / "e.npz")) == len(NAMES) - 1
