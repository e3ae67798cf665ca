"""Folders, lists and single images without labels."""

from pathlib import Path

import pytest

from mtml_deploy.data.folder import load_folder, load_list, load_single
from mtml_deploy.data.records import ImageRecord
from mtml_deploy.errors import DataError


def test_folder_is_sorted_recursive_and_by_suffix(tmp_path: Path) -> None:
    images = ["b.JPG", "a/z.png", "a.webp", "c/d/0002_c001_1_0.bmp"]
    for name in [*images, "note.txt", "._b.jpg", ".x/e.jpg"]:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    found = load_folder(tmp_path)
    # plain text order of the whole relative name: "." sorts before "/"
    assert found.names() == ("a.webp", "a/z.png", "b.JPG", "c/d/0002_c001_1_0.bmp")
    # nothing is read from a name, even from one that looks like VeRi-776's
    assert all(r == ImageRecord(r.path) for r in found.records)
    assert found.notes == ("1 hidden image files were left out",)


def test_empty_and_missing_folders(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no image below .*\*\.jpg"):
        load_folder(tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        load_folder(tmp_path / "none")


def test_list_keeps_its_order(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("b.jpg\n\nsub/a b.jpg\n../up.jpg\n")
    images = load_list(path)
    assert images.names() == ("b.jpg", "sub/a b.jpg", "../up.jpg")
    assert images.records[2].path == tmp_path / "../up.jpg"


def test_list_of_absolute_paths(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("/data/x/b.jpg\n/data/x/y/a.jpg\n")
    assert load_list(path).root == Path("/data/x")
    assert load_list(path).names() == ("b.jpg", "y/a.jpg")
    path.write_text(f"{tmp_path}/b.jpg\n{tmp_path}/c/d.jpg\n")
    assert load_list(path).names() == ("b.jpg", "c/d.jpg")


def test_list_that_mixes_roots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("list.txt").write_text("b.jpg\n/data/x/a.jpg\n")
    with pytest.raises(DataError, match="mixes absolute paths with relative ones"):
        load_list(Path("list.txt"))


def test_bad_lists(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("\n")
    with pytest.raises(DataError, match="names no image"):
        load_list(path)
    path.write_text("a.jpg\nb.jpg\n./a.jpg\n")
    with pytest.raises(DataError, match=r"line 3: .* named on line 1 too"):
        load_list(path)
    path.write_bytes(b"a.jpg\n\xfe\n")
    with pytest.raises(DataError, match="line 2: byte 0xfe"):
        load_list(path)


def test_single() -> None:
    images = load_single(Path("x/a.jpg"))
    assert images.names() == ("a.jpg",) and images.records == (ImageRecord(Path("x/a.jpg")),)
