"""track2.txt: its text, every fault with its line, and reading it back."""

from pathlib import Path

import numpy as np
import pytest

from mtml_deploy.errors import DataError
from mtml_deploy.evaluation.aicity.track2_file import (
    find_faults,
    read_submission,
    require_official_names,
    submission_text,
)
from mtml_deploy.search.rank import Ranking

GALLERY = 120


def lines(count: int = 3, *, start: int = 1) -> list[str]:
    """Line n holds 100 numbers from `start` + n on."""
    return [" ".join(str(start + n + i) for i in range(100)) for n in range(count)]


def write(path: Path, text: list[str], *, end: str = "\n") -> Path:
    path.write_text("\n".join(text) + end)
    return path


def faults(path: Path, queries: int = 3) -> list[str]:
    return list(find_faults(path, queries=queries, gallery=GALLERY))


def lists(rows: np.ndarray) -> Ranking:
    return Ranking(rows.astype(np.int32), np.zeros(rows.shape, dtype=np.float32))


def test_text_is_read_back(tmp_path: Path) -> None:
    rows = np.array([np.random.default_rng(n).permutation(GALLERY)[:100] for n in range(4)])
    text = submission_text(lists(rows))
    assert text.split("\n")[2].split(" ") == [str(row + 1) for row in rows[2]]
    assert text.endswith("\n") and text.count("\n") == 4
    (tmp_path / "track2.txt").write_text(text)
    found = read_submission(tmp_path / "track2.txt", queries=4, gallery=GALLERY)
    assert found.rows.dtype == np.int32
    np.testing.assert_array_equal(found.rows, rows)
    np.testing.assert_array_equal(found.distances[3], np.arange(1, 101))


def test_rows_that_are_no_whole_list() -> None:
    with pytest.raises(ValueError, match=r"found \[2, 99\]"):
        submission_text(lists(np.zeros((2, 99))))
    with pytest.raises(ValueError, match="fewer places"):
        submission_text(lists(np.full((1, 100), -1)))


@pytest.mark.parametrize("end", ["\n", ""])
def test_good_file(tmp_path: Path, end: str) -> None:
    # the last line holds 21 to 120, the last image of the gallery
    path = write(tmp_path / "t.txt", lines(start=19), end=end)
    assert faults(path) == []


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("", "empty, expected 100 numbers"),
        (lines(1)[0].rsplit(" ", 1)[0], "99 numbers, expected 100"),
        (lines(1)[0] + " 119", "101 numbers, expected 100"),
        (lines(1)[0].replace("50", "121"), "121 is not an image, expected numbers from 1 to 120"),
        (lines(1)[0].replace("50 ", "51 "), "51 is there 2 times (places 50 and 51), expected "
                                            "each image at most once"),
        (lines(1)[0].replace(" 50 ", " x50 "), "'x50' is not a number from 1 to 120"),
        (lines(1)[0].replace(" 50 ", " -5 "), "'-5' is not a number from 1 to 120"),
        (lines(1)[0].replace(" 50 ", " 5_0 "), "'5_0' is not a number from 1 to 120"),
        (lines(1)[0].replace(" 50 ", " 5٠ "), "'5٠' is not a number from 1 to 120"),
        (lines(1)[0].replace(" 50 ", " 99999999999999 "), "'99999999999999' is not a number from "
                                                          "1 to 120"),
        (lines(1)[0].replace(" ", ", "), "'1,' is not a number from 1 to 120"),
        (lines(1)[0].replace(" 50 ", "\t50 "), "white space other than single spaces between the "
                                               "numbers; use those alone"),
        (lines(1)[0] + " ", "white space other than single spaces between the numbers; use those "
                            "alone"),
        (lines(1)[0] + "\r", "white space other than single spaces between the numbers; use those "
                             "alone"),
    ],
)  # fmt: skip
def test_fault_of_a_line(tmp_path: Path, line: str, text: str) -> None:
    good = lines()
    path = tmp_path / "t.txt"
    path.write_bytes(f"{good[0]}\n{line}\n{good[2]}\n".encode())
    found = faults(path)
    assert found == [f"line 2: {text}"]
    with pytest.raises(DataError) as error:
        read_submission(path, queries=3, gallery=GALLERY)
    assert f"line 2: {text}" in str(error.value)
    assert "aicity check" in str(error.value)


def test_missing_lines(tmp_path: Path) -> None:
    path = write(tmp_path / "t.txt", lines(2))
    expected = "the file has 2 lines, expected 3: one for each query, in the order of the queries"
    assert faults(path) == [expected]
    assert faults(write(path, [*lines(3), ""]))[0].startswith("the file has 4 lines, expected 3")
    assert faults(write(path, [], end=""))[0].startswith("the file has 0 lines")


def test_numbers_from_zero_are_suspected_once(tmp_path: Path) -> None:
    path = write(tmp_path / "t.txt", lines(start=0))
    assert faults(path) == [
        "the numbers are 0 to 101, expected 1 to 120: they seem to count from 0; add 1 to each"
    ]
    # a file that also holds the last number does not count from 0
    shown = faults(write(path, [*lines(2), " ".join(map(str, [0, *range(22, 121)]))]))
    assert shown == ["line 3: 0 is not an image, expected numbers from 1 to 120"]


def test_every_fault_is_told(tmp_path: Path) -> None:
    path = write(tmp_path / "t.txt", ["1 2 2", "", "a"])
    assert [fault.split(":")[0] for fault in faults(path)] == [
        "line 1", "line 1", "line 2", "line 3", "line 3",
    ]  # fmt: skip
    with pytest.raises(DataError, match=r"\(and 4 more faults\)"):
        read_submission(path, queries=3, gallery=GALLERY)


def test_bytes_that_are_no_text_and_no_file(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_bytes(b"\xff\xfe1")
    assert any("is not a number" in fault for fault in faults(tmp_path / "t.txt", 1))
    with pytest.raises(DataError, match="no file"):
        faults(tmp_path / "none.txt")


def test_official_names() -> None:
    require_official_names(
        ["image_test/000001.jpg", "image_test/000002.jpg"], role="gallery", source="set"
    )
    for names, number in (
        (["000001.jpg", "000003.jpg"], 2),  # one was left out
        (["000002.jpg", "000001.jpg"], 1),  # another order
        (["0001_c001_00000010_0.jpg"], 1),  # another data set
        (["-1.jpg"], 1),
    ):
        with pytest.raises(DataError, match=rf"image {number} of the gallery \(set\).*--local"):
            require_official_names(names, role="gallery", source="set")
