"""Strict text files."""

from pathlib import Path

import pytest

from mtml_deploy.data.text_files import parse_id, read_names, read_text, shortened
from mtml_deploy.errors import DataError


def test_names_in_order_whatever_the_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "name_test.txt"
    path.write_bytes("\ufeffb.jpg\r\n\r\n  a b.jpg \nb.jpg".encode())
    assert read_names(path, what="the list") == ("b.jpg", "a b.jpg", "b.jpg")


def test_bytes_that_are_not_utf8_name_the_line(tmp_path: Path) -> None:
    path = tmp_path / "name_test.txt"
    path.write_bytes(b"a.jpg\nb.jpg\ncaf\xe9.jpg\n")
    with pytest.raises(DataError, match=r"name_test\.txt line 3: byte 0xe9 is not UTF-8"):
        read_names(path, what="the list")


@pytest.mark.parametrize("line", ["image_test/a.jpg", "..\\a.jpg", "..", "a\0.jpg"])
def test_names_with_folders_are_refused(tmp_path: Path, line: str) -> None:
    path = tmp_path / "name_test.txt"
    path.write_text(f"a.jpg\n{line}\n")
    with pytest.raises(DataError, match=r"line 2: .* is not a bare file name"):
        read_names(path, what="the list")


def test_missing_empty_and_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"the list of queries is missing: no file .*none\.txt"):
        read_text(tmp_path / "none.txt", what="the list of queries")
    with pytest.raises(DataError, match="cannot be read"):
        read_text(tmp_path, what="the list")
    (tmp_path / "blank.txt").write_text("\n \n")
    with pytest.raises(DataError, match="is empty"):
        read_names(tmp_path / "blank.txt", what="the list")


@pytest.mark.parametrize(
    ("text", "number"), [("0", 0), ("0012", 12), ("-1", -1), ("2147483647", 2**31 - 1)]
)
def test_ids(text: str, number: int) -> None:
    assert parse_id(text) == number


@pytest.mark.parametrize(
    "text", ["", "x", "1.0", "-2", "+1", "1_0", " 1", "٣", "2147483648", "1e3", "--1"]
)
def test_what_is_no_id(text: str) -> None:
    with pytest.raises(ValueError, match=r"not an integer|outside"):
        parse_id(text)


def test_shortened() -> None:
    assert shortened(["a", "b"]) == "a, b"
    assert shortened(["a", "b", "c", "d", "e"]) == "a, b, c and 2 more"
