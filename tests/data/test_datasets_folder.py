"""Folders, lists and single images without labels."""

import os
from pathlib import Path

import pytest

from mtml_deploy.data.folder import load_folder, load_list, load_single
from mtml_deploy.data.formats import image_suffixes
from mtml_deploy.data.records import ImageRecord
from mtml_deploy.errors import DataError


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_folder_is_sorted_recursive_and_by_suffix(tmp_path: Path) -> None:
    touch(tmp_path, "b.JPG", "a/z.png", "a.webp", "c/d/0002_c001_1_0.bmp")
    found = load_folder(tmp_path)
    # plain text order of the whole relative name: "." sorts before "/"
    assert found.names() == ("a.webp", "a/z.png", "b.JPG", "c/d/0002_c001_1_0.bmp")
    # nothing is read from a name, even from one that looks like VeRi-776's
    assert all(r == ImageRecord(r.path) for r in found.records)
    assert found.notes == ()


def test_folder_says_what_it_leaves_out(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "n.txt", "sub/m.TXT", "list.json", "._a.jpg", ".x/e.jpg", "README")
    (tmp_path / "gone.jpg").symlink_to("nowhere.jpg")
    (tmp_path / "itself.jpg").symlink_to("itself.jpg")
    found = load_folder(tmp_path)
    assert found.names() == ("a.jpg",)
    assert found.notes == (
        "left out: 4 files (.txt 2, .json 1, without suffix 1), 2 hidden, 2 broken links",
    )
    touch(tmp_path, *(f"b.k{number}" for number in range(6)))
    assert (
        "10 files (.txt 2, .json 1, .k0 1, .k1 1, .k2 1, others 4)"
        in load_folder(tmp_path).notes[0]
    )


def test_every_suffix_of_a_format_that_is_read(tmp_path: Path) -> None:
    names = sorted(f"a{suffix}" for suffix in image_suffixes())
    assert {"a.jpg", "a.jfif", "a.jpe", "a.tif", "a.gif", "a.avif", "a.jp2"} <= set(names)
    touch(tmp_path, *names)
    found = load_folder(tmp_path)
    assert found.names() == tuple(names) and found.notes == ()


def test_linked_folders_are_read_once(tmp_path: Path) -> None:
    touch(tmp_path, "far/x/1.jpg", "root/z/2.jpg", "root/3.jpg")
    root = tmp_path / "root"
    (root / "a").symlink_to("z")  # sorts before the folder that it leads to
    (root / "b").symlink_to("../far", target_is_directory=True)
    (root / "c").symlink_to(tmp_path / "far")
    (root / "z/up").symlink_to("..")  # a loop
    (root / "4.jpg").symlink_to("../far/x/1.jpg")
    (root / "void").symlink_to("../void")
    found = load_folder(root)
    assert found.names() == ("3.jpg", "4.jpg", "b/x/1.jpg", "z/2.jpg")
    assert found.notes == ("left out: 1 broken link, 3 links to a folder that was read already",)
    # a folder of nothing but a link, and one that is itself reached through a link
    (tmp_path / "only").mkdir()
    (tmp_path / "only/link").symlink_to("../far")
    (tmp_path / "way").symlink_to("only")
    assert load_folder(tmp_path / "way").names() == ("link/x/1.jpg",)


def test_empty_and_missing_folders(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no image below .*, expected JPEG, .*; check the folder"):
        load_folder(tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        load_folder(tmp_path / "none")
    touch(tmp_path, "a.heic", ".b.jpg")
    with pytest.raises(
        DataError, match=r"no image below .*, left out: 1 file \(\.heic 1\), 1 hidden, expected"
    ):
        load_folder(tmp_path)


def test_a_folder_that_may_not_be_read(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "closed/b.jpg")
    (tmp_path / "closed").chmod(0)
    try:
        if os.access(tmp_path / "closed", os.R_OK):
            pytest.skip("this user may read everything")
        with pytest.raises(DataError, match=r"cannot read a folder .*closed.*; give yourself"):
            load_folder(tmp_path)
    finally:
        (tmp_path / "closed").chmod(0o700)


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
