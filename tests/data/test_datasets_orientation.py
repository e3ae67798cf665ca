"""Orientation label files: small ones, and the real one of VeRi-776's test split."""

from collections import Counter
from pathlib import Path

import pytest
from helpers_datasets import REAL, keypoint_line, write_list

from mtml_deploy.data.labels.orientation import read_orientations
from mtml_deploy.errors import DataError

A, B = "0001_c001_00000010_0.jpg", "0001_c002_00000020_0.jpg"


def test_labels_repeats_and_folders(tmp_path: Path) -> None:
    lines = [
        keypoint_line(A, 7),
        keypoint_line(B, 0, "C:\\VeRi\\image_test\\"),
        "",
        keypoint_line(A, 7),
    ]
    labels = read_orientations(write_list(tmp_path / "keypoint_test.txt", lines))
    assert labels.by_name == {A: 7, B: 0}
    assert labels.repeats == 1


def test_minus_one_is_unknown(tmp_path: Path) -> None:
    lines = [keypoint_line(A, -1), keypoint_line(B, 3), keypoint_line(B, -1)]
    labels = read_orientations(write_list(tmp_path / "keypoint_test.txt", lines))
    # that nothing is known contradicts nothing
    assert (labels.by_name, labels.unknown, labels.repeats) == ({B: 3}, 2, 0)
    assert labels.notes([A, B]) == (
        "keypoint_test.txt: 2 lines say that the orientation is unknown",
    )


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (keypoint_line(B, 8), "line 2: orientation '8', expected 0..7"),
        (keypoint_line(B, -2), "line 2: orientation '-2', expected 0..7, or -1 where it is unk"),
        (keypoint_line(B, "1.0"), "line 2: orientation '1.0'"),
        (keypoint_line(B, "1 2"), "line 2: 43 fields, expected 42"),
        (B, "line 2: 1 fields"),
        (keypoint_line(A, 6), f"line 2: {A} has orientation 6 here but 7 above"),
    ],
)
def test_bad_lines_are_named(tmp_path: Path, line: str, words: str) -> None:
    path = write_list(tmp_path / "keypoint_test.txt", [keypoint_line(A, 7), line])
    with pytest.raises(DataError, match=words):
        read_orientations(path)


def test_strangers_and_slips_of_the_camera(tmp_path: Path) -> None:
    other_time, other_camera = "0001_c001_00000099_0.jpg", "0001_c009_00000020_0.jpg"
    lines = [keypoint_line(name, 1) for name in (A, other_time, other_camera)]
    labels = read_orientations(write_list(tmp_path / "keypoint_test.txt", lines))
    assert labels.strangers([A, B]) == ((other_time, other_camera), (other_camera,))
    assert labels.notes([A, other_time, other_camera]) == ()
    first, second = labels.notes([A, B])
    assert "2 labels are for images that no list names" in first
    assert "1 of them" in second and other_camera in second


def test_the_published_file() -> None:
    path = REAL / "veri-labels" / "keypoint_test.txt"
    if not path.is_file():
        pytest.skip("VeRi-776's orientation labels are not here")
    labels = read_orientations(path)
    # counted with sort, uniq and wc on the file itself
    assert len(labels.by_name) == 11_579
    assert labels.repeats == 500
    lines = Counter(line.rsplit(" ", 1)[1] for line in path.read_text().splitlines())
    assert [lines[str(n)] for n in range(8)] == [1310, 838, 70, 3143, 3342, 274, 1220, 1882]
    # VeRi's own lists call this image c017
    slip, listed = "0009_c015_00068800_0.jpg", "0009_c017_00068800_0.jpg"
    names = (set(labels.by_name) - {slip}) | {listed}
    assert labels.by_name[slip] == 7 and listed not in labels.by_name
    assert labels.strangers(names) == ((slip,), (slip,))
